"""Syscall: which calls a name means, and what was counted of them as records."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import NO_CONTAINER, layout, rows, variables

from ingrain.config import ConfigError, describe, load
from ingrain.grains.syscall import RARE, Syscall, SyscallSettings
from ingrain.grains.syscall_names import NUMBERS, numbers
from ingrain.grains.syscall_numbers import tables
from ingrain.kernel.libbpf import KernelError

TOML = (
    '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "Syscall"\n{}\n[pipeline.out.config]\nbackend = "Console"\n'
)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "x86_64")


def on(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    uname = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*uname[:4], machine)))


class Counted:
    """Stands for the kernel's maps: what was counted."""

    def __init__(self, *counts: tuple[int, int, int]) -> None:
        self._keys = np.zeros(len(counts), layout("syscall", "caller"))
        self._values = np.zeros(len(counts), layout("syscall", "called"))
        for key, value, (pid, number, calls) in zip(self._keys, self._values, counts, strict=True):
            key["pid"], key["number"] = pid, number
            value["process"]["pid"], value["process"]["comm"], value["calls"] = pid, b"prog", calls
            value["process"]["time"] = 10**9 + pid

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        return self._keys, self._values


def told(names: list[str], *counts: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Records of these counts: process id, number and calls of each."""
    grain = Syscall()
    grain.settings = SyscallSettings(monitor_syscalls=names)
    grain._counted = Counted(*counts)  # type: ignore[assignment] # all that is asked of it
    return rows(*grain.poll())


def test_what_was_counted_is_a_record_with_its_process_and_the_call_s_own_name() -> None:
    first, second = told(["setuid", "read"], (7, 105, 3), (8, NUMBERS + 213, 2**40))
    assert {name: first[name] for name in ("process", "process_id", "syscall", "abi", "value", *NO_CONTAINER)} == {
        "process": "prog",
        "process_id": 7,
        "syscall": "setuid",
        "abi": "x86_64",
        "value": 3,
    } | NO_CONTAINER
    assert (second["process_id"], second["syscall"], second["abi"], second["value"]) == (8, "setuid32", "i386", 2**40)
    assert (first["measurement"], second["timestamp"] - first["timestamp"]) == ("syscall.enter", 1)


def test_an_interval_without_a_call_has_no_record() -> None:
    assert told(["setuid"]) == []


native = st.sampled_from(sorted(tables("x86_64")["x86_64"]))


@given(st.lists(native, min_size=1, max_size=40), st.data())
def test_any_counts_are_told_each_under_the_name_that_its_table_has(names: list[str], data: st.DataObject) -> None:
    drawn = st.tuples(st.integers(1, 1 << 22), st.sampled_from(sorted(numbers(names))), st.integers(1, 1 << 62))
    counts = data.draw(st.lists(drawn, max_size=20))
    every = {
        at * NUMBERS + number: (name, abi)
        for at, (abi, table) in enumerate(tables("x86_64").items())
        for name, number in table.items()
    }
    assert [(row["process_id"], (row["syscall"], row["abi"]), row["value"]) for row in told(names, *counts)] == [
        (pid, every[number], calls) for pid, number, calls in counts
    ]


@given(st.lists(native, min_size=1, max_size=40))
def test_the_kernel_half_is_told_every_number_that_is_meant_and_no_other(names: list[str]) -> None:
    grain = Syscall()
    grain.settings = SyscallSettings(monitor_syscalls=names)
    meant, bits = numbers(names), grain.constants()
    sizes = {name: size for name, (_offset, size) in variables("syscall", ".rodata").items()}
    for name, own in (("monitored", meant.keys()), ("monitored_in_any", {one % NUMBERS for one in meant})):
        words = np.frombuffer(bits[name].to_bytes(sizes[name], "little"), "<u8")
        assert {at for at in range(64 * len(words)) if int(words[at // 64]) >> at % 64 & 1} == set(own)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ptrace", {"x86_64": {101}, "i386": {26}, "x32": {521}}),
        ("setuid", {"x86_64": {105}, "i386": {23, 213}, "x32": {105}}),
        ("futex", {"x86_64": {202}, "i386": {240, 422}, "x32": {202}}),
        ("newstat", {"x86_64": {4}, "i386": {106, 195}, "x32": {4}}),
        ("umount", {"x86_64": {166}, "i386": {22, 52}, "x32": {166}}),
        ("socketcall", {"i386": {102}}),
        ("openat2", {"x86_64": {437}, "i386": {437}, "x32": {437}}),
    ],
)
def test_a_name_means_the_call_in_every_way_that_programs_make_it(name: str, meant: dict[str, set[int]]) -> None:
    found: dict[str, set[int]] = {}
    for number, (_name, abi) in numbers([name]).items():
        found.setdefault(abi, set()).add(number % NUMBERS)
    assert found == meant


def test_on_arm64_a_name_means_arm64_s_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "aarch64")
    assert numbers(["setuid"]) == {
        146: ("setuid", "aarch64"),
        NUMBERS + 23: ("setuid", "arm"),
        NUMBERS + 213: ("setuid32", "arm"),
    }
    assert numbers(["openat2"]).keys() == {437, NUMBERS + 437}


def test_a_machine_whose_calls_are_not_known_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "riscv64")
    with pytest.raises(KernelError, match="system calls of riscv64 are not known by their names"):
        Syscall().constants()


HEADERS = Path("/usr/include")


@pytest.mark.parametrize(
    ("machine", "abi", "header"),
    [
        ("x86_64", "x86_64", "x86_64-linux-gnu/asm/unistd_64.h"),
        ("x86_64", "i386", "x86_64-linux-gnu/asm/unistd_32.h"),
        ("x86_64", "x32", "x86_64-linux-gnu/asm/unistd_x32.h"),
        ("aarch64", "aarch64", "asm-generic/unistd.h"),
    ],
)
def test_the_kernel_s_headers_on_this_machine_have_no_call_that_is_not_known(
    machine: str, abi: str, header: str
) -> None:
    path = HEADERS / header
    if not path.exists():
        pytest.skip(f"{path} is not here (linux-libc-dev of an x86_64 Debian)")
    known = tables(machine)[abi]
    defined = re.findall(r"#define __NR_(\w+)\s+(?:\(__X32_SYSCALL_BIT \+ )?(\d+)", path.read_text())
    differs = {name: int(number) for name, number in defined if known.get(name) != int(number)}
    if abi == "aarch64":  # bounds, and what 32-bit architectures have, or others than arm64
        others = {"arch_specific_syscall", "syscalls", "sync_file_range2"}
        differs = {name: one for name, one in differs.items() if name not in others and not 403 <= one < 424}
    assert len(defined) > 250
    assert differs == {}


def test_all_numbers_have_a_place_in_the_kernel_half() -> None:
    for machine in ("x86_64", "aarch64"):
        assert max(number for table in tables(machine).values() for number in table.values()) < NUMBERS


@pytest.mark.parametrize(
    ("lines", "line", "key", "said"),
    [
        (
            'monitor_syscalls = ["read",\n"setuids"]', 6, "probe[0].config.monitor_syscalls[1]",
            "x86_64 has no system call 'setuids'; it has setuid, ",
        ),
        ('monitor_syscalls = ["a\\u001bb"]', 5, "probe[0].config.monitor_syscalls[0]", r"no system call 'a\x1bb' ("),
        ("monitor_syscalls = []", 5, "probe[0].config.monitor_syscalls", "no system call is listed"),
        ('monitor_syscalls = "read"', 5, "probe[0].config.monitor_syscalls", "expected a list"),
        ("interval_ms = 1", 5, "probe[0].config.interval_ms", "expected a whole number from 10"),
    ],
)  # fmt: skip
def test_what_cannot_be_monitored_is_refused_with_its_line_and_what_is_like_it(
    lines: str, line: int, key: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(TOML.format(lines))
    with pytest.raises(ConfigError) as refused:
        load(file)
    (problem,) = refused.value.problems
    assert (problem.line, problem.key) == (line, key)
    assert said in problem.message


def test_ingraind_s_own_section_and_a_bare_one_load(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(TOML.format('monitor_syscalls = ["exit", "execve"]\nsymbol_map = "/proc/kallsyms"'))
    (probe,) = load(file).probes
    assert probe.settings.monitor_syscalls == ["exit", "execve"]
    file.write_text(TOML.format(""))
    assert load(file).probes[0].settings.monitor_syscalls == RARE.split()
    assert "Syscall" in describe(load(file))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_what_is_monitored_by_default_is_there_on_every_machine(machine: str) -> None:
    own = tables(machine)[machine]
    assert [name for name in RARE.split() if name not in own] == []

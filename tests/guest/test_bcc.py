"""The same sources compiled by BCC: every probe runs, also where there is no BTF, and tells what it tells by CO-RE.

What BCC makes is found in the cache, where the host has put it (compiled.py); one is made here. All other tests run
through BCC with `--loader=bcc`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, read

from guest import compiled, kernels
from ingrain.grains import GRAINS
from ingrain.kernel import bcc
from ingrain.kernel.program import Program
from ingrain.registry import find_class

pytestmark = pytest.mark.timeout(900)  # as with Files alone, and an emulated processor compiles slowly

HERE = Path(__file__).parent
WITHOUT_BTF = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /sys/kernel/btf && exec "$@"', "sh"]
TIMES = {"timestamp", "latency_ns", "run_ns"}


@pytest.fixture(autouse=True)
def _headers(kernel: str) -> None:
    """The distribution's BCC is for the distribution's kernel, whose headers are there."""
    own = kernels.cached(kernels.own_suite())
    if kernel != own.name:
        pytest.skip(f"BCC is that of {own.suite}, and so are the headers that were fetched: those of {own.name}")


def doctor(*words: str, before: list[str] | None = None, **environment: str) -> list[dict[str, Any]]:
    command = [*(before or []), sys.executable, "-m", "ingrain", "doctor", "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    probes: list[dict[str, Any]] = json.loads(done.stdout)["probes"]
    return probes


def refused(probes: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Those that do not run: why, and the verifier's last words."""
    return {probe["probe"]: (probe["reason"], probe["log"][-2000:]) for probe in probes if not probe["runs"]}


@pytest.mark.matrix
def test_every_probe_runs_as_bcc_made_it() -> None:
    probes = doctor("--loader", "bcc")
    failed = refused(probes)
    assert not failed, failed
    assert {(probe["loader"], probe["loader_why"]) for probe in probes} == {("bcc", "as asked for")}
    assert {probe["probe"] for probe in probes} == set(GRAINS)


@pytest.mark.matrix
def test_where_there_is_no_btf_bcc_is_chosen_and_every_probe_runs() -> None:
    probes = doctor(before=WITHOUT_BTF)
    failed = refused(probes)
    assert not failed, failed
    assert {(probe["loader"], probe["loader_why"]) for probe in probes} == {("bcc", "this kernel has no BTF")}
    kinds = {hook.partition("/")[0] for probe in probes for hook in probe["hooks"]}
    assert kinds.isdisjoint({"fentry", "fexit", "tp_btf", "iter"})


@pytest.mark.matrix
def test_what_is_compiled_here_has_the_name_of_what_the_host_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    bcc.compiled.cache_clear()
    with Program("dns", {}, loader="bcc") as program:
        assert set(program.hooks.values()) == {"cgroup_skb/egress", "cgroup_skb/ingress"}
    (made,) = tmp_path.iterdir()
    assert made.name in {path.name for path in compiled.CACHE.iterdir()}


@contextmanager
def agent(folder: Path, group: Path, watched: Path, *before: str) -> Iterator[Callable[[], None]]:
    """An agent with every probe on the test's cgroup, and what waits until it runs; what it leaves is in the folder."""
    folder.mkdir()
    settings = dict.fromkeys(["Files", "Network", "Syscall"], "interval_ms = 600000")
    settings["Files"] += f'\nmonitor_dirs = ["{watched}"]'
    toml = "".join(
        f'[[probe]]\npipelines = ["archive"]\n[probe.config]\ntype = "{probe}"\ncgroup = "{group.name}"\n'
        f"{settings.get(probe, '')}\n"
        for probe in GRAINS
    )
    toml += f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{folder / "archive"}"\n'
    (folder / "config.toml").write_text(toml)
    config, account = str(folder / "config.toml"), folder / "account"
    command = [*before, sys.executable, "-m", "ingrain", "run", config, "--account", str(account)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        said: list[str] = []

        def ready() -> None:
            assert running.stderr
            while "running" not in "".join(said[-1:]):
                said.append(running.stderr.readline())
                assert said[-1], "".join(said)

        try:
            yield ready
            status = Path(f"/proc/{running.pid}/status").read_text()
            (folder / "resident").write_text(next(line for line in status.splitlines() if line.startswith("VmRSS:")))
        finally:
            running.send_signal(signal.SIGTERM)
            (folder / "said").write_text("".join([*said, *(running.stderr or ())]))
    probes = json.loads(account.read_text())["probes"]
    assert {probe["name"]: probe["lost"] for probe in probes} == dict.fromkeys(GRAINS, 0)


def told(folder: Path) -> dict[str, list[str]]:
    """All records of an archive by measurement, but for when they were made, and how long something took."""
    records = {}
    for place in GRAINS.values():
        for measurement in find_class(place).measurements:
            rows = read(folder / "archive", measurement.name)
            assert all(row[name] is not None for row in rows for name in TIMES & row.keys())
            records[measurement.name] = sorted(
                json.dumps({name: value for name, value in row.items() if name not in TIMES}, default=str)
                for row in rows
            )
    return records


@pytest.mark.matrix  # two minutes
def test_both_loaders_tell_the_same_of_the_same(start: Start, group: Path, tmp_path: Path) -> None:
    """One agent by CO-RE and fentry, the other by BCC and kprobes, since it finds no BTF."""
    watched = tmp_path / "watched"
    watched.mkdir()
    everything = start(sys.executable, "-ISB", HERE / "everything.py", watched)
    old = start("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "read line; echo $line")
    with ExitStack() as stack:
        by_core = stack.enter_context(agent(tmp_path / "core", group, watched))
        by_bcc = stack.enter_context(agent(tmp_path / "bcc", group, watched, *WITHOUT_BTF))
        by_core()
        by_bcc()
        for program in (everything, old):
            out, _err = program.communicate("go on\n", timeout=250)
            assert program.returncode == 0
        assert out == "go on\n"
    resident = {name: int((tmp_path / name / "resident").read_text().split()[1]) for name in ("core", "bcc")}
    assert abs(resident["bcc"] - resident["core"]) < 30 << 10  # KB: no compiler is left in the agent
    one, other = told(tmp_path / "core"), told(tmp_path / "bcc")
    assert "(loader bcc)" in (tmp_path / "bcc" / "said").read_text()
    assert "(loader core)" in (tmp_path / "core" / "said").read_text()
    assert other == one
    assert {name for name, records in one.items() if not records} == {"process.oom", "tls.handshake.serverhello"}

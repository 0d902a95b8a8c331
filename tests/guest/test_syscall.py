"""Syscall on a kernel that traces: beside strace, across intervals, in containers, and by other tables than its own."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, Watch
from serving import until

from guest import straced
from guest.containers import Podman
from ingrain.grains.syscall_numbers import tables
from ingrain.kernel import cgroup

pytestmark = pytest.mark.timeout(600)  # an emulated processor, and strace stops programs twice a call

Making = Callable[..., Watch]
Row = dict[str, Any]

LATE = "interval_ms = 600000"  # all counts are read at the end

CALLING = """
import ctypes, os, sys
syscall = ctypes.CDLL(None).syscall
numbers, times, children = [int(word) for word in sys.argv[3:]], int(sys.argv[1]), int(sys.argv[2])
sys.stdin.readline()
for child in range(children):
    if not os.fork():
        for number in numbers:
            for _ in range(times):
                syscall(number, -1, 0, 0, 0, 0, 0)
        os._exit(0)
for child in range(children):
    os.wait()
"""
"""A program that, when it is told to, has so many children make each of these calls so often; arguments are no good."""

CALLING_ON = """
import ctypes, os, signal, sys
syscall, number = ctypes.CDLL(None).syscall, int(sys.argv[1])
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))
children = []
for child in range(4):
    children.append(os.fork())
    if not children[-1]:
        calls = 0
        while not over:
            syscall(number, 0, 0, 0, 0, 0, 0)
            calls += 1
        os.write(1, b"%d %d\\n" % (os.getpid(), calls))
        os._exit(0)
sys.stdin.readline()
for child in children:
    os.kill(child, signal.SIGTERM)
for child in children:
    os.wait()
"""
"""A program whose children make a call again and again until it is told to end; each says who it is, and how often."""

HARMLESS = [
    "getpgrp", "getpgid", "getsid", "getpriority", "sched_getscheduler", "sched_getparam", "sched_get_priority_max",
    "sched_get_priority_min", "sched_rr_get_interval", "getitimer", "times", "getresuid", "getresgid", "capget",
    "timer_delete", "timer_getoverrun", "mq_unlink", "ioprio_get", "getcpu", "io_destroy", "ustat", "sysfs",
    "fgetxattr", "flock",
]  # fmt: skip
"""Calls that no program makes on its way to here."""


def settings(names: Iterable[str], *more: str) -> str:
    """The probe's lines of a configuration."""
    return "\n".join([f"monitor_syscalls = {list(names)}", *more])


def own() -> dict[str, int]:
    """Numbers of this machine's own calls."""
    machine = os.uname().machine
    return tables(machine)[machine]


def run(start: Start, *command: str | Path, told: str = "go\n") -> subprocess.Popen[str]:
    """A program in the test's cgroup, to its end."""
    program = start(*command, stderr=subprocess.PIPE)
    _out, err = program.communicate(told, timeout=250)
    assert program.returncode == 0, err
    return program


def calling(start: Start, names: Iterable[str], times: int = 1, children: int = 1) -> subprocess.Popen[str]:
    numbers = [own()[name] for name in names]
    return run(start, sys.executable, "-ISc", CALLING, *map(str, [times, children, *numbers]))


def sums(rows: Iterable[Row], *columns: str) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for row in rows:
        total[tuple(row[name] for name in columns)] += row["value"]
    return total


def whole(watch: Watch, uncounted: int = 0, missed: int = 0) -> None:
    """Nothing was lost but what is said."""
    (probe,) = watch.account.probes
    assert (probe.uncounted, probe.uncounted_bytes, probe.failed_polls, probe.missed) == (uncounted, 0, 0, missed)
    assert (probe.handed_over, probe.received, probe.lost) == (0, 0, 0)
    assert probe.records == len(watch.rows("syscall.enter"))


def not_of(strace: subprocess.Popen[str], watch: Watch) -> list[Row]:
    """What it traced: neither itself, nor what it is before it begins its own program, nor its child likewise."""
    return [
        row for row in watch.rows("syscall.enter") if row["process"] != "strace" and row["process_id"] != strace.pid
    ]


THREAD = re.compile(r"^(\d+) +clone3?\(.*\bCLONE_THREAD\b.*\) += (\d+)$", re.MULTILINE)
"""A line of strace's log: a process makes a thread, which the log has as if it were one, too."""

SCRIPT = """\
#!/bin/sh
for one in 1 2 3 4 5; do /bin/true; done
ls / | head -n 3 | wc -l >/dev/null
(cd /etc; cat passwd group | sort >/dev/null) &
wait
cat /does/not/exist 2>/dev/null
{python} -ISc 'import threading, time
for _ in range(5): t = threading.Thread(target=time.sleep, args=(0.01,)); t.start(); t.join()'
kill -9 $$
"""


def test_every_call_of_every_process_is_told_as_often_as_strace_saw_it(
    watch: Making, start: Start, tmp_path: Path
) -> None:
    script, log = tmp_path / "script.sh", tmp_path / "log"
    script.write_text(SCRIPT.format(python=sys.executable))
    watched = watch("Syscall", extra=settings(own(), LATE))
    with watched():
        strace = start("strace", "-f", "-qq", "-e", "signal=none", "-o", log, "/bin/sh", script)
        strace.communicate(timeout=250)
    calls = re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE)
    calls.remove((calls[0][0], "execve"))  # which strace's own child makes
    process_of = {thread: process for process, thread in re.findall(THREAD, "\n".join(straced.whole(log.read_text())))}
    assert len(process_of) == 5
    told = sums(not_of(strace, watched), "process_id", "syscall")
    assert told == Counter((int(process_of.get(pid, pid)), name) for pid, name in calls)
    assert len({pid for pid, _name in told}) > 12
    assert sum(told.values()) > 1000
    whole(watched)


@pytest.mark.matrix
def test_counts_agree_with_strace_s_own_summary(watch: Making, start: Start, tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    watched = watch("Syscall", extra=settings(own()))
    with watched():
        strace = run(
            start, "strace", "-c", "-f", "-U", "calls,name", "-o", summary, "/bin/sh", "-c", "ls / | sort; /bin/true"
        )
    counted = {name: int(calls) for calls, name in re.findall(r"^ *(\d+) (\w+)$", summary.read_text(), re.MULTILINE)}
    del counted["total"]
    counted["execve"] -= 1  # as above
    told = sums(not_of(strace, watched), "syscall")
    del told["exit_group",]  # which never returns: strace leaves it out
    assert told == {(name,): calls for name, calls in counted.items()}


def test_processes_that_end_within_an_interval_are_told_each_with_its_counts(watch: Making, start: Start) -> None:
    watched = watch("Syscall", extra=settings(["getpgrp", "getsid"], LATE))
    with watched():
        parent = calling(start, ["getpgrp", "getsid"], times=50, children=30)
    rows = watched.rows("syscall.enter")
    assert sums(rows, "syscall", "abi") == {(name, os.uname().machine): 1500 for name in ("getpgrp", "getsid")}
    assert {row["value"] for row in rows} == {50}
    assert len({row["process_uid"] for row in rows}) == len({row["process_id"] for row in rows}) == 30
    assert parent.pid not in {row["process_id"] for row in rows}
    assert {row["process"] for row in rows} == {Path(sys.executable).name[:15]}
    whole(watched)


def test_no_call_is_lost_between_two_intervals_but_what_is_counted_as_missed(watch: Making, start: Start) -> None:
    watched = watch("Syscall", extra=settings(["getpgrp"], "interval_ms = 10"))
    with watched() as agent:
        program = start(sys.executable, "-ISc", CALLING_ON, str(own()["getpgrp"]))
        until("counts to be read often", lambda: agent.account().probes[0].records > 80)
        printed, _err = program.communicate("that is enough\n")
    made = {(int(pid),): int(calls) for pid, calls in map(str.split, printed.splitlines())}
    assert len(made) == 4
    rows = watched.rows("syscall.enter")
    told = sums(rows, "process_id")
    assert told <= Counter(made)
    assert len(rows) > 80, "counts were read while they were made"
    lacking = sum(made.values()) - told.total()
    missed = watched.account.probes[0].missed  # of all processes, the agent's own among them
    assert lacking <= missed
    if int(os.uname().release.partition(".")[0]) < 7:  # which may begin another process while the agent reads a map
        assert (lacking, missed) == (0, 0)
    whole(watched, missed=missed)


@pytest.mark.matrix
def test_what_the_kernel_has_no_room_for_is_counted_as_uncounted(watch: Making, start: Start) -> None:
    children = 16384 // len(HARMLESS) + 40
    watched = watch("Syscall", extra=settings(HARMLESS, LATE))
    with watched():
        calling(start, HARMLESS, children=children)
    rows = watched.rows("syscall.enter")
    assert len(rows) == 16384
    whole(watched, uncounted=children * len(HARMLESS) - sum(row["value"] for row in rows))
    assert watched.account.probes[0].uncounted > 0


def test_a_process_is_told_by_each_name_that_it_calls_under(watch: Making, start: Start) -> None:
    watched = watch("Syscall", extra=settings(["close"], LATE))
    with watched():
        program = run(start, "/bin/sh", "-c", "cat /dev/null; exec env true", told="")
    processes = {row["process"] for row in watched.rows("syscall.enter") if row["process_id"] == program.pid}
    assert processes >= {"sh", "env", "true"}


OTHER_TABLES = """
import ctypes, mmap, sys
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("53 89f8 31db cd80 5b c3"))  # push rbx; mov eax, edi; xor ebx, ebx; int 0x80; pop rbx; ret
compat = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
sys.stdin.readline()
for number in (132, 132, 147, 0x40000000 | 132):
    compat(number)
for number in (121, 0x40000000 | 121):
    ctypes.CDLL(None).syscall(number, 0)
"""
"""getpgid(0) twice and getsid(0) as 32-bit programs make them, and a number that is none there; then getpgid(0), and
the same by x32's table, whether this kernel serves that or not."""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="int 0x80 and x32 are x86_64's")
def test_calls_by_the_tables_of_other_programs_are_told_by_their_names_there(watch: Making, start: Start) -> None:
    watched = watch("Syscall", extra=settings(["getpgid", "getsid", "sysfs"], LATE))
    with watched():
        program = run(start, sys.executable, "-ISc", OTHER_TABLES)
    assert sums(watched.rows("syscall.enter"), "process_id", "syscall", "abi") == {
        (program.pid, "getpgid", "i386"): 2,
        (program.pid, "getsid", "i386"): 1,
        (program.pid, "getpgid", "x86_64"): 1,
        (program.pid, "getpgid", "x32"): 1,
    }
    whole(watched)


REFUSING = """
import ctypes, struct, sys
refused, allowed = map(int, sys.argv[1:])
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, refused), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
libc = ctypes.CDLL(None)
assert not libc.prctl(38, 1, 0, 0, 0) and not libc.prctl(22, 2, struct.pack("HP", len(rules), ctypes.addressof(code)))
for _ in range(3):
    assert libc.syscall(refused, 0) == -1
    assert libc.syscall(allowed, 0) > 0
"""
"""A program whose own seccomp filter refuses one call with EPERM, and allows the other."""


def test_a_call_that_seccomp_refuses_is_none(watch: Making, start: Start) -> None:
    watched = watch("Syscall", extra=settings(["getpgid", "getsid"], LATE))
    with watched():
        run(start, sys.executable, "-ISc", REFUSING, str(own()["getpgid"]), str(own()["getsid"]))
    assert sums(watched.rows("syscall.enter"), "syscall") == {("getsid",): 3}


@pytest.mark.matrix
def test_what_a_container_calls_is_told_with_its_name(tmp_path: Path, podman: Podman) -> None:
    parent = "libpod_parent"  # the cgroup that podman's are below
    (cgroup.mount() / parent).mkdir(exist_ok=True)
    watched = toml_of(parent, settings(["sethostname", "sync", "chroot"]), tmp_path)
    with watched(), podman.run("caller", "sync; sync; chroot /tmp true; true") as container:
        podman.wait(container)
    rows = [row for row in watched.rows("syscall.enter") if row["process"] in {"sync", "chroot"}]
    assert sums(rows, "process", "syscall", "container", "container_id") == {
        ("sync", "sync", "caller", container.id): 2,
        ("chroot", "chroot", "caller", container.id): 1,
    }
    whole(watched)


def toml_of(group: str | None, lines: str, folder: Path) -> Watch:
    of = f'cgroup = "{group}"\n' if group else ""
    return Watch(
        f'[[probe]]\npipelines = ["archive"]\n[probe.config]\ntype = "Syscall"\n{of}{lines}\n'
        f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{folder / "archive"}"\n',
        folder,
    )


def test_everything_is_seen_but_the_agent_itself_and_only_what_is_monitored(tmp_path: Path) -> None:
    watched = toml_of(None, settings(["getpgrp"]), tmp_path)
    syscall = ctypes.CDLL(None).syscall
    code = "import os; [os.getpgrp() for _ in range(3)]; [os.getppid() for _ in range(5)]"
    with watched():
        for _ in range(4):
            syscall(own()["getpgrp"])
        other = subprocess.Popen([sys.executable, "-ISc", code])
        assert other.wait() == 0
    rows = watched.rows("syscall.enter")
    assert os.getpid() not in {row["process_id"] for row in rows}
    assert sums(rows, "process_id", "syscall")[other.pid, "getpgrp"] == 3
    assert {row["syscall"] for row in rows} == {"getpgrp"}


def test_processes_outside_the_cgroup_are_not_seen(watch: Making, start: Start) -> None:
    watched = watch("Syscall", extra=settings(["getpgrp"]))
    with watched():
        subprocess.run([sys.executable, "-ISc", "import os; os.getpgrp()"], check=True)
        inside = run(start, sys.executable, "-ISc", "import os; os.getpgrp()")
    assert sums(watched.rows("syscall.enter"), "process_id") == {(inside.pid,): 1}

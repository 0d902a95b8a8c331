"""Process: what strace, /proc and the kernel's own counters say of the same programs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, Watch

from guest.acting import Acts, Played, Scene
from guest.kept import nothing_kept

pytestmark = pytest.mark.timeout(600)  # an emulated processor

Watcher = Callable[..., Watch]
Row = dict[str, Any]

HOSTILE = [b"new\nline", b"\x1b[31mred", b"\xff\xfe", "größe".encode(), b"", b"a|b,c:d#e", b" "]
"""Arguments that no terminal, line protocol or decoder should meet as they are."""

acts = Acts()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return acts.play(tmp_path_factory.mktemp("process"), "Process")


@acts
def traced(scene: Scene) -> list[tuple[int, list[str]]]:
    """A script under strace; the processes and arguments that this saw executed."""
    script, log = scene.folder / "script.sh", scene.folder / "strace"
    script.write_text(
        "#!/bin/sh\n/bin/echo one 'two three' >/dev/null\n(cd /etc && /bin/ls -d . >/dev/null)\nexec env A=1 true x\n"
    )
    script.chmod(0o755)
    scene.done("strace", "-f", "-qq", "-s", "4096", "-e", "trace=execve", "-e", "signal=none", "-o", log, script)
    found = re.findall(r'^(\d+) +execve\("(?:.*?)", \[(.*)\], 0x.*\) = 0$', log.read_text(), re.MULTILINE)
    executed = [(int(pid), re.findall(r'"((?:[^"\\]|\\.)*)"', arguments)) for pid, arguments in found]
    pid, script_args = executed[0]
    return [(pid, ["/bin/sh", *script_args]), *executed[1:]]  # strace tells the script, the kernel its interpreter


def test_what_is_executed_is_what_strace_says(told: Played) -> None:
    rows = [row for row in told[traced].rows("process.exec") if row["args"][0] != "strace"]
    assert [(row["process_id"], row["args"]) for row in rows] == told[traced].result
    assert {(Path(row["args"][0]).name, row["cwd"]) for row in rows if "ls" in row["args"][0]} == {("ls", "/etc")}
    assert all(
        Path(row["executable"]).resolve() == Path(shutil.which(Path(row["args"][0]).name) or "").resolve()
        for row in rows
    )


@acts
def looked_at(scene: Scene) -> dict[str, Any]:
    """A process that waits; what /proc tells of it."""
    sleeper = scene.start(sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", cwd=scene.folder)
    assert sleeper.stdout
    sleeper.stdout.readline()
    proc = Path(f"/proc/{sleeper.pid}")
    seen = {
        "process_id": sleeper.pid,
        "executable": str((proc / "exe").readlink()),
        "args": (proc / "cmdline").read_text().split("\0")[:-1],
        "cwd": str((proc / "cwd").readlink()),
        "lineage": lineage(sleeper.pid),
    }
    sleeper.communicate()
    return seen


@acts
def nowhere(scene: Scene) -> list[str]:
    """A program in memory, one whose file was deleted, and one that is there; what /proc tells each of itself."""
    gone, there = scene.folder / "gone", scene.folder / "there"
    for copy in (gone, there):
        shutil.copy(shutil.which("readlink") or "", copy)
    code = f"""
import os
memory, gone = os.memfd_create("hidden", 0), os.open({str(gone)!r}, os.O_RDONLY)
os.write(memory, os.pread(gone, 1 << 24, 0))
os.unlink({str(gone)!r})
for program in (memory, gone, {str(there)!r}):
    if not os.fork():
        os.execve(program, ["asks", "/proc/self/exe"], {{}})
    os.wait()
"""
    return scene.done(sys.executable, "-ISc", code).splitlines()


def test_an_executable_that_is_in_no_directory_is_told_as_such(told: Played) -> None:
    """A memory file's name is up to who makes it, and a deleted file's path may be another one's by now."""
    rows = [row for row in told[nowhere].rows("process.exec") if row["args"][0] == "asks"]
    seen = [row["executable"] + " (deleted)" * row["executable_deleted"] for row in rows]
    assert seen == told[nowhere].result
    assert [row["executable_deleted"] for row in rows] == [True, True, False]


def lineage(pid: int) -> list[tuple[int, str]]:
    """Parents up to the first process, by /proc."""
    found: list[tuple[int, str]] = []
    while True:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if not pid:
            return found
        found.append((pid, Path(f"/proc/{pid}/comm").read_text().removesuffix("\n")))


def test_a_process_is_told_as_proc_tells_it(told: Played) -> None:
    seen = told[looked_at].result
    (row,) = told[looked_at].rows("process.exec")
    ancestors = [(one["process_id"], one["process"]) for one in row["ancestors"]]
    assert {name: row[name] for name in ("process_id", "executable", "args", "cwd")} | {"lineage": ancestors} == seen
    assert (row["parent_id"], row["parent"]) == seen["lineage"][0]
    assert (row["uid"], row["args_cut"]) == (os.getuid(), False)


ENDS = [  # a program, its exit code, the signal that it died of
    ("import os; os._exit(0)", 0, None),
    ("import os; os._exit(77)", 77, None),
    ("import os; os.kill(os.getpid(), 9)", None, "SIGKILL"),
    ("import os; os.kill(os.getpid(), 11)", None, "SIGSEGV"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 3)", None, "SIGRTMIN+3"),
    ("import os, threading, time; threading.Thread(target=lambda: (time.sleep(0.1), os._exit(5))).start()", 5, None),
]


def ended(scene: Scene, code: str) -> tuple[int, int]:
    """Its exit code as Python has it, and how long it was there at the most (ns)."""
    began = time.monotonic_ns()
    done = scene.run(sys.executable, "-ISc", code)
    return done.returncode, time.monotonic_ns() - began


for _code, *_ in ENDS:
    acts.add(_code, partial(ended, code=_code), "ended")


@pytest.mark.parametrize(("code", "status", "killed"), ENDS)
def test_how_a_process_ended_is_what_its_parent_is_told(
    told: Played, code: str, status: int | None, killed: str | None
) -> None:
    returned, took = told[code].result
    assert returned == (status if status is not None else -getattr(signal, killed or "", signal.SIGRTMIN + 3))
    (begun,), (over,) = told[code].rows("process.exec"), told[code].rows("process.exit")
    assert (over["status"], over["signal"]) == (status, killed)
    assert over["process_uid"] == begun["process_uid"]
    assert 0 < over["run_ns"] <= took
    assert begun["timestamp"] < over["timestamp"]


@acts
def together(scene: Scene) -> None:
    code = """
import os, threading
for _ in range(100):
    if os.fork() == 0:
        both = threading.Barrier(2)
        threading.Thread(target=lambda: (both.wait(), os._exit(0))).start()
        both.wait()
        os._exit(0)
    os.wait()
"""
    scene.done(sys.executable, "-ISc", code)


def test_the_end_of_a_process_is_told_once_also_where_its_threads_end_at_the_same_time(told: Played) -> None:
    rows = told[together].rows("process.exit")
    assert len(rows) == len({row["process_uid"] for row in rows}) == 101


@acts
def threads(scene: Scene) -> None:
    code = "import threading\nfor _ in range(5): t = threading.Thread(target=int); t.start(); t.join()"
    scene.done(sys.executable, "-ISc", code)


def test_a_thread_that_ends_is_no_process_that_ends(told: Played) -> None:
    assert len(told[threads].rows("process.exit")) == 1


@acts
def hostile(scene: Scene) -> None:
    scene.run(b"/bin/true", *HOSTILE)


def test_hostile_arguments_are_safe_values(told: Played) -> None:
    (row,) = told[hostile].rows("process.exec")
    assert row["args"] == ["/bin/true", r"new\x0aline", r"\x1b[31mred", r"\xff\xfe", "größe", "", "a|b,c:d#e", " "]


@acts
def long_argument(scene: Scene) -> None:
    scene.run("/bin/true", "x" * 100_000)


def test_arguments_beyond_4_kib_are_cut_and_marked(told: Played) -> None:
    (row,) = told[long_argument].rows("process.exec")
    assert (row["args"], row["args_cut"]) == (["/bin/true", "x" * (4096 - 10)], True)


def deep(scene: Scene, depth: int) -> str:
    """A program in a folder so deep; its path."""
    name = "d" * 90 if depth < 100 else "d"
    here = os.open(scene.folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    scene.run("/bin/true", cwd=f"/proc/self/fd/{here}", pass_fds=[here])
    os.close(here)
    return f"{scene.folder}/" + "/".join([name] * depth)


for _depth in (40, 700):
    acts.add(_depth, partial(deep, depth=_depth), f"deep-{_depth}")


@pytest.mark.parametrize("depth", [40, 700])
def test_long_paths_are_whole_or_marked_as_cut(told: Played, depth: int) -> None:
    (row,) = told[depth].rows("process.exec")
    whole = told[depth].result
    if len(whole) <= 4096 and depth < 500:
        assert row["cwd"] == whole
    else:
        assert row["cwd"].startswith(".../")
        assert whole.endswith(row["cwd"].removeprefix("..."))
        assert len(row["cwd"]) > 900


@acts
def pid_namespace(scene: Scene) -> None:
    scene.run("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "sh -c 'true; /bin/true inside; true'; true")


def test_ancestors_end_with_the_first_process_of_a_pid_namespace(told: Played) -> None:
    rows = told[pid_namespace].rows("process.exec")
    (row,) = [row for row in rows if row["args"][-1] == "inside"]
    assert [one["process"] for one in row["ancestors"]] == ["sh", "sh"]
    first = next(row for row in rows if row["args"][0] == "sh")
    assert row["ancestors"][-1]["process_id"] == first["process_id"]
    assert row["ancestors"][-1]["process_uid"] == first["process_uid"]
    assert first["parent"] == "unshare"


@acts
def roots(scene: Scene) -> tuple[Path, Path]:
    """A program in a chroot, and one by a bind mount; where they are."""
    root, mounted = scene.folder / "root", scene.folder / "mounted"
    root.mkdir()
    mounted.mkdir()
    shutil.copy(shutil.which("busybox") or "", root / "program")  # it needs no libraries there
    code = f"import os; os.chroot({str(root)!r}); os.chdir('/'); os.execv('/program', ['echo', 'hello'])"
    assert scene.done(sys.executable, "-ISc", code) == "hello\n"
    scene.done("unshare", "--mount", "sh", "-c", f"mount --bind /bin {mounted} && {mounted}/true bound")
    return root / "program", mounted / "true"


def test_a_path_is_told_from_the_root_of_its_mount_namespace(told: Played) -> None:
    program, bound = told[roots].result
    executables = {row["args"][-1]: row["executable"] for row in told[roots].rows("process.exec")}
    assert executables["hello"] == str(program)
    assert executables["bound"] == str(bound)


@acts
def reused_id(scene: Scene) -> int | None:
    """Two processes with the same id, which this is; None where this kernel does not let ids be chosen."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not last.exists():
        return None
    first = scene.start("/bin/true")
    first.wait()
    deadline = time.monotonic() + 60
    while True:
        last.write_text(str(first.pid - 1))
        again = scene.start("/bin/true")
        again.wait()
        if again.pid == first.pid:
            return first.pid
        assert time.monotonic() < deadline, "the process id was not given again"
        time.sleep(0.05)


def test_a_process_id_that_is_used_again_is_another_process(told: Played) -> None:
    pid = told[reused_id].result
    if pid is None:
        pytest.skip("this kernel does not let process ids be chosen (CONFIG_CHECKPOINT_RESTORE)")
    rows = [row for row in told[reused_id].rows("process.exec") if row["process_id"] == pid]
    assert len(rows) == len({row["process_uid"] for row in rows}) == 2


def test_nothing_of_all_that_was_lost(told: Played) -> None:
    probe = told.probe
    assert probe.handed_over == probe.received > 0
    assert (probe.lost, probe.corrupt, probe.malformed, probe.failed, probe.failed_polls) == (0, 0, 0, 0, 0)


EATER = "x = []\nwhile True: x.append(bytearray(1 << 20))"
WITHOUT_ITS_FIRST_THREAD = f"""
import ctypes, threading
threading.Thread(target=lambda: exec({EATER!r})).start()
ctypes.CDLL(None).syscall(60, 0)  # exit(2): only this thread ends
"""


@pytest.mark.parametrize("program", [EATER, WITHOUT_ITS_FIRST_THREAD], ids=["a process", "whose first thread ended"])
def test_what_the_kernel_kills_for_want_of_memory_is_told(watch: Watcher, group: Path, program: str) -> None:
    control = group.parent / "cgroup.subtree_control"
    if "memory" not in (group.parent / "cgroup.controllers").read_text():
        pytest.skip("the memory controller is not on cgroup v2 here")
    control.write_text("+memory")
    (group / "memory.max").write_text(str(64 << 20))
    (group / "memory.swap.max").write_text("0") if (group / "memory.swap.max").exists() else None
    watched = watch("Process")
    with watched() as agent:
        eater = subprocess.Popen(
            [sys.executable, "-c", program],
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),  # noqa: PLW1509 it only writes a file
        )
        assert eater.wait() == -signal.SIGKILL
        (probe,) = agent.probes
        assert nothing_kept(probe, "victims", "u4", "u8")
        assert nothing_kept(probe, "told", "once", "u1")
    killed = dict(line.split() for line in (group / "memory.events").read_text().splitlines())["oom_kill"]
    (row,) = watched.rows("process.oom")
    assert (row["process_id"], killed) == (eater.pid, "1")
    (ended,) = watched.rows("process.exit")
    assert (ended["signal"], ended["process_uid"]) == ("SIGKILL", row["process_uid"])


def test_processes_outside_the_cgroup_are_not_seen(watch: Watcher, start: Start) -> None:
    watched = watch("Process")
    with watched():
        subprocess.run(["/bin/true", "outside"], check=True)
        start("/bin/true", "inside").wait()
    assert [row["args"][-1] for row in watched.rows("process.exec")] == ["inside"]
    (probe,) = watched.account.probes
    assert (probe.handed_over, probe.received, probe.lost, probe.malformed) == (2, 2, 0, 0)

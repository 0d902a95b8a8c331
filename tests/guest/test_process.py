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
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, Watch

from guest.kept import nothing_kept

Watcher = Callable[..., Watch]
Row = dict[str, Any]

HOSTILE = [b"new\nline", b"\x1b[31mred", b"\xff\xfe", "größe".encode(), b"", b"a|b,c:d#e", b" "]
"""Arguments that no terminal, line protocol or decoder should meet as they are."""


@pytest.fixture
def run(group: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in the test's cgroup, to its end."""

    def _run(*command: str | bytes | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            check=False,
            text=True,
            capture_output=True,
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
            **options,
        )

    return _run


def test_what_is_executed_is_what_strace_says(watch: Watcher, run: Callable[..., Any], tmp_path: Path) -> None:
    script, traced = tmp_path / "script.sh", tmp_path / "strace"
    script.write_text(
        "#!/bin/sh\n/bin/echo one 'two three' >/dev/null\n(cd /etc && /bin/ls -d . >/dev/null)\nexec env A=1 true x\n"
    )
    script.chmod(0o755)
    watched = watch("Process")
    with watched():
        run("strace", "-f", "-qq", "-s", "4096", "-e", "trace=execve", "-e", "signal=none", "-o", traced, script)
    expected = []
    for line in traced.read_text().splitlines():
        found = re.fullmatch(r'(\d+) +execve\("(.*?)", \[(.*)\], 0x.*\) = 0', line)
        if found:
            expected.append((int(found[1]), re.findall(r'"((?:[^"\\]|\\.)*)"', found[3])))
    expected[0] = (expected[0][0], ["/bin/sh", *expected[0][1]])  # strace tells the script, the kernel its interpreter
    rows = [row for row in watched.rows("process.exec") if row["args"][0] != "strace"]
    assert [(row["process_id"], row["args"]) for row in rows] == expected
    assert {(Path(row["args"][0]).name, row["cwd"]) for row in rows if "ls" in row["args"][0]} == {("ls", "/etc")}
    assert all(
        Path(row["executable"]).resolve() == Path(shutil.which(Path(row["args"][0]).name) or "").resolve()
        for row in rows
    )


def test_a_process_is_told_as_proc_tells_it(watch: Watcher, start: Start, tmp_path: Path) -> None:
    watched = watch("Process")
    with watched():
        sleeper = start(sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", cwd=tmp_path)
        assert sleeper.stdout
        sleeper.stdout.readline()
        proc = Path(f"/proc/{sleeper.pid}")
        executable, args = str((proc / "exe").readlink()), (proc / "cmdline").read_text().split("\0")[:-1]
        cwd = str((proc / "cwd").readlink())
        line = lineage(sleeper.pid)
        assert sleeper.stdin
        sleeper.stdin.close()
        sleeper.wait()
    (row,) = watched.rows("process.exec")
    assert (row["process_id"], row["executable"], row["args"], row["cwd"]) == (sleeper.pid, executable, args, cwd)
    assert [(one["process_id"], one["process"]) for one in row["ancestors"]] == line
    assert (row["parent_id"], row["parent"]) == line[0]
    assert (row["uid"], row["args_cut"]) == (os.getuid(), False)


def lineage(pid: int) -> list[tuple[int, str]]:
    """Parents up to the first process, by /proc."""
    found: list[tuple[int, str]] = []
    while True:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if not pid:
            return found
        found.append((pid, Path(f"/proc/{pid}/comm").read_text().removesuffix("\n")))


@pytest.mark.parametrize(
    ("code", "status", "killed"),
    [
        ("import os; os._exit(0)", 0, None),
        ("import os; os._exit(77)", 77, None),
        ("import os; os.kill(os.getpid(), 9)", None, "SIGKILL"),
        ("import os; os.kill(os.getpid(), 11)", None, "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 3)", None, "SIGRTMIN+3"),
        (
            "import os, threading, time; threading.Thread(target=lambda: (time.sleep(0.1), os._exit(5))).start()",
            5,
            None,
        ),
    ],
)
def test_how_a_process_ended_is_what_its_parent_is_told(
    watch: Watcher, run: Callable[..., Any], code: str, status: int | None, killed: str | None
) -> None:
    watched = watch("Process")
    with watched():
        began = time.monotonic_ns()
        done = run(sys.executable, "-c", code)
        took = time.monotonic_ns() - began
    assert done.returncode == (status if status is not None else -getattr(signal, killed or "", signal.SIGRTMIN + 3))
    (begun,), (ended,) = watched.rows("process.exec"), watched.rows("process.exit")
    assert (ended["status"], ended["signal"]) == (status, killed)
    assert ended["process_uid"] == begun["process_uid"]
    assert 0 < ended["run_ns"] <= took
    assert begun["timestamp"] < ended["timestamp"]


def test_a_thread_that_ends_is_no_process_that_ends(watch: Watcher, run: Callable[..., Any]) -> None:
    watched = watch("Process")
    with watched():
        run(
            sys.executable,
            "-c",
            "import threading\nfor _ in range(5): t = threading.Thread(target=int); t.start(); t.join()",
        )
    assert len(watched.rows("process.exit")) == 1


def test_hostile_arguments_are_safe_values(watch: Watcher, run: Callable[..., Any]) -> None:
    watched = watch("Process")
    with watched():
        run(b"/bin/true", *HOSTILE)
    (row,) = watched.rows("process.exec")
    assert row["args"] == ["/bin/true", r"new\x0aline", r"\x1b[31mred", r"\xff\xfe", "größe", "", "a|b,c:d#e", " "]


def test_arguments_beyond_4_kib_are_cut_and_marked(watch: Watcher, run: Callable[..., Any]) -> None:
    watched = watch("Process")
    with watched():
        run("/bin/true", "x" * 100_000)
    (row,) = watched.rows("process.exec")
    assert (row["args"], row["args_cut"]) == (["/bin/true", "x" * (4096 - 10)], True)


@pytest.mark.parametrize("depth", [40, 700])
def test_long_paths_are_whole_or_marked_as_cut(
    watch: Watcher, run: Callable[..., Any], tmp_path: Path, depth: int
) -> None:
    name = "d" * 90 if depth < 100 else "d"
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    watched = watch("Process")
    with watched():
        run("/bin/true", cwd=f"/proc/self/fd/{here}", pass_fds=[here])
    os.close(here)
    (row,) = watched.rows("process.exec")
    whole = f"{tmp_path}/" + "/".join([name] * depth)
    if len(whole) <= 4096 and depth < 500:
        assert row["cwd"] == whole
    else:
        assert row["cwd"].startswith(".../")
        assert whole.endswith(row["cwd"].removeprefix("..."))
        assert len(row["cwd"]) > 900


def test_ancestors_end_with_the_first_process_of_a_pid_namespace(watch: Watcher, run: Callable[..., Any]) -> None:
    watched = watch("Process")
    with watched():
        run("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "sh -c 'true; /bin/true inside; true'; true")
    (row,) = [row for row in watched.rows("process.exec") if row["args"][-1] == "inside"]
    assert [one["process"] for one in row["ancestors"]] == ["sh", "sh"]
    first = next(row for row in watched.rows("process.exec") if row["args"][0] == "sh")
    assert row["ancestors"][-1]["process_id"] == first["process_id"]
    assert row["ancestors"][-1]["process_uid"] == first["process_uid"]
    assert first["parent"] == "unshare"


def test_a_path_is_told_from_the_root_of_its_mount_namespace(
    watch: Watcher, run: Callable[..., Any], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy("/bin/busybox" if Path("/bin/busybox").exists() else sys.executable, root / "program")
    code = f"import os; os.chroot({str(root)!r}); os.chdir('/'); os.execv('/program', ['/program', '--help'])"
    watched = watch("Process")
    with watched():
        run(sys.executable, "-c", code)
    told = [row["executable"] for row in watched.rows("process.exec")]
    assert str(root / "program") in told or len(told) == 1  # it needs its libraries to run where it is not static
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    again = watch("Process")
    with again():
        run("unshare", "--mount", "sh", "-c", f"mount --bind /bin {mounted} && {mounted}/true bound")
    (row,) = [row for row in again.rows("process.exec") if row["args"][-1] == "bound"]
    assert row["executable"] == f"{mounted}/true"


def test_a_process_id_that_is_used_again_is_another_process(watch: Watcher, start: Start) -> None:
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not last.exists():
        pytest.skip("this kernel does not let process ids be chosen (CONFIG_CHECKPOINT_RESTORE)")
    watched = watch("Process")
    with watched():
        first = start("/bin/true")
        first.wait()
        for _ in range(20):
            time.sleep(0.05)
            last.write_text(str(first.pid - 1))
            again = start("/bin/true")
            again.wait()
            if again.pid == first.pid:
                break
        else:
            pytest.fail("the process id was not given again: this test shows nothing")
    rows = [row for row in watched.rows("process.exec") if row["process_id"] == first.pid]
    assert len(rows) == len({row["process_uid"] for row in rows}) == 2


EATER = "x = []\nwhile True: x.append(bytearray(1 << 20))"
WITHOUT_ITS_FIRST_THREAD = f"""
import ctypes, threading
threading.Thread(target=lambda: exec({EATER!r})).start()
ctypes.CDLL(None).syscall(60, 0)  # exit(2): this thread alone ends
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


def test_processes_outside_the_cgroup_are_not_seen(watch: Watcher, run: Callable[..., Any]) -> None:
    watched = watch("Process")
    with watched():
        subprocess.run(["/bin/true", "outside"], check=True)
        run("/bin/true", "inside")
    assert [row["args"][-1] for row in watched.rows("process.exec")] == ["inside"]
    (probe,) = watched.account.probes
    assert (probe.handed_over, probe.received, probe.lost, probe.malformed) == (2, 2, 0, 0)

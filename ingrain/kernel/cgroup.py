"""Where cgroup v2 is mounted, and which cgroup a probe is to see."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REMOVE_S = 5.0
_KILL = "cgroup.kill"  # since Linux 5.14


class CgroupError(OSError):
    """There is no such cgroup, or no cgroup v2 at all; the message says what to do."""


def mount() -> Path:
    """The cgroup v2 mount, wherever it is. Raises CgroupError where there is none."""
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return Path(fields.split(" ")[4].replace("\\040", " "))
    raise CgroupError(
        "cgroup v2 is not mounted, and the network probes hang on it; "
        "mount it with: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
    )


def find(name: str | None) -> Path:
    """The folder of the cgroup called `name`: an absolute folder, or a path below the mount; None is the root.

    Raises CgroupError where that is no cgroup.
    """
    root = mount()
    folder = root if name is None else Path(name) if name.startswith(str(root)) else root / name.lstrip("/")
    if not folder.resolve().is_relative_to(root.resolve()):
        raise CgroupError(f"{folder} is not below {root}, where cgroup v2 is mounted; `cgroup` names one there")
    if not (folder / "cgroup.procs").is_file() and not (folder / "cgroup.controllers").is_file():
        raise CgroupError(f"{folder} is no cgroup v2; `cgroup` names one below {root}")
    return folder


def identifier(folder: Path) -> int:
    """A cgroup's id, as the kernel's bpf_skb_cgroup_id() gives it: the folder's inode number."""
    return folder.stat().st_ino


def place(folder: Path) -> tuple[int, int]:
    """A cgroup's id, and how far below the root of the mount it is; of the root itself 0 and 0."""
    root, there = mount().resolve(), folder.resolve()
    return (0, 0) if there == root else (identifier(there), len(there.relative_to(root).parts))


def processes(folder: Path) -> Iterator[int]:
    """Ids of the processes in the cgroup and all below it; those that go meanwhile are skipped."""
    for below, _folders, _files in os.walk(folder):
        try:
            text = Path(below, "cgroup.procs").read_text()
        except OSError:
            continue  # the cgroup went away while it was looked at
        yield from sorted({int(word) for word in text.split() if word != "0"})


def began(pid: int) -> int:
    """When the process began, in ticks since boot: field 22, the 20th behind the name (proc_pid_stat(5)).

    Raises OSError where it is gone.
    """
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])


def enter(folder: Path) -> None:
    """Move this process into the cgroup."""
    (folder / "cgroup.procs").write_text(str(os.getpid()))


@contextmanager
def temporary(name: str) -> Iterator[Path]:
    """A new cgroup of this name below the mount; at the end what runs in it is killed, and it is removed.

    Raises CgroupError where cgroup v2 is not mounted, OSError where the cgroup cannot be made or removed.
    """
    folder = mount() / name
    folder.mkdir()
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Kill what runs in it and in all below it, and remove them as soon as the last process is gone."""
    deadline = time.monotonic() + _REMOVE_S
    while True:
        _kill(folder)  # again: what was not listed yet may have gone on
        try:
            for below, _folders, _files in os.walk(folder, topdown=False):
                Path(below).rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _kill(folder: Path) -> None:
    try:
        (folder / _KILL).write_text("1")
    except OSError:
        for pid in processes(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

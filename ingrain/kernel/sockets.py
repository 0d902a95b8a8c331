"""Owners of the sockets that are older than the agent: found in /proc, noted on the sockets as owner.bpf.c would have.

A note is kept with the socket in the kernel and written through a descriptor of it, so each socket is borrowed for a
moment from the process that holds it (pidfd_getfd(2); needs CAP_SYS_PTRACE). Only processes of the probes' cgroups are
looked at.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ingrain.kernel import cgroup, maps
from ingrain.kernel.libbpf import KernelError

_PIDFD_GETFD = 438  # the same on every architecture (asm-generic/unistd.h)
_SIOCGSKNS = 0x894C  # linux/sockios.h: a descriptor of the socket's network namespace
_ELSEWHERE = 2  # enum owner_flags of probes/flow.h
_TICK = 10_000_000  # ns: the unit of the field (probes/portable.h)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Seeding:
    """What was found: sockets whose owner is noted now, and processes or sockets that could not be looked at."""

    noted: int = 0
    unreachable: int = 0


def seed(folder: Path, owners: int, dtype: np.dtype[np.void]) -> Seeding:
    """Note the owner on every TCP and UDP socket of the processes in the cgroup `folder` and below.

    owners: descriptor of the owners map; dtype: its `struct owner`. A note that is there already stays. A socket that
    several processes hold is the one's with the lowest id, which as a rule made it.
    """
    seeding = Seeding()
    own = os.getpid()
    for pid in sorted(set(cgroup.processes(folder))):
        if pid != own:
            _seed_process(pid, owners, dtype, seeding)
    return seeding


def _seed_process(pid: int, owners: int, dtype: np.dtype[np.void], seeding: Seeding) -> None:
    try:
        numbers = [int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir() if _is_socket(one)]
        if not numbers:
            return
        owner = np.zeros(1, dtype)
        owner["pid"] = pid
        owner["uid"] = Path(f"/proc/{pid}").stat().st_uid
        owner["start"] = _start(pid) * _TICK
        owner["comm"] = Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n")[:15]
        handle = os.pidfd_open(pid)
    except OSError:
        seeding.unreachable += Path(f"/proc/{pid}").exists()
        return
    try:
        for number in numbers:
            _seed_socket(handle, number, owners, owner, seeding)
    finally:
        os.close(handle)


def _start(pid: int) -> int:
    """When the process began, in ticks since boot: field 22, the 20th behind the name (proc_pid_stat(5))."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])


def _is_socket(descriptor: Path) -> bool:
    with contextlib.suppress(OSError):
        return descriptor.readlink().name.startswith("socket:")
    return False


def _is_here(borrowed: socket.socket) -> bool:
    """Whether the socket is in the agent's network namespace."""
    try:
        there = fcntl.ioctl(borrowed, _SIOCGSKNS)
    except OSError:
        return True
    try:
        return os.fstat(there).st_ino == Path("/proc/self/ns/net").stat().st_ino
    finally:
        os.close(there)


def _seed_socket(handle: int, number: int, owners: int, owner: np.ndarray, seeding: Seeding) -> None:
    fd = _libc.syscall(_PIDFD_GETFD, handle, number, 0)
    if fd < 0:
        seeding.unreachable += 1
        return
    with socket.socket(fileno=fd) as borrowed:
        if borrowed.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        owner["flags"] = 0 if _is_here(borrowed) else _ELSEWHERE
        try:
            maps.put(owners, fd.to_bytes(4, "little"), owner.tobytes(), maps.NOEXIST)
            seeding.noted += 1
        except KernelError:
            pass  # it has a note: it was made, or used, since the probes were attached

"""Owners of the sockets that are older than the agent, noted on the sockets as owner.bpf.c would have.

An iterator in the kernel goes over the descriptors of all processes and notes them there (seed.bpf.c). Where this
kernel has none for that (before Linux 5.11, or where nothing may be traced), each socket is borrowed for a moment from
the process that holds it, since a note is written through a descriptor (pidfd_getfd(2); needs CAP_SYS_PTRACE). Then the
agent may be the last to close it, and Linux gives what is borrowed the traffic class of the borrower (receive_fd() of
fs/file.c): so a process that has another one, by net_cls or net_prio of cgroup v1, is left alone.

Only processes of the probes' cgroups are looked at. A note that is there already stays. A socket that several processes
hold is the one's with the lowest id, which as a rule made it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ingrain.kernel import cgroup, maps
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.program import Program
from ingrain.kernel.symbols import has_btf

log = logging.getLogger(__name__)

_PIDFD_GETFD = 438  # the same on every architecture (asm-generic/unistd.h)
_SIOCGSKNS = 0x894C  # linux/sockios.h: a descriptor of the socket's network namespace
_ELSEWHERE = 2  # enum owner_flags of probes/flow.h
_TICK = 10_000_000  # ns: the unit of the field (probes/portable.h)
_CLASSES = {"net_cls", "net_prio"}

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Seeding:
    """What was found: sockets whose owner is noted now, and processes or sockets that could not be looked at."""

    noted: int = 0
    unreachable: int = 0


def seed(folder: Path, owners: Program) -> Seeding:
    """Note the owner on every TCP and UDP socket of the processes in the cgroup `folder` and below.

    owners: the program whose map `owners` has the notes. Raises OSError where the cgroup is gone.
    """
    if not has_btf():  # what BCC would make of it in some seconds could not be loaded
        return borrow(folder, owners)
    try:
        return iterate(folder, owners)
    except KernelError as error:
        log.info("sockets that are older than the agent are borrowed: this kernel has no iterator for them (%s)", error)
        return borrow(folder, owners)


def iterate(folder: Path, owners: Program) -> Seeding:
    """Have the kernel note them. Raises KernelError."""
    identifier, depth = cgroup.place(folder)
    constants = {"below": identifier, "depth": depth}
    with Program("seed", constants, {"owners": owners.maps["owners"]}, loader=owners.loader) as program:
        program.attach()
        program.iterate("seed_sockets")
        return Seeding(noted=int(maps.get(program.maps["seeded"], 0, program.dtype("seeded"))["sockets"]))


def borrow(folder: Path, owners: Program) -> Seeding:
    """Note them through descriptors."""
    seeding = Seeding()
    own = _classes(os.getpid())
    for pid in sorted(set(cgroup.processes(folder))):
        try:
            if _classes(pid) != own:
                raise PermissionError
            numbers = [int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir() if _is_socket(one)]
            if not numbers:
                continue
            owner = _owner(pid, owners.dtype("owner"))
            handle = os.pidfd_open(pid)
        except OSError:
            seeding.unreachable += Path(f"/proc/{pid}").exists()
            continue
        try:
            for number in numbers:
                _seed_socket(handle, number, owners.maps["owners"], owner, seeding)
        finally:
            os.close(handle)
    return seeding


def _classes(pid: int) -> list[str]:
    """Where the process is in the hierarchies of cgroup v1 that give its sockets a class (proc_pid_cgroup(5))."""
    lines = (line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text(errors="surrogateescape").split("\n"))
    return [line[2] for line in lines if len(line) == 3 and not _CLASSES.isdisjoint(line[1].split(","))]  # noqa: PLR2004


def _owner(pid: int, dtype: np.dtype[np.void]) -> np.ndarray:
    owner = np.zeros(1, dtype)
    owner["pid"] = pid
    owner["uid"] = Path(f"/proc/{pid}").stat().st_uid
    owner["start"] = cgroup.began(pid) * _TICK
    owner["comm"] = Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n")[:15]
    return owner


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

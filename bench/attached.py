"""The kernel half of an agent that runs: its programs and their maps, found by the cgroup that they are attached to.

So the bench feeds the very maps and programs of an `ingrain run`, which knows nothing of it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingrain.kernel import libbpf

HOOKS = (0, 1)
"""BPF_CGROUP_INET_INGRESS and BPF_CGROUP_INET_EGRESS of linux/bpf.h."""

_PROGRAMS, _MAPS, _NAME = 64, 64, 16


class _ProgramInfo(ctypes.Structure):
    """The beginning of `struct bpf_prog_info`."""

    _fields_ = (
        ("type_and_id", ctypes.c_uint32 * 2),
        ("tag", ctypes.c_uint8 * 8),
        ("lengths", ctypes.c_uint32 * 2),
        ("instructions", ctypes.c_uint64 * 2),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * _NAME),
    )


class _MapInfo(ctypes.Structure):
    """The beginning of `struct bpf_map_info`."""

    _fields_ = (("numbers", ctypes.c_uint32 * 6), ("name", ctypes.c_char * _NAME))


@dataclass(frozen=True, slots=True)
class Attached:
    """One program in the kernel: its descriptor, and those of the maps that it uses, by their names."""

    fd: int
    maps: dict[str, int]


@contextmanager
def programs(cgroup: Path) -> Iterator[dict[str, Attached]]:
    """By their names, the programs on the packet hooks of a cgroup; descriptors are good inside the `with`.

    Raises KernelError where the kernel does not tell (it takes CAP_SYS_ADMIN).
    """
    with ExitStack() as stack:
        folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, folder)
        found = {}
        for hook in HOOKS:
            for number in _on(folder, hook):
                fd = _open(stack, "bpf_prog_get_fd_by_id", number)
                maps = (ctypes.c_uint32 * _MAPS)()
                info = _ProgramInfo(nr_map_ids=_MAPS, map_ids=ctypes.addressof(maps))
                _ask(fd, info)
                found[info.name.decode()] = Attached(fd, _named(stack, list(maps[: info.nr_map_ids])))
        yield found


def _on(folder: int, hook: int) -> list[int]:
    numbers, count = (ctypes.c_uint32 * _PROGRAMS)(), ctypes.c_uint32(_PROGRAMS)
    what = "the programs on a cgroup are not told"
    libbpf.call("bpf_prog_query", folder, hook, 0, None, numbers, ctypes.byref(count), what=what)
    return list(numbers[: count.value])


def _named(stack: ExitStack, numbers: list[int]) -> dict[str, int]:
    maps = {}
    for number in numbers:
        fd = _open(stack, "bpf_map_get_fd_by_id", number)
        info = _MapInfo()
        _ask(fd, info)
        maps[info.name.decode()] = fd
    return maps


def _open(stack: ExitStack, function: str, number: int) -> int:
    fd = libbpf.call(function, ctypes.c_uint32(number), what="a program or map in the kernel cannot be opened")
    stack.callback(os.close, fd)
    return fd


def _ask(fd: int, info: ctypes.Structure) -> None:
    size = ctypes.c_uint32(ctypes.sizeof(info))
    what = "the kernel tells nothing of a program or map"
    libbpf.call("bpf_obj_get_info_by_fd", fd, ctypes.byref(info), ctypes.byref(size), what=what)

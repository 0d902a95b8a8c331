"""Which system calls a name means on this machine: in the tables of its own programs and of others that it runs.

In: names of the configuration. Out: numbers as the kernel half knows them (probes/syscall.bpf.c), with the name that
each has in its own table.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from functools import cache

from ingrain.grains.syscall_numbers import tables

NUMBERS = 1024  # of each table: probes/syscall.bpf.c

_WIDER = ("", "32", "64", "_time64")
"""What a 32-bit program's later calls have behind a name: of wider ids, sizes and times."""

_FUNCTIONS = {
    "newfstat": "fstat",
    "newlstat": "lstat",
    "newstat": "stat",
    "newuname": "uname",
    "sendfile64": "sendfile",
    "umount": "umount2",
}
"""What the kernel calls the function of a call that has another name: ingraind listed functions."""


def check(name: str) -> None:
    """Raise ValueError where this machine has no system call of that name; the message says which one is like it."""
    known = _known()
    if name in known:
        return
    machine = os.uname().machine
    if not known:
        raise ValueError(f"system calls are known by their names on x86_64 and aarch64, not on {machine}")
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"; it has {', '.join(close)}" if close else ""
    raise ValueError(f"{machine} has no system call {name!r}{hint} (syscalls(2) lists them)")


def numbers(names: Iterable[str]) -> dict[int, tuple[str, str]]:
    """Number -> its name, and the name of its table: of all calls that these names mean.

    A number is that of its table, and 1,024 times which of the tables it is. Of a 32-bit program's calls those of wider
    ids, sizes and times are meant, too: `setuid32` by `setuid`, `stat64` by `stat`.
    """
    meant = {*names} | {_FUNCTIONS[name] for name in names if name in _FUNCTIONS}
    wider = {name + ending for name in meant for ending in _WIDER}
    return {
        at * NUMBERS + number: (name, abi)
        for at, (abi, table) in enumerate(tables(os.uname().machine).items())
        for name, number in table.items()
        if name in (wider if abi in {"i386", "arm"} else meant)
    }


@cache
def _known() -> frozenset[str]:
    every = {name for table in tables(os.uname().machine).values() for name in table}
    return frozenset(every | {*_FUNCTIONS} if every else every)

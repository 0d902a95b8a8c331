"""Counts that the programs keep by place, in two arrays of which one is written to and the other is read.

The reading side maps both arrays, so an interval costs one system call to swap them and a copy of the places in use.
"""

from __future__ import annotations

import mmap
import os

import numpy as np
import numpy.typing as npt

from ingrain.kernel import maps
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.program import Program

Rows = npt.NDArray[np.void]


class Places:
    """The arrays NAME_a and NAME_b of a program, the active one of them in the array of maps NAME.

    Place 0 of each tells the programs which of the two it is, in the first member; `taken` counts, for each, the
    places behind it that are in use. Raises KernelError.
    """

    def __init__(self, program: Program, name: str, dtype: np.dtype[np.void], taken: str = "taken") -> None:
        self._outer = program.maps[name]
        self._fds = [program.maps[f"{name}_{one}"] for one in "ab"]
        self._rows = [_mapped(fd, dtype) for fd in self._fds]
        self._taken, self._counter = program.maps[taken], program.dtype(taken)
        self._active = 0
        for which, rows in enumerate(self._rows):
            rows[dtype.names[0] if dtype.names else ""][0] = which

    def take(self) -> Rows:
        """What was counted since the last call: a row a place, a copy; the places are empty afterwards."""
        read, self._active = self._active, 1 - self._active
        maps.swap(self._outer, self._fds[self._active])
        used = int(maps.get(self._taken, read, self._counter)["places"])
        rows = self._rows[read][1 : 1 + used]
        found = rows.copy()
        rows[:] = np.zeros((), rows.dtype)
        maps.put(self._taken, read.to_bytes(4, "little"), bytes(self._counter.itemsize))
        return found


def _mapped(fd: int, dtype: np.dtype[np.void]) -> Rows:
    """An array map's entries, shared with the kernel, which rounds each up to eight bytes (kernel/bpf/arraymap.c)."""
    entries = maps.entries(fd)
    if dtype.itemsize % 8:
        raise ValueError(f"{dtype} is not made of whole words")
    size = -(-entries * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
    try:
        return np.frombuffer(mmap.mmap(fd, size), dtype, entries)
    except OSError as error:
        raise KernelError(error.errno or 0, "an array map cannot be mapped", os.strerror(error.errno or 0)) from error

"""Counts that the programs keep by place, in two arrays of which one is written to while the other is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ingrain.kernel import maps
from ingrain.kernel.program import Program


class Places:
    """The arrays NAME_a and NAME_b of a program, the active one of them in the array of maps NAME.

    Place 0 of each tells the programs which of the two it is, in the first member; `taken` counts, for each, the places
    behind it that are in use. Raises KernelError.
    """

    def __init__(self, program: Program, name: str, struct: str, taken: str = "taken") -> None:
        self._outer = program.maps[name]
        self._arrays = [program.maps[f"{name}_{one}"] for one in "ab"]
        self._taken, self._counter = program.maps[taken], program.dtype(taken)
        self._active = 0
        dtype = program.dtype(struct)
        self._heads = [np.zeros(1, dtype), np.zeros(1, dtype)]
        for which, head in enumerate(self._heads):
            head.view(np.uint64)[0] = which
            maps.put_first(self._arrays[which], head)

    def take(self) -> npt.NDArray[np.void]:
        """What was counted since the last call, a row a place; the places are empty afterwards."""
        read, self._active = self._active, 1 - self._active
        maps.swap(self._outer, self._arrays[self._active])
        head = self._heads[read]
        used = int(maps.get(self._taken, read, self._counter)["places"])
        if not used:
            return np.empty(0, head.dtype)
        found = maps.get_first(self._arrays[read], 1 + used, head.dtype)[1:]
        maps.put_first(self._arrays[read], np.concatenate([head, np.zeros(used, head.dtype)]))
        maps.put(self._taken, read.to_bytes(4, "little"), bytes(self._counter.itemsize))
        return found

"""Counts that the programs keep by place, in two arrays of which one is written to while the other is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ingrain.kernel import maps
from ingrain.kernel.program import Program
from ingrain.kernel.swapped import Swapped


class Places(Swapped):
    """The arrays NAME_a and NAME_b of a program, the active one of them in the array of maps NAME.

    Place 0 of each tells the programs which of the two it is, in the first member; `taken` counts, for each, the places
    behind it that are in use. Raises KernelError.
    """

    def __init__(self, program: Program, name: str, struct: str, taken: str = "taken") -> None:
        super().__init__(program, name)
        self._taken, self._counter = program.maps[taken], program.dtype(taken)
        dtype = program.dtype(struct)
        self._heads = [np.zeros(1, dtype), np.zeros(1, dtype)]
        for which, head in enumerate(self._heads):
            head.view(np.uint64)[0] = which
            maps.put_first(self._maps[which], head)

    def take(self) -> npt.NDArray[np.void]:
        """What was counted until the last swap, a row a place; the places are empty afterwards."""
        which = self.left()
        head = self._heads[which]
        used = int(maps.get(self._taken, which, self._counter)["places"])
        if not used:
            return np.empty(0, head.dtype)
        found = maps.get_first(self._maps[which], 1 + used, head.dtype)[1:]
        maps.put_first(self._maps[which], np.concatenate([head, np.zeros(used, head.dtype)]))
        maps.put(self._taken, which.to_bytes(4, "little"), bytes(self._counter.itemsize))
        return found

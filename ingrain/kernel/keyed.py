"""Counts that the programs keep by key, in two hash maps of which one is written to while the other is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ingrain.kernel import maps
from ingrain.kernel.program import Program


class Keyed:
    """The hash maps NAME_a and NAME_b of a program, the active one of them in the array of maps NAME.

    key, value: names of their structs. Raises KernelError.
    """

    def __init__(self, program: Program, name: str, key: str, value: str) -> None:
        self._outer = program.maps[name]
        self._maps = [program.maps[f"{name}_{one}"] for one in "ab"]
        self._key, self._value = program.dtype(key), program.dtype(value)
        self._active = 0

    def take(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """Keys and values of what was counted since the last call, a row each; the map is empty afterwards."""
        read, self._active = self._active, 1 - self._active
        maps.swap(self._outer, self._maps[self._active])
        return maps.take_all(self._maps[read], self._key, self._value)

"""Counts that the programs keep by key, in two hash maps of which one is written to while the other is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ingrain.kernel import maps
from ingrain.kernel.program import Program
from ingrain.kernel.swapped import Swapped


class Keyed(Swapped):
    """The hash maps NAME_a and NAME_b of a program, the active one of them in the array of maps NAME.

    key, value: names of their structs. Raises KernelError.
    """

    def __init__(self, program: Program, name: str, key: str, value: str) -> None:
        super().__init__(program, name)
        self._key, self._value = program.dtype(key), program.dtype(value)

    def take(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """Keys and values of what was counted until the last swap, a row each; the map is empty afterwards."""
        return maps.take_all(self._maps[self.left()], self._key, self._value)

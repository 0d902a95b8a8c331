"""Two maps of a program, of which one is written to while the other is read."""

from __future__ import annotations

from ingrain.kernel import maps
from ingrain.kernel.program import Program


class Swapped:
    """The maps NAME_a and NAME_b of a program, the active one of them in the array of maps NAME."""

    def __init__(self, program: Program, name: str) -> None:
        self._outer = program.maps[name]
        self._maps = [program.maps[f"{name}_{one}"] for one in "ab"]
        self._active = 0
        self._left: int | None = None
        program.swaps.append(self.swap)

    def swap(self) -> None:
        """Have the programs write to the other map, unless the one that they left was not read yet.

        When this returns, no program writes to that any more: the kernel waits for all that run anywhere, which takes
        it some milliseconds, and a hundred on a busy machine. So it is for a thread that has nothing else to do.
        """
        if self._left is None:
            maps.swap(self._outer, self._maps[1 - self._active])
            self._left, self._active = self._active, 1 - self._active

    def left(self) -> int:
        """Which one the programs left, 0 or 1: to be read and emptied now. Swaps them where `swap` was not called."""
        self.swap()
        left, self._left = self._left, None
        return left or 0

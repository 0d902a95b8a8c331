"""From the kernel's clock to UTC."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

_READINGS = 16


class Utc:
    """How far UTC is ahead of the clock that bpf_ktime_get_ns() reads, so that the same moment always has one name.

    Both clocks are slewed alike, so the difference changes only where UTC is set (clock_settime(2), a leap second).
    They cannot be read at once: of a reading it is known between which bounds the difference lies, and what was
    measured before holds until it lies outside.
    """

    def __init__(self) -> None:
        self._ahead = _measured()

    def __call__(self, monotonic: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Nanoseconds since 1970 UTC for times that bpf_ktime_get_ns() gave."""
        low, high = _bounds()
        if not low <= self._ahead <= high:
            self._ahead = _measured()
        return monotonic.astype(np.int64) + self._ahead


def _measured() -> int:
    """The middle of the narrowest bounds of some readings: this thread may have had to wait during one."""
    low, high = min((_bounds() for _ in range(_READINGS)), key=lambda bounds: bounds[1] - bounds[0])
    return (low + high) // 2


def _bounds() -> tuple[int, int]:
    before, utc, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
    return utc - after, utc - before


to_utc = Utc()

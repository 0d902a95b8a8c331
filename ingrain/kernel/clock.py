"""From the kernel's clock to UTC."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt


def to_utc(monotonic: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Nanoseconds since 1970 UTC for times that bpf_ktime_get_ns() gave.

    The two clocks are compared at each call, so a clock that is set or slewed is followed.
    """
    offset = time.time_ns() - time.monotonic_ns()
    return monotonic.astype(np.int64) + offset

"""The bound on the agent's memory: when it is reached, pipelines let nothing more in, and hand on what they hold.

What the kernel counts as resident is compared with it, no estimate: whatever takes the memory, the less is let in.
"""

from __future__ import annotations

import mmap
import os
import re
import time
from functools import cache

from ingrain.memory import trim

_STATM_BYTES = 256  # seven numbers
_SIZE = re.compile(r"([1-9][0-9]{0,8})([KMG])")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_RESERVE = 4
"""One part of so many is left for what was let in already, and for what is decoded before it is turned away."""


def bytes_of(size: str) -> int:
    """What `150M` or `1G` is in bytes. Raises ValueError for what is no such size."""
    found = _SIZE.fullmatch(size)
    if not found:
        raise ValueError("expected a size in KiB, MiB or GiB, like 150M or 1G")
    return int(found[1]) * _UNITS[found[2]]


def is_size(size: str) -> None:
    """Raise ValueError for what is no size."""
    bytes_of(size)


def resident() -> int:
    """Bytes of this process that are in memory, as the kernel counts them (proc_pid_statm(5))."""
    return int(os.pread(_statm(), _STATM_BYTES, 0).split()[1]) * mmap.PAGESIZE


@cache
def _statm() -> int:
    """Opened once and for all: when memory is short, descriptors may be, too."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


class Room:
    """Room up to `limit` bytes; None: as much as is asked for. Any thread may ask."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._full_at = float("-inf")

    @property
    def full(self) -> bool:
        """Whether there is none left."""
        if self.limit is None or resident() < self.limit - self.limit // _RESERVE:
            return False
        self._full_at = time.monotonic()
        return True

    def full_within(self, seconds: float) -> bool:
        """Whether there was none at some moment of the last so many seconds."""
        return time.monotonic() - self._full_at < seconds

    def make(self) -> bool:
        """Give back what is free; whether there is none left even so."""
        if not self.full:
            return False
        trim()
        return self.full

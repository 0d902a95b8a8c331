"""A guard against tags that run away: how many series may be told apart before the rest goes under one.

A dashboard's server keeps every series that it ever saw; a tag with a port or a name of a file in it can make millions.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FORGET_S = 3600.0
"""A series that was not sent for so long makes room for another; at the latest after twice that."""


class Cardinality:
    """Which series are told apart: the first `limit`, as long as they are seen now and then.

    Some 100 bytes each, however long they are: a series is known by its hash, 64 bits keyed per process.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._now: defaultdict[str, set[int]] = defaultdict(set)
        self._before: defaultdict[str, set[int]] = defaultdict(set)
        self._due = time.monotonic() + FORGET_S

    def told_apart(self, name: str, series: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Of each of these series of a measurement: whether it is one of those (bool, one a series)."""
        if time.monotonic() >= self._due:
            self._before, self._now = self._now, defaultdict(set)
            self._count = sum(map(len, self._before.values()))
            self._due = time.monotonic() + FORGET_S
        now, before = self._now[name], self._before[name]
        hashes = list(map(hash, series))
        known = np.fromiter(map(now.__contains__, hashes), np.bool_, len(hashes))
        if self._count < self._limit or before:
            for at in np.flatnonzero(~known).tolist():
                known[at] = self._admits(hashes[at], now, before)
        return known

    def _admits(self, one: int, now: set[int], before: set[int]) -> bool:
        if one in before:
            before.discard(one)
        elif one not in now:
            if self._count >= self._limit:
                return False
            self._count += 1
        now.add(one)
        return True

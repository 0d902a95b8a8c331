"""A guard against tags that run away: how many series may be told apart before the rest goes under one.

A dashboard's server keeps every series that it ever saw; a tag with a port or a name of a file in it can make millions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FORGET_S = 3600.0
"""A series that was not sent for so long makes room for another; at the latest after twice that."""


class Cardinality:
    """Which series are told apart: the first `limit`, as long as they are seen now and then. Some 100 bytes each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._now: set[str] = set()
        self._before: set[str] = set()
        self._due = time.monotonic() + FORGET_S

    def told_apart(self, name: str, series: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Of each of these series of a measurement: whether it is one of those (bool, one a series)."""
        if time.monotonic() >= self._due:
            self._before, self._now = self._now, set()
            self._due = time.monotonic() + FORGET_S
        return np.fromiter((self._is(f"{name}{one}") for one in series), np.bool_, len(series))

    def _is(self, one: str) -> bool:
        if one in self._now:
            return True
        if one in self._before:
            self._before.discard(one)
        elif len(self._now) + len(self._before) >= self._limit:
            return False
        self._now.add(one)
        return True

"""Sums by key: of the last seconds, and of all the time that was watched. Bounded by the number of keys."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

KEYS = 20_000
"""Keys at the most; what was not added to for longest is forgotten."""

Key = tuple[str, ...]


@dataclass(slots=True)
class Row:
    """Of one key: sums of the window, of all the time, and what else was last told of it."""

    key: Key
    recent: list[int]
    total: list[int]
    last: dict[str, str]


class Tally:
    """So many sums a key, over a window of so many seconds. For one thread at a time."""

    def __init__(self, sums: int, window_s: int) -> None:
        self._sums = sums
        self._window_s = window_s
        self._seconds: deque[tuple[int, dict[Key, list[int]]]] = deque()
        self._rows: OrderedDict[Key, Row] = OrderedDict()

    def add(self, key: Key, which: int, amount: int, now: float) -> Row:
        """Add to a sum of a key; now: seconds on any clock that rises."""
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = Row(key, [0] * self._sums, [0] * self._sums, {})
            if len(self._rows) > KEYS:
                self._forget(self._rows.popitem(last=False)[0])
        self._rows.move_to_end(key)
        if not self._seconds or self._seconds[-1][0] < int(now):
            self._seconds.append((int(now), {}))
        self._seconds[-1][1].setdefault(key, [0] * self._sums)[which] += amount
        row.recent[which] += amount
        row.total[which] += amount
        return row

    def _forget(self, key: Key) -> None:
        """Of one that comes again, nothing of before is taken off."""
        for _, amounts in self._seconds:
            amounts.pop(key, None)

    def rows(self, now: float) -> Iterator[Row]:
        """All that is known, with the window that ends now."""
        while self._seconds and self._seconds[0][0] <= now - self._window_s:
            for key, amounts in self._seconds.popleft()[1].items():
                row = self._rows[key]
                row.recent = [held - gone for held, gone in zip(row.recent, amounts, strict=True)]
        return iter(self._rows.values())

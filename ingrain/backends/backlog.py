"""Which object of a spool is next. Memory does not grow with the spool: of what waits, only the oldest are known.

Each object has its turn, the oldest first. One that failed waits for its next turn behind those that were never tried,
but alternates with them as soon as it may be tried again: neither can keep the other from the server.
"""

from __future__ import annotations

from collections import deque

from ingrain.backends.spool import Spool, Spooled

WINDOW = 2048
"""Objects known at a time, of those never tried and of those that failed: 1 MB each. The rest is looked up in the
folder, by one scan for that many."""


class Backlog:
    """What a spool holds: `objects` of `rows` records and `bytes`, those under way included. Not safe for threads."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._fresh: deque[Spooled] = deque()
        self._failed: deque[tuple[Spooled, int]] = deque()
        self._known = 0  # no object up to this stamp is in the folder only
        self._more = True  # later ones may be
        self._failed_last = False
        self.objects = self.rows = self.bytes = 0
        for one in spool:
            self._count(one, 1)

    def add(self, one: Spooled) -> None:
        """The spool has one more, the newest."""
        self._count(one, 1)
        if self._more or len(self._fresh) >= WINDOW:
            self._more = True
        else:
            self._fresh.append(one)
            self._known = one.stamp

    def waits(self, *, retry: bool) -> bool:
        """Whether `next` may have one."""
        return (retry and bool(self._failed)) or ((bool(self._fresh) or self._more) and len(self._failed) < WINDOW)

    def next(self, *, retry: bool) -> tuple[Spooled, int | None] | None:
        """Take the next one. With it comes what `failed` was told of it; None when it was never tried.

        retry: whether it may be one that failed.
        """
        if not self._fresh and self._more:
            self._load()
        fresh = bool(self._fresh) and len(self._failed) < WINDOW
        self._failed_last = retry and bool(self._failed) and not (fresh and self._failed_last)
        if self._failed_last:
            return self._failed.popleft()
        return (self._fresh.popleft(), None) if fresh else None

    def failed(self, one: Spooled, mark: int) -> None:
        """It was taken and stays, to be tried again."""
        self._failed.append((one, mark))

    def gone(self, one: Spooled) -> None:
        """It was taken and is not in the spool any more."""
        self._count(one, -1)

    def oldest(self) -> Spooled | None:
        """Of those that are not under way."""
        if not self._fresh and self._more:
            self._load()
        return min([*(one for one, _ in self._failed), *list(self._fresh)[:1]], default=None)

    def take(self, one: Spooled) -> None:
        """Take the one that `oldest` told."""
        if self._fresh and self._fresh[0] == one:
            self._fresh.popleft()
        else:
            self._failed = deque((other, mark) for other, mark in self._failed if other != one)

    def _load(self) -> None:
        found = self._spool.after(self._known, WINDOW)
        self._fresh.extend(found)
        self._more = len(found) == WINDOW
        if found:
            self._known = found[-1].stamp

    def _count(self, one: Spooled, sign: int) -> None:
        self.objects += sign
        self.rows += sign * one.rows
        self.bytes += sign * one.size

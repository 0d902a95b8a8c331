"""Which object of a spool is next. Memory does not grow with the spool: of what waits, only a part is known.

Each object has its turn, the oldest first. One that failed waits for its next turn behind those that were never tried,
but alternates with them as soon as it may be tried again: neither can keep the other from the server, however many
there are. What is not known is looked up in the folder, by one scan for many; a scan also notices what somebody else
has removed, or put back.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ingrain.backends.spool import Spool, Spooled

WINDOW = 1024
"""Objects known at a time, of those never tried, of those that failed, and of the oldest: 0.5 MB each."""


@dataclass(slots=True)
class Total:
    """So many objects, with so many records and bytes."""

    objects: int = 0
    rows: int = 0
    bytes: int = 0

    def add(self, one: Spooled, sign: int = 1) -> None:
        """One more, or one less."""
        self.objects += sign
        self.rows += sign * one.rows
        self.bytes += sign * one.size

    def plus(self, other: Total, sign: int = 1) -> Total:
        """The sum, or the difference."""
        return Total(
            self.objects + sign * other.objects, self.rows + sign * other.rows, self.bytes + sign * other.bytes
        )


class _Window:
    """The oldest objects behind some stamp, in their order: as many as are known. `more`: later ones may be there."""

    def __init__(self) -> None:
        self.known: dict[Spooled, None] = {}
        self.until = 0  # none up to this stamp is in the folder only
        self.more = True

    @property
    def first(self) -> Spooled | None:
        return next(iter(self.known), None)

    @property
    def begin(self) -> int:
        """Nothing before this stamp belongs to it."""
        return self.first.stamp if self.first else self.until + 1

    def add(self, one: Spooled) -> None:
        """The newest of all."""
        if self.more or len(self.known) >= WINDOW:
            self.more = True
        else:
            self.known[one] = None
            self.until = one.stamp

    def put_back(self, one: Spooled) -> None:
        """One that was left out when the others were loaded."""
        if one not in self.known and not (self.more and one.stamp > self.until):
            self.known = dict.fromkeys(sorted([*self.known, one]))
            self.until = max(self.until, one.stamp)

    def load(self, found: Sequence[Spooled]) -> None:
        self.known = dict.fromkeys(found)
        self.more = len(found) == WINDOW
        self.until = found[-1].stamp if found else self.until

    def forget(self, until: int) -> None:
        self.known, self.until, self.more = {}, until, True


class Backlog:
    """What a spool holds: `total`, with those that are `under_way`. Not safe for threads.

    `removed`: what somebody else has removed; what came back counts against it. For the caller to set to nothing.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._fresh, self._oldest = _Window(), _Window()
        self._failed: deque[tuple[Spooled, int]] = deque()
        self._unknown = False  # some that failed are known in the folder only
        self._retried = 0  # the stamp up to which those have had their turn in this round
        self._mark = 0  # the last one that came with those
        self.under_way: dict[Spooled, bool] = {}  # and whether it failed before
        self._failed_last = False
        self._last = 0  # the newest that is counted: a later one is about to be added
        self.total, self.removed = Total(), Total()
        for one in spool:
            self.total.add(one)
            self._last = max(self._last, one.stamp)

    def add(self, one: Spooled) -> None:
        """The spool has one more, the newest."""
        self.total.add(one)
        self._last = one.stamp
        self._fresh.add(one)
        self._oldest.add(one)

    @property
    def refused(self) -> bool:
        """Whether it has some that failed."""
        return self._failed_wait or any(self.under_way.values())

    def waits(self, *, retry: bool) -> bool:
        """Whether `next` may have one."""
        return (retry and self._failed_wait) or bool(self._fresh.known) or self._fresh.more

    def next(self, *, retry: bool) -> tuple[Spooled, int | None] | None:
        """Take the next one. With it comes what `failed` was told of it; None when it was never tried.

        retry: whether it may be one that failed. Raises OSError where the folder cannot be listed.
        """
        while not self._knows(retry=retry):
            pass
        fresh = self._fresh.first
        self._failed_last = retry and bool(self._failed) and not (fresh and self._failed_last)
        if not self._failed_last:
            return None if fresh is None else (self._take_fresh(fresh), None)
        one, mark = self._failed.popleft()
        self.under_way[one] = True
        return one, mark

    def failed(self, one: Spooled, mark: int) -> None:
        """It was taken and stays, to be tried again."""
        self.under_way.pop(one, None)
        self._oldest.put_back(one)
        if self._unknown or len(self._failed) >= WINDOW:  # so those that are known now come to an end
            self._unknown, self._mark = True, mark
        else:
            self._failed.append((one, mark))

    def gone(self, one: Spooled) -> None:
        """It was taken and is not in the spool any more."""
        self.under_way.pop(one, None)
        self._remove(one)

    def oldest(self) -> Spooled | None:
        """Of those that are not under way. Raises OSError where the folder cannot be listed."""
        found = self._first_waiting()
        if found is None and self._oldest.more:
            self._oldest.load(self._look(lambda _: True))
            found = self._first_waiting()
        return found

    def drop(self, one: Spooled) -> None:
        """The one that `oldest` told is not in the spool any more."""
        if one in self._fresh.known:
            del self._fresh.known[one]
        else:
            self._failed = deque((other, mark) for other, mark in self._failed if other != one)
        self._remove(one)

    @property
    def _failed_wait(self) -> bool:
        return bool(self._failed) or self._unknown

    def _first_waiting(self) -> Spooled | None:
        return next((one for one in self._oldest.known if one not in self.under_way), None)

    def _take_fresh(self, one: Spooled) -> Spooled:
        del self._fresh.known[one]
        self.under_way[one] = False
        return one

    def _remove(self, one: Spooled) -> None:
        self.total.add(one, -1)
        self._oldest.known.pop(one, None)

    def _knows(self, *, retry: bool) -> bool:
        """Whether the next ones are known. If not, they are looked up, which may make others unknown."""
        if self._fresh.more and not self._fresh.known:
            until = self._fresh.until
            self._fresh.load(self._look(lambda one: one.stamp > until))
        elif retry and self._unknown and not self._failed:
            self._load_failed()
        else:
            return True
        return False

    def _load_failed(self) -> None:
        """Know the next ones of those that failed; behind the last of them it begins anew."""
        after, before = self._retried, self._fresh.begin
        found = self._look(lambda one: after < one.stamp < before)
        if not found and after:
            after = 0
            found = self._look(lambda one: one.stamp < before)
        self._unknown = after > 0 or len(found) == WINDOW
        self._retried = found[-1].stamp if len(found) == WINDOW else 0
        self._failed.extend((one, self._mark) for one in found)

    def _look(self, wanted: Callable[[Spooled], bool]) -> list[Spooled]:
        """The oldest of those that are wanted and not under way, in their order."""
        seen = Total()

        def waiting() -> Iterable[Spooled]:
            for one in self._spool:
                if one.stamp <= self._last and one not in self.under_way:
                    seen.add(one)
                    yield one

        found = heapq.nsmallest(WINDOW, filter(wanted, waiting()))
        for one in self.under_way:
            seen.add(one)
        if seen != self.total:
            self._correct(seen)
        return found

    def _correct(self, seen: Total) -> None:
        """Not all that is known is there any more: everything is looked up again."""
        self.removed = self.removed.plus(self.total).plus(seen, -1)
        self.total = seen
        self._fresh.forget(self._fresh.begin - 1)
        self._oldest.forget(0)
        self._mark = max([self._mark, *(mark for _, mark in self._failed)])
        self._failed.clear()
        self._unknown, self._retried = True, 0

"""DNS queries that wait for their answer: who asked what, when."""

from __future__ import annotations

from collections import OrderedDict

Key = tuple[bytes, str, str]
"""What a query and its answer have in common: their connection with the message's id, the name, the type."""

QUERIES = 1 << 14
"""That wait at the most; a query costs some 500 bytes."""

ANSWERED = 1 << 10
"""Remembered of those that were answered, up to twice as many: an answer that is sent again has the same query."""

PATIENCE_NS = 60_000_000_000
"""How long an answer may take. Resolvers give up after half of it."""


class Queries:
    """Times of queries, in nanoseconds. Where too many wait, the oldest are forgotten."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, int] = OrderedDict()
        self._answered: dict[Key, int] = {}
        self._answered_before: dict[Key, int] = {}

    def __len__(self) -> int:
        """Those that wait."""
        return len(self._waiting)

    def ask(self, key: Key, time: int) -> None:
        """Asked, or asked again: what counts is the last time."""
        if key in self._waiting:
            self._waiting.move_to_end(key)
        elif len(self._waiting) >= QUERIES:
            self._waiting.popitem(last=False)
        self._waiting[key] = time

    def answer(self, key: Key, time: int) -> int | None:
        """Nanoseconds since it was asked; None where that was not seen. A second answer has the same query."""
        asked = self._waiting.get(key)
        if asked is not None and asked <= time:
            del self._waiting[key]
            if len(self._answered) >= ANSWERED:
                self._answered, self._answered_before = {}, self._answered
            self._answered[key] = asked
        else:
            asked = self._answered.get(key, self._answered_before.get(key))
        return time - asked if asked is not None and 0 <= time - asked <= PATIENCE_NS else None

    def expire(self, now: int) -> None:
        """Forget the queries that nobody will answer any more, at `now` (nanoseconds)."""
        while self._waiting and now - next(iter(self._waiting.values())) > PATIENCE_NS:
            self._waiting.popitem(last=False)

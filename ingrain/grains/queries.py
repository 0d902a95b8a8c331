"""DNS queries that wait for their answer: who asked what, when."""

from __future__ import annotations

from collections import OrderedDict

QUERIES = 1 << 14
"""Remembered at the most: each costs some 400 bytes."""

PATIENCE_NS = 60_000_000_000
"""How long an answer may take. Resolvers give up after half of it."""


class Queries:
    """Times of queries, in nanoseconds, by what only their answer has in common with them."""

    def __init__(self) -> None:
        self._asked: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, key: bytes, time: int) -> None:
        """Asked, or asked again: what counts is the last time."""
        self._asked[key] = time
        self._asked.move_to_end(key)
        if len(self._asked) > QUERIES:
            self._asked.popitem(last=False)

    def answer(self, key: bytes, time: int) -> int | None:
        """Nanoseconds since it was asked; None where that was not seen. A second answer has the same query."""
        asked = self._asked.get(key)
        return None if asked is None or not 0 <= time - asked <= PATIENCE_NS else time - asked

    def expire(self, now: int) -> None:
        """Forget what nobody waits for any more."""
        while self._asked:
            key, asked = next(iter(self._asked.items()))
            if now - asked <= PATIENCE_NS:
                break
            del self._asked[key]

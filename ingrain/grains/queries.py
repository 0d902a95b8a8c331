"""DNS queries that wait for their answer: who asked what, when."""

from __future__ import annotations

Key = tuple[bytes, str, str]
"""What a query and its answer have in common: their connection with the message's id, the name, the type."""

QUERIES = 1 << 13
"""Of a generation at the most. There are two, and a query costs some 400 bytes."""

PATIENCE_NS = 60_000_000_000
"""How long an answer may take. Resolvers give up after half of it."""


class Queries:
    """Times of queries, in nanoseconds. Those of a generation are forgotten together, with the one after the next."""

    def __init__(self) -> None:
        self._asked: dict[Key, int] = {}
        self._before: dict[Key, int] = {}
        self._since = 0

    def __len__(self) -> int:
        return len(self._asked) + len(self._before)

    def ask(self, key: Key, time: int) -> None:
        """Asked, or asked again: what counts is the last time."""
        if len(self._asked) >= QUERIES or time - self._since > PATIENCE_NS:
            self._asked, self._before = {}, self._asked
            self._since = time
        self._asked[key] = time

    def answer(self, key: Key, time: int) -> int | None:
        """Nanoseconds since it was asked; None where that was not seen. A second answer has the same query."""
        asked = self._asked.get(key)
        if asked is None:
            asked = self._before.get(key)
        return time - asked if asked is not None and 0 <= time - asked <= PATIENCE_NS else None

"""A stage's place in its pipeline: its inbox and its station stay when who works there dies, and another takes over.

In: how such a stage is made. Out: one at a time, started on the inbox that the one before it left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka
from pykka._envelope import Envelope

from ingrain.account import Station
from ingrain.inbox import Inbox
from ingrain.stage import Stage


class Post:
    """For one thread, but `tell`. `make`: constructs a stage for `station`."""

    def __init__(self, make: Callable[[], Stage], station: Station, inbox: Inbox) -> None:
        self._make = make
        self._stage: Stage | None = None
        self._ref: pykka.ActorRef[Any] | None = None
        self.station = station
        self.inbox = inbox

    def tell(self, message: object) -> None:
        """Put a message into the inbox, whoever will read it; a batch raises `pykka.ActorDeadError` after `close`."""
        self.inbox.put(Envelope(message))

    def fill(self) -> None:
        """Construct a stage, which does nothing yet. Raises what its constructor does."""
        self._stage = self._make()

    def leave(self) -> None:
        """Do without the stage that was constructed and not begun."""
        if self._stage is not None:
            self._stage.on_failure()
            self._stage = None

    def begin(self) -> None:
        """Let the stage that was constructed work."""
        if self._stage is not None:
            self._ref = self._stage.begin(self.inbox)

    @property
    def vacant(self) -> bool:
        """Whether nobody works here: who did has died, or nobody has begun."""
        return self._stage is None or self._ref is None or self._stage.ended.is_set()

    def bury(self) -> int:
        """Count what a stage that has died held in memory as lost: so many records."""
        self._stage = self._ref = None
        return self.station.bury()

    def close(self) -> None:
        """Let no batch in any more, and nobody wait for room."""
        self.inbox.close()

    def abandon(self) -> int:
        """Close, where nobody works any more, and count what waits as lost: so many records."""
        left = self.inbox.abandon()
        self.station.abandon(left)
        return left

    def stop(self, *, block: bool) -> None:
        """Let the stage end behind what waits for it."""
        if self._ref is not None and not self.vacant:
            self._ref.stop(block=block)

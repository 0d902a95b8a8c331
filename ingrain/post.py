"""A stage's place in its pipeline: its inbox and its station stay when the stage dies, and another one takes over.

In: how such a stage is made. Out: one at a time, started on the inbox that the one before it left.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from pykka._envelope import Envelope

from ingrain.account import Station
from ingrain.backends.backoff import Backoff
from ingrain.inbox import Inbox
from ingrain.stage import Stage

log = logging.getLogger(__name__)

_STARTING = "starting it"
"""What a station says of a stage that cannot be constructed, or has no thread."""


class Post:
    """For one thread, but `tell` and `account`. `make`: constructs a stage for `station`."""

    def __init__(self, make: Callable[[], Stage], station: Station, inbox: Inbox) -> None:
        self._make = make
        self._stage: Stage | None = None
        self._begun = False
        self._cut = 0  # records taken out of its inbox, which its stage, being alive, cannot count
        self._settled = False
        self._backoff, self._retry_at = Backoff(), 0.0
        self.station = station
        self.inbox = inbox

    def tell(self, message: object) -> None:
        """Put a message into the inbox, whoever will read it; a batch raises `pykka.ActorDeadError` after `close`."""
        self.inbox.put(Envelope(message))

    def account(self) -> Station:
        """Its station as it is at this moment."""
        now = self.station.now({"inbox.depth": self.inbox.depth})
        if not self._cut:
            return now
        detail = now.detail + Counter({"abandoned": self._cut})
        return replace(now, received=now.received + self._cut, lost=now.lost + self._cut, detail=detail)

    def fill(self) -> None:
        """Construct a stage, which does nothing yet. Raises what its constructor does."""
        self._stage = self._make()

    def leave(self) -> None:
        """Do without the stage that was constructed and not begun."""
        if self._stage is not None:
            self._stage.on_failure()
            self._stage = None

    def begin(self) -> None:
        """Let the stage that was constructed work. Raises RuntimeError where there is no thread for it."""
        if self._stage is not None:
            self._stage.begin(self.inbox)
            self._begun = True

    @property
    def vacant(self) -> bool:
        """Whether nobody works here: the stage has ended, or none could be constructed yet."""
        return self._stage is None or not self._begun or self._stage.ended.is_set()

    @property
    def died(self) -> bool:
        """Whether the stage has ended without being asked to."""
        return self._stage is not None and self._stage.ended.is_set() and self._stage.died

    def bury(self) -> int:
        """Count what a stage that has died held in memory as lost, and do without it. Returns the number of records."""
        self._stage, self._begun = None, False
        return self.station.end("died with it")

    def refill(self) -> None:
        """Have another stage work here, if one can be had; else try again later, and later each time."""
        if time.monotonic() < self._retry_at:
            return
        try:
            self.fill()
            self.begin()
        except BaseException as error:  # noqa: BLE001 a library's panic, too: the reason is reported until it works
            self.postpone(error)
        else:
            if self.station.failing.pop(_STARTING, None) is not None:
                log.warning("%s could be started now", self.station.name)
            self._backoff.reset()

    def postpone(self, error: BaseException) -> None:
        """Do without the stage that could not be started, for now; `refill` tries it again."""
        self.leave()
        if _STARTING not in self.station.failing:
            what = "%s cannot be started; it is tried again, and what comes waits for it"
            log.error(what, self.station.name, exc_info=error)
        self.station.failing[_STARTING] = str(error) or type(error).__name__
        self._retry_at = time.monotonic() + self._backoff.next()

    def close(self) -> None:
        """Let no batch in any more, and nobody wait for room."""
        self.inbox.close()

    def settle(self) -> bool:
        """Nobody will work here again: count what is left here as lost. True the first time that nobody does."""
        if self._settled or not self.vacant:
            return False
        self._settled = True
        if self.died:
            self.bury()
        self.station.failing.pop(_STARTING, None)
        self.station.abandon(self.inbox.abandon())
        return True

    def abandon(self) -> int:
        """Count what waits for a stage that hangs as lost. What it holds itself stays in flight. Returns the number."""
        cut = self.inbox.abandon()
        self._cut += cut
        return cut

    def wait(self, deadline: float) -> None:
        """Wait for the stage to end, until `deadline` (`time.monotonic`) at the latest."""
        if not self.vacant and self._stage is not None:
            self._stage.ended.wait(max(0.0, deadline - time.monotonic()))

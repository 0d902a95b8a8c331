"""Whether what is behind a backend can be reached: said when that changes, not with every batch that meets it."""

from __future__ import annotations

import logging
import time

from ingrain.account import Station

log = logging.getLogger(__name__)

QUIET_S = 60.0
"""What fails and works in turns is told once in this many seconds."""


class Reach:
    """What is behind a station; `what` is done with it (`sending to 127.0.0.1:8125`). The station tells it, too."""

    def __init__(self, station: Station, what: str) -> None:
        self._station = station
        self._what = what
        self._said: float | None = None
        self._failing = False

    def fails(self, why: str, lost: str) -> None:
        """It failed now, because of `why`; `lost` tells what becomes of the records meanwhile."""
        now = time.monotonic()
        self._station.failing[self._what] = why = why.rstrip(".")
        if self._failing or (self._said is not None and now - self._said < QUIET_S):
            return
        self._failing = True
        self._said = now
        log.error("%s: %s failed: %s. %s", self._station.name, self._what, why, lost)

    def works(self) -> None:
        """It worked now."""
        self._station.failing.pop(self._what, None)
        if self._failing and self._said is not None:
            self._failing = False
            seconds = time.monotonic() - self._said
            log.warning("%s: %s works again, after %.0f s", self._station.name, self._what, seconds)

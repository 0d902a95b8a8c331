"""Whether what is behind a backend can be reached: said when that changes, not with every batch that meets it."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

QUIET_S = 60.0
"""What fails and works in turns is told once in this many seconds."""


class Reach:
    """`who` is the station's name, `what` the thing behind it (`StatsD at 127.0.0.1:8125`)."""

    def __init__(self, who: str, what: str) -> None:
        self._who = who
        self._what = what
        self._said: float | None = None
        self._failing = False

    @property
    def failing(self) -> bool:
        """Whether the last thing that was told is a failure."""
        return self._failing

    def fails(self, why: str, lost: str) -> None:
        """It failed now, because of `why`; `lost` tells what becomes of the records meanwhile."""
        now = time.monotonic()
        if self._failing or (self._said is not None and now - self._said < QUIET_S):
            return
        self._failing = True
        self._said = now
        log.error("%s: %s failed: %s. %s", self._who, self._what, why.rstrip("."), lost)

    def works(self) -> None:
        """It worked now."""
        if self._failing and self._said is not None:
            self._failing = False
            log.warning("%s: %s works again, after %.0f s", self._who, self._what, time.monotonic() - self._said)

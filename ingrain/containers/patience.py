"""How long somebody who must not be held up may wait: little at a time, and little of all time."""

from __future__ import annotations

import time

AT_ONCE_S = 0.05
"""Once, at the most: half the time that the reader leaves events in their buffers anyway."""

_SAVED_S = 0.2  # at the most, so several times in a row
_SHARE = 0.05  # of all time


class Patience:
    """Time to wait, of which some is given all the time and used up by waiting."""

    def __init__(self) -> None:
        self._left = _SAVED_S
        self._at = time.monotonic()

    def now(self) -> float:
        """Seconds that may be waited now."""
        now = time.monotonic()
        self._left = min(_SAVED_S, self._left + (now - self._at) * _SHARE)
        self._at = now
        return max(0.0, min(AT_ONCE_S, self._left))

    def waited(self) -> None:
        """The time since `now` was waited."""
        self._left -= time.monotonic() - self._at

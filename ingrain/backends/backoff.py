"""How long to wait before the next try: longer each time, and never as long as the others do."""

from __future__ import annotations

import random

LEAST_S, MOST_S = 1.0, 60.0


class Backoff:
    """Doubles from LEAST_S to MOST_S; of each, a random half is left out, so that agents do not come all at once."""

    def __init__(self) -> None:
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        whole = min(MOST_S, LEAST_S * 2.0 ** min(self._tries, 32))
        self._tries += 1
        return random.uniform(whole / 2, whole)  # noqa: S311 - nothing secret

    def reset(self) -> None:
        """It worked: the next failure is the first."""
        self._tries = 0

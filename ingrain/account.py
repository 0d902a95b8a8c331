"""The account: how many records each station of the data took in, passed on, refused and lost.

Every station (a probe's kernel half, its grain, a step, a backend) owns one `Station` and is the only thread to write
it, so counting costs an addition; readers see each number as it was at some moment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Station:
    """Records at one station: `received` = `delivered` + `merged` + `lost` + what is in flight.

    received: records that came in. delivered: records passed on, or for a backend: accepted by what is behind it.
    merged: records that a Buffer folded into another, or that a step left out on purpose. refused: records that were
    turned away at the door, the inbox being full (they are not in `received`). lost: records that came in and could
    not be passed on. `detail` counts what else is worth telling (datagrams, series, objects, reasons of a loss).
    """

    name: str
    received: int = 0
    delivered: int = 0
    merged: int = 0
    refused: int = 0
    lost: int = 0
    detail: Counter[str] = field(default_factory=Counter)

    @property
    def in_flight(self) -> int:
        """Records taken in of which nothing was said yet."""
        return self.received - self.delivered - self.merged - self.lost

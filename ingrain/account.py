"""The account: how many events and records each station of the data took in, passed on, refused and lost.

Each number has one thread that writes it, so counting costs an addition; readers see it as it was at some moment.
`refused` alone is written by all threads that offer records, under a lock of their pipeline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import msgspec


@dataclass(slots=True)
class Station:
    """Records at one station: `received` + `resumed` + `made` = `delivered` + `merged` + `lost` + `left` + in flight.

    received: records that came in. delivered: records passed on, or for a backend: accepted by what is behind it.
    merged: records that a Buffer folded into another, or that a step left out on purpose. refused: records that were
    turned away at the door, the inbox being full (they are not in `received`). lost: records that came in and could
    not be passed on. resumed: records that an earlier run left in the spool, or a stage of this one, which counts them
    as `left`. made: records that it made beside those that came in: a Buffer's percentiles. spooled: records that are
    there now, in `spooled_bytes`; they are in flight. `detail` counts what else is worth telling (datagrams, series,
    objects, reasons of a loss). `gauges` are what is so now and no count: `inbox.depth` (records that wait for it, not
    in `received` yet), `delivery.latency` (ns: how old the oldest record of its last delivery was then), `spool.bytes`.
    `failing` tells what fails now, and why.
    """

    name: str
    received: int = 0
    delivered: int = 0
    merged: int = 0
    refused: int = 0
    lost: int = 0
    resumed: int = 0
    made: int = 0
    left: int = 0
    spooled: int = 0
    spooled_bytes: int = 0
    detail: Counter[str] = field(default_factory=Counter)
    gauges: dict[str, int] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)

    def now(self, gauges: dict[str, int]) -> Station:
        """As it is at this moment, with these gauges too."""
        return replace(self, detail=Counter(self.detail), gauges=gauges | self.gauges, failing=self.failing.copy())

    def end(self, why: str) -> int:
        """Whoever worked there is gone, and what it held in memory is lost. Returns the number of records."""
        held = max(0, self.in_flight - self.spooled)
        self.lost += held
        if held:
            self.detail[why] += held
        return held

    def abandon(self, waiting: int) -> None:
        """Records that waited for it will never be handled: they are lost."""
        self.received += waiting
        self.lost += waiting
        if waiting:
            self.detail["abandoned"] += waiting

    def past(self) -> Station:
        """What it did, when it is gone: its counts. What is in its spool is its successor's, who resumes it."""
        return replace(self, left=self.left + self.spooled, spooled=0, spooled_bytes=0, gauges={}, failing={})

    @property
    def in_flight(self) -> int:
        """Records taken in of which nothing was said yet."""
        return self.received + self.resumed + self.made - self.delivered - self.merged - self.lost - self.left


@dataclass(slots=True)
class ProbeAccount:
    """A probe's events: handed over = received; received + further = told + malformed + ignored + cut + parts + failed.

    lost: what the programs could not hand over. missed: runs of theirs that the kernel left out (it preempts programs,
    and runs none that is under way on that CPU), and calls of which they saw no end, or that found no room among those
    under way; of each it is not known whether it had anything to tell.
    uncounted: packets whose volume, or calls, the kernel had no room for, of uncounted_bytes.
    malformed: messages that are not what they claim to be, or not wholly; then there may be a record of the rest.
    ignored: those that tell what this agent has no use for. cut: messages of which too little was captured to tell
    them, and segments of no use because those before them are missing. parts: events that hold only a part of what a
    later one completes. further: messages beyond the first of an event. unfinished: messages of which parts came, but
    never all. failed: events that could not be decoded through a fault of the agent's own, which is in its log;
    failed_polls: likewise readings of the kernel's counts, and queries without an answer. told: events that are told,
    by a record each or summed up. corrupt: bytes of the buffers that are no events.
    """

    name: str
    handed_over: int = 0
    lost: int = 0
    missed: int = 0
    received: int = 0
    malformed: int = 0
    ignored: int = 0
    cut: int = 0
    parts: int = 0
    further: int = 0
    unfinished: int = 0
    uncounted: int = 0
    uncounted_bytes: int = 0
    corrupt: int = 0
    failed: int = 0
    failed_polls: int = 0
    told: int = 0
    records: int = 0
    """Records made of events, of volumes and of sums."""


Counted = TypeVar("Counted", Station, ProbeAccount)


def together(those: Sequence[Counted], others: Iterable[Counted]) -> list[Counted]:
    """Those, with what others of the same name counted added to the first of that name; what has none comes last."""
    found = list(those)
    for other in others:
        at = next((at for at, one in enumerate(found) if one.name == other.name), None)
        if at is None:
            found.append(other)
            continue
        one = found[at]
        counts: dict[str, Any] = {
            field.name: getattr(one, field.name) + getattr(other, field.name)
            for field in fields(one)
            if isinstance(getattr(one, field.name), int | Counter)
        }
        found[at] = replace(one, **counts)
    return found


@dataclass(frozen=True, slots=True)
class Account:
    """What became of everything: a line a probe, and a line a stage of each pipeline."""

    probes: list[ProbeAccount]
    pipelines: dict[str, list[Station]]
    capture: dict[str, int | dict[str, int]] | None = None
    """What became of a capture's packets, where one was replayed."""

    def document(self) -> dict[str, Any]:
        """The same as plain lists and dictionaries, for JSON."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        if self.capture is None:
            del document["capture"]
        return document

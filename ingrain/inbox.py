"""An actor's inbox: bounded by records and bytes, with a clock.

Batches enter at a pipeline's head, where a full inbox refuses them (`Inbox.offer`); between the stages of one pipeline
a full one makes the stage before it wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import pykka
from pykka._envelope import Envelope

from ingrain.batch import Batch

INBOX_RECORDS = 1 << 19
"""Records a pipeline's first inbox holds before it is full: half a second of the sustained rate, 30 MB of events."""

INBOX_BYTES = 64 << 20
"""Bytes it holds before it is full: DNS answers and long names weigh more than the count of records says."""

BETWEEN_RECORDS, BETWEEN_BYTES = INBOX_RECORDS // 8, INBOX_BYTES // 8
"""The same of an inbox behind the first: enough to keep two stages at work. What has to wait waits at the door."""

_BATCH_OVERHEAD = 4096
"""What a batch of a dozen columns costs beside their buffers, in bytes: many small batches are bounded by this."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that the stage asked for with `wake_at` has come."""


class Inbox:
    """A Pykka inbox bounded by records and bytes, that also wakes its actor at a time.

    Control messages always get in. A batch larger than the whole inbox is taken when no other batch waits. `depth` is
    the number of records that wait; `capacity` bounds it, `capacity_bytes` the memory they hold.
    """

    def __init__(self, capacity: int = INBOX_RECORDS, capacity_bytes: int = INBOX_BYTES) -> None:
        self.capacity = capacity
        self.capacity_bytes = capacity_bytes
        self.depth = 0
        self.wake_at: float | None = None
        self._bytes = 0
        self._closed = False
        self._envelopes: deque[tuple[Envelope[Any], int, int]] = deque()
        self._changed = threading.Condition()

    def offer(self, batch: Batch, *, tight: bool = False) -> bool:
        """Take the batch, or say at once that it does not fit (or that the inbox is closed).

        tight: memory is; then it is taken only when no other batch waits.
        """
        size = _bytes(batch)
        with self._changed:
            if self._closed or not self._fits(len(batch), size) or (tight and self._bytes):
                return False
            self._append(Envelope(batch), len(batch), size)
            return True

    def put(self, item: Envelope[Any], /) -> None:
        """Take a message; a batch waits until there is room (Pykka's `tell` ends here).

        Raises `pykka.ActorDeadError` for a batch when the inbox is or gets closed: nobody will ever handle it.
        """
        if not isinstance(item.message, Batch):
            with self._changed:
                self._append(item, 0, 0)
            return
        self._put(item, None)

    def put_within(self, batch: Batch, seconds: float) -> bool:
        """Take the batch as soon as there is room; false if there is none within so many seconds. Raises as `put`."""
        return self._put(Envelope(batch), seconds)

    def get(self) -> Envelope[Any]:
        """The next message; a `Tick` as soon as `wake_at` (`time.monotonic`) has come, however many messages wait."""
        with self._changed:
            while True:
                pause = None if self.wake_at is None else self.wake_at - time.monotonic()
                if pause is not None and pause <= 0:
                    self.wake_at = None
                    return Envelope(Tick())
                if self._envelopes:
                    envelope, records, size = self._envelopes.popleft()
                    self._shrink(records, size)
                    return envelope
                self._changed.wait(pause)

    def empty(self) -> bool:
        """Whether no message waits."""
        return not self._envelopes

    def close(self) -> None:
        """Take no batch any more and let nobody wait for room: the stage is being abandoned with what it holds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> int:
        """Close, and let go of the batches that wait (not of control messages): their number of records."""
        with self._changed:
            self._closed = True
            records = self.depth
            self._envelopes = deque(entry for entry in self._envelopes if not isinstance(entry[0].message, Batch))
            self._shrink(self.depth, self._bytes)
            return records

    def _put(self, item: Envelope[Batch], seconds: float | None) -> bool:
        records, size = len(item.message), _bytes(item.message)
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._fits(records, size), seconds):
                return False
            if self._closed:
                raise pykka.ActorDeadError("the next stage has stopped")
            self._append(item, records, size)
            return True

    def _fits(self, records: int, size: int) -> bool:
        if not self._bytes:
            return True
        return self.depth + records <= self.capacity and self._bytes + size <= self.capacity_bytes

    def _append(self, envelope: Envelope[Any], records: int, size: int) -> None:
        self._envelopes.append((envelope, records, size))
        self.depth += records
        self._bytes += size
        self._changed.notify_all()

    def _shrink(self, records: int, size: int) -> None:
        self.depth -= records
        self._bytes -= size
        self._changed.notify_all()


def _bytes(batch: Batch) -> int:
    # The buffers whole, also where a batch is a slice of them: that is what it keeps alive (and 20 times cheaper than
    # Arrow's `nbytes`).
    return int(batch.records.get_total_buffer_size()) + _BATCH_OVERHEAD

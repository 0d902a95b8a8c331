"""What steps and backends have in common: an actor with a bounded inbox, a clock and an account.

A pipeline is a chain of stages. Batches enter at its head, where a full inbox refuses them (`Inbox.offer`); between the
stages of one pipeline a full inbox makes the stage before it wait. `Flush` follows the batches down the chain.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pykka
from pykka._envelope import Envelope

from ingrain.account import Station
from ingrain.batch import Batch

log = logging.getLogger(__name__)

INBOX_RECORDS = 1 << 20
"""Records a stage's inbox holds before it is full: about a second of the sustained rate, some 60 MB at the worst."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that the stage asked for with `wake_at` has come."""


@dataclass(frozen=True, slots=True)
class Flush:
    """Hand on everything that is held back, then pass this on; the backend at the end sets `done`."""

    done: threading.Event = field(default_factory=threading.Event)


class Inbox:
    """A Pykka inbox bounded by records, that also wakes its actor at a time.

    Control messages always get in. A batch larger than the whole inbox is taken when the inbox is empty.
    """

    def __init__(self, capacity: int = INBOX_RECORDS) -> None:
        self.capacity = capacity
        self.depth = 0
        self.wake_at: float | None = None
        self._closed = False
        self._envelopes: deque[Envelope[Any]] = deque()
        self._changed = threading.Condition()

    def offer(self, batch: Batch) -> bool:
        """Take the batch, or say at once that it does not fit."""
        with self._changed:
            if not self._fits(len(batch)):
                return False
            self._append(Envelope(batch), len(batch))
            return True

    def put(self, item: Envelope[Any], /) -> None:
        """Take a message; a batch waits until there is room (Pykka's `tell` ends here)."""
        size = len(item.message) if isinstance(item.message, Batch) else 0
        with self._changed:
            if size:
                self._changed.wait_for(lambda: self._fits(size))
            self._append(item, size)

    def get(self) -> Envelope[Any]:
        """The next message; a `Tick` when `wake_at` (`time.monotonic`) comes first."""
        with self._changed:
            while not self._envelopes:
                pause = None if self.wake_at is None else self.wake_at - time.monotonic()
                if pause is not None and pause <= 0:
                    self.wake_at = None
                    return Envelope(Tick())
                self._changed.wait(pause)
            envelope = self._envelopes.popleft()
            if isinstance(envelope.message, Batch):
                self.depth -= len(envelope.message)
                self._changed.notify_all()
            return envelope

    def empty(self) -> bool:
        """Whether no message waits."""
        return not self._envelopes

    def close(self) -> None:
        """Let nobody wait for room any more: the stage is being abandoned with what it holds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return self._closed or self.depth == 0 or self.depth + size <= self.capacity

    def _append(self, envelope: Envelope[Any], size: int) -> None:
        self._envelopes.append(envelope)
        self.depth += size
        self._changed.notify_all()


class Stage(pykka.ThreadingActor):
    """An actor of a pipeline. A step overrides `process`, a backend `deliver`; both may use the clock and `flush`.

    An exception that a batch causes is counted against that batch and reported; the stage lives on.
    """

    use_daemon_thread: ClassVar[bool] = True
    actor_inbox: Inbox

    def __init__(self, station: Station) -> None:
        super().__init__()
        self.station = station

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def on_receive(self, message: object) -> None:
        """Pykka's entry: one message, to its handler."""
        match message:
            case Batch():
                self.station.received += len(message)
                self._guarded("a batch", len(message), self._batch, message)
            case Tick():
                self._guarded("a tick", 0, self.tick)
            case Flush():
                self._guarded("a flush", 0, self._flush)
                self._pass_flush(message)

    def wake_in(self, seconds: float) -> None:
        """Ask for one `tick` that many seconds from now, unless an earlier one is already asked for."""
        at = time.monotonic() + seconds
        inbox = self.actor_inbox
        inbox.wake_at = at if inbox.wake_at is None else min(inbox.wake_at, at)

    def tick(self) -> None:
        """The time asked for with `wake_in` has come."""

    def _batch(self, batch: Batch) -> None:
        raise NotImplementedError

    def _flush(self) -> None:
        raise NotImplementedError

    def _pass_flush(self, flush: Flush) -> None:
        raise NotImplementedError

    def _guarded(self, what: str, records: int, handler: Any, *arguments: object) -> None:
        held = self.station.in_flight - records
        try:
            handler(*arguments)
        except Exception:  # an actor's edge: what a batch sets off ends here, counted and reported
            log.exception("%s: %s could not be handled", self.station.name, what)
            self.station.lost += max(0, min(records, self.station.in_flight - held))
            self.station.detail["errors"] += 1


class Step(Stage):
    """Takes batches, gives batches to the next stage: none, the same, or others.

    `process` returns what goes on at once. A step that holds records back gives them in `release`, which is called on
    a tick and at a flush.
    """

    def __init__(self, station: Station, downstream: pykka.ActorRef[Any]) -> None:
        super().__init__(station)
        self._downstream = downstream

    def process(self, batch: Batch) -> Iterable[Batch]:
        """What becomes of this batch now."""
        raise NotImplementedError

    def release(self) -> Iterable[Batch]:
        """What was held back."""
        return ()

    def tick(self) -> None:
        """Hand on what was held back."""
        self._send(self.release())

    def _batch(self, batch: Batch) -> None:
        self._send(self.process(batch))

    def _flush(self) -> None:
        self._send(self.release())

    def _pass_flush(self, flush: Flush) -> None:
        self._downstream.tell(flush)

    def _send(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            if len(batch):
                self._downstream.tell(batch)
                self.station.delivered += len(batch)


class Backend(Stage):
    """The end of a pipeline: `deliver` sends batches out, `flush` what it still holds.

    A backend counts for itself: `station.delivered` when what is behind it has the records, `station.lost` when it
    never will.
    """

    def deliver(self, batch: Batch) -> None:
        """Send the batch out, or hold it until there is enough."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send out all that is held."""

    def close(self) -> None:
        """Let go of sockets and files; called after the last flush."""

    def on_stop(self) -> None:
        """Pykka's last call."""
        self.close()

    def _batch(self, batch: Batch) -> None:
        self.deliver(batch)

    def _flush(self) -> None:
        self.flush()

    def _pass_flush(self, flush: Flush) -> None:
        flush.done.set()

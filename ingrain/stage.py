"""What steps and backends have in common: an actor with a bounded inbox, a clock and an account.

A pipeline is a chain of stages. `Flush` follows the batches down the chain.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import pykka

from ingrain.account import Station
from ingrain.batch import Batch
from ingrain.inbox import Inbox, Tick

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Flush:
    """Hand on everything that is held back, then pass this on; the backend at the end sets `done`."""

    done: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Stop:
    """The end: stop behind everything that waits, then pass this on."""


@dataclass(frozen=True, slots=True)
class Relieve:
    """Memory is tight: hand on what is held back, as far as that frees any."""


class StageError(RuntimeError):
    """A stage cannot go on; the message says of what it dies."""


Place = tuple[str | int, ...]
"""Where something stands in a step's settings."""


class Downstream(Protocol):
    """The next stage, or its place."""

    def tell(self, message: Any) -> None:
        """Take a message; a batch waits for room. Raises `pykka.ActorDeadError` where nobody will ever handle it."""


class Stage(pykka.ThreadingActor):
    """An actor of a pipeline. A step overrides `process`, a backend `deliver`; both may use the clock and `flush`.

    An exception that a batch causes is counted against that batch and reported; the stage lives on. So a handler that
    raises must not have kept the batch. What is no Exception (a library that panics, or asks the process to end) kills
    the stage, and leaves its inbox as it is to whoever comes after it. A stage that is stopped counts as lost what
    still waits there and what it still holds in memory.
    """

    use_daemon_thread: ClassVar[bool] = True
    actor_inbox: Inbox

    def __init__(self, station: Station) -> None:
        super().__init__()
        self.station = station
        self.ended = threading.Event()
        """Its thread has ended, in whatever way."""
        self.died = False
        """It ends, and was not asked to."""

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def begin(self, inbox: Inbox) -> None:
        """Start on an inbox that is there already, with what waits in it. Raises RuntimeError without a thread."""
        own, self.actor_inbox = self.actor_inbox, inbox
        self.actor_ref.actor_inbox = inbox
        inbox.wake_at = own.wake_at
        while not own.empty():  # what was told to it while it was constructed
            inbox.put(own.get())
        pykka.ActorRegistry.register(self.actor_ref)
        try:
            self._start_actor_loop()
        except BaseException:
            pykka.ActorRegistry.unregister(self.actor_ref)
            raise

    def _actor_loop(self) -> None:
        try:
            super()._actor_loop()
        finally:
            self.actor_stopped.set()
            self.ended.set()

    def on_receive(self, message: object) -> None:
        """Pykka's entry: one message, to its handler. A flush and a stop go on whatever becomes of the stage."""
        try:
            self._handle(message)
        except BaseException as error:  # Pykka would take it as the end of all actors
            raise StageError(f"{self.station.name} dies of {error!r}") from error
        finally:
            if isinstance(message, Flush):
                self._pass_flush(message)
            elif isinstance(message, Stop):
                self._pass_stop(message)

    def on_failure(self, *_why: object) -> None:
        """Pykka's call when the stage dies: let go of all but the inbox, which Pykka would empty."""
        self.died = True
        self.actor_inbox = Inbox()

    def _handle(self, message: object) -> None:
        match message:
            case Batch():
                self.station.received += len(message)
                self._guarded("a batch", len(message), self._batch, message)
            case Tick():
                self._guarded("a tick", 0, self.tick)
            case Flush():
                self._guarded("a flush", 0, self._flush)
            case Relieve():
                self._guarded("tight memory", 0, self.relieve)
            case Stop():
                self._stop()

    def on_stop(self) -> None:
        """Pykka's last call: whoever waits for room is let go; what waits in the inbox, or is still held, is lost."""
        self.station.abandon(self.actor_inbox.abandon())
        self.station.end("not flushed")

    def wake_in(self, seconds: float) -> None:
        """Ask for one `tick` that many seconds from now, unless an earlier one is already asked for."""
        at = time.monotonic() + seconds
        inbox = self.actor_inbox
        inbox.wake_at = at if inbox.wake_at is None else min(inbox.wake_at, at)

    def tick(self) -> None:
        """The time asked for with `wake_in` has come."""

    def relieve(self) -> None:
        """Hold less."""

    def _batch(self, batch: Batch) -> None:
        raise NotImplementedError

    def _flush(self) -> None:
        raise NotImplementedError

    def _pass_flush(self, flush: Flush) -> None:
        raise NotImplementedError

    def _pass_stop(self, stop: Stop) -> None:
        """Nothing is behind it."""

    def _guarded(self, what: str, records: int, handler: Any, *arguments: object) -> None:
        held = self.station.in_flight - records
        try:
            handler(*arguments)
        except Exception:  # an actor's edge: what a batch sets off ends here, counted and reported
            self.station.lost += max(0, min(records, self.station.in_flight - held))
            self.station.detail["errors"] += 1
            errors = self.station.detail["errors"]
            if (
                errors & (errors - 1) == 0
            ):  # the 1st, 2nd, 4th, 8th ...: what every batch sets off must not fill the log
                log.exception("%s: %s could not be handled (error number %d here)", self.station.name, what, errors)


class Step(Stage):
    """Takes batches, gives batches to the next stage: none, the same, or others.

    `process` returns what goes on at once. A step that holds records back gives them in `release`, which is called on
    a tick and at a flush.
    """

    carried: frozenset[str] = frozenset()
    """Tags that steps behind it need, also where it does not let them through, by their names `aside`; set by its
    pipeline."""

    def __init__(self, station: Station, downstream: Downstream) -> None:
        super().__init__(station)
        self._downstream = downstream

    @classmethod
    def needs(cls, settings: Any, after: frozenset[str] | None) -> frozenset[str]:
        """The tags that it makes those of that are wanted `after` it, where they come to it past any Whitelist.

        One that a Whitelist does not let through comes as `ingrain.tags.aside` names it, and ends here.
        """
        del settings, after
        return frozenset()

    @classmethod
    def wants(cls, settings: Any, after: frozenset[str] | None) -> frozenset[str] | None:
        """The tags that a batch has to have for it, where those after it want these; None: all that there are."""
        del settings, after
        return None

    @classmethod
    def leaves(cls, settings: Any, before: frozenset[str]) -> frozenset[str]:
        """The tags that a record has behind it, of one that has these before it."""
        del settings
        return before

    @classmethod
    def names(cls, settings: Any) -> Iterable[tuple[Place, str]]:
        """The tags that its settings name, each with its place in them: keys, and numbers in lists."""
        del settings
        return ()

    def process(self, batch: Batch) -> Iterable[Batch]:
        """What becomes of this batch now."""
        raise NotImplementedError

    def release(self) -> Iterable[Batch]:
        """What was held back."""
        return ()

    def tick(self) -> None:
        """Hand on what was held back."""
        self._send(self.release())

    def relieve(self) -> None:
        """Hand on what was held back."""
        self._send(self.release())

    def _batch(self, batch: Batch) -> None:
        self._send(self.process(batch))

    def _flush(self) -> None:
        self._send(self.release())

    def _pass_flush(self, flush: Flush) -> None:
        try:
            self._downstream.tell(flush)
        except pykka.ActorDeadError:  # nothing below can be flushed; whoever waits for the flush need not wait longer
            log.error("%s: the next stage has stopped; a flush ends here", self.station.name)  # noqa: TRY400 - no trace
            flush.done.set()

    def _pass_stop(self, stop: Stop) -> None:
        with suppress(pykka.ActorDeadError):  # the next stage has stopped already
            self._downstream.tell(stop)

    def _send(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            if not len(batch):
                continue
            try:
                self._downstream.tell(batch)
            except pykka.ActorDeadError:
                self.station.lost += len(batch)
                self.station.detail["next stage stopped"] += len(batch)
            else:
                self.station.delivered += len(batch)


class Backend(Stage):
    """The end of a pipeline: `deliver` sends batches out, `flush` what it still holds.

    A backend counts for itself: `delivered` when what is behind it has the records, `station.lost` when it never will.
    """

    def deliver(self, batch: Batch) -> None:
        """Send the batch out, or hold it until there is enough."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send out all that is held."""

    def delivered(self, records: int, oldest: int) -> None:
        """Count records that what is behind it has now; `oldest` is the earliest timestamp among them (ns, UTC)."""
        self.station.delivered += records
        self.station.gauges["delivery.latency"] = max(0, time.time_ns() - oldest)

    def close(self) -> None:
        """Let go of sockets and files; called after the last flush."""

    def on_stop(self) -> None:
        """Pykka's last call."""
        try:
            self.close()
        finally:
            super().on_stop()

    def on_failure(self, *why: object) -> None:
        """Pykka's call when it dies."""
        super().on_failure(*why)
        try:
            self.close()
        except Exception:
            log.exception("%s: what it had open could not be closed", self.station.name)

    def _batch(self, batch: Batch) -> None:
        self.deliver(batch)

    def _flush(self) -> None:
        self.flush()

    def _pass_flush(self, flush: Flush) -> None:
        flush.done.set()

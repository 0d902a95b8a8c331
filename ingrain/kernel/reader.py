"""The one thread that waits for all buffers: drains them, hands on what was in them, and calls what is due by time."""

from __future__ import annotations

import logging
import math
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from ingrain.kernel.buffers import Buffers
from ingrain.kernel.records import Drained

log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds after which what is below the watermark is read too: the most that a record waits in a buffer."""

STALLED_S = 20.0
"""A round that takes so long will not end: decoding a full buffer takes a second or two."""


@dataclass(slots=True)
class Source:
    """One probe to read. `drained` gets what was in its buffers; `poll` is called every `interval` seconds.

    tick: called each time that buffers were read, so every `TICK` seconds at least. last: it is drained after all
    others. patience: how many seconds what is below the watermark may wait, if it may for longer than a tick; it never
    waits for longer than until the next poll.
    """

    name: str
    buffers: Buffers
    drained: Callable[[Drained], None]
    poll: Callable[[], None] | None = None
    interval: float = 1.0
    due: float = field(default=0.0)
    tick: Callable[[], None] | None = None
    last: bool = False
    patience: float = 0.0
    read: float = field(default=0.0)
    """When it was read last."""

    def waits(self, now: float) -> bool:
        """Whether what is below the watermark can wait for longer."""
        return now < min(self.due, self.read + self.patience)

    def postpone(self, now: float) -> None:
        """Have the next poll come a whole number of intervals after this one: those that are missed are left out.

        So there is a pause also behind a poll that takes longer than an interval.
        """
        self.due += self.interval * max(1, math.ceil((now - self.due) / self.interval))


class Reader:
    """Reads sources until it is stopped; `failed` is called with a source and the error that reading it raised.

    Sources are drained in the order in which they were added, and handed on in the opposite one: so of what happened
    before an event of one source, everything of the sources after it is handed on before.
    """

    def __init__(self, failed: Callable[[Source, BaseException], None]) -> None:
        self._sources: list[Source] = []
        self._failed = failed
        self._epoll = select.epoll()
        self._stopping = threading.Event()
        self._changes: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._round = 0.0
        self._doing = ""
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def add(self, source: Source) -> None:
        """Read this source too. Once the reader was started: only `between` its rounds."""
        source.read = time.monotonic()
        source.due = source.read + source.interval
        self._sources = sorted([*self._sources, source], key=lambda one: one.last)
        for descriptor in source.buffers.descriptors:
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    def remove(self, source: Source) -> None:
        """Read it a last time. Detach its probe before; and as for `add`."""
        self._read(self._sources)
        if source.poll:
            self._call(source, source.poll)
        for descriptor in source.buffers.descriptors:
            self._epoll.unregister(descriptor)
        self._sources.remove(source)

    def start(self) -> None:
        """Begin to read, in a thread."""
        now = time.monotonic()
        for source in self._sources:
            source.due, source.read = now + source.interval, now
        self._round = now
        self._thread.start()

    def between(self, change: Callable[[], None]) -> None:
        """Have the thread that reads call this between two rounds, and wait until it did; without one, call it.

        Raises TimeoutError where that thread hangs; then it will not be called.
        """
        if not self._thread.is_alive():
            change()
            return
        done: Future[None] = Future()
        self._changes.append((change, done))
        try:
            done.result(STALLED_S)
        except TimeoutError:
            if done.cancel():
                raise TimeoutError(self.stalled() or "the thread that reads takes too long") from None
            done.result()

    def stop(self) -> bool:
        """Read what is left, poll a last time, and end. Detach the probes before, or there is always something left.

        False where the thread that reads hangs: what is left cannot be read, and its buffers must stay.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STALLED_S)
            if self._thread.is_alive():
                log.error("%s: what is left in the buffers is lost", self.stalled() or "the thread that reads hangs")
                return False
        self._read(self._sources)
        for source in self._sources:
            if source.poll:
                self._call(source, source.poll)
        self._epoll.close()
        return True

    def stalled(self) -> str:
        """Why nothing is read, though it was begun; empty where it is."""
        if not self._thread.is_alive():
            return "the thread that reads has ended"
        since = time.monotonic() - self._round
        return f"the thread that reads has been at probe {self._doing} for {since:.0f} s" if since > STALLED_S else ""

    def _run(self) -> None:
        while not self._stopping.is_set():
            woken = {descriptor for descriptor, _events in self._epoll.poll(self._pause())}
            now = self._round = time.monotonic()
            while self._changes:
                self._change(*self._changes.popleft())
            self._read(
                [one for one in self._sources if not one.waits(now) or not woken.isdisjoint(one.buffers.descriptors)]
            )
            for source in self._sources:
                if source.poll and now >= source.due:
                    self._call(source, source.poll)
                    source.postpone(time.monotonic())
                if source.tick:
                    self._call(source, source.tick)

    def _pause(self) -> float:
        """Seconds until something is due: a tick at most, less where a poll comes before."""
        due = min((source.due for source in self._sources if source.poll), default=math.inf)
        return max(0.0, min(TICK, due - time.monotonic()))

    def _change(self, change: Callable[[], None], done: Future[None]) -> None:
        if done.set_running_or_notify_cancel():
            try:
                change()
                done.set_result(None)
            except BaseException as error:  # noqa: BLE001 it goes to who waits for it
                done.set_exception(error)

    def _read(self, sources: Sequence[Source]) -> None:
        found: list[tuple[Source, Drained]] = []
        for source in sources:
            source.read = time.monotonic()
            self._call(source, self._drain, source, found)
        for source, drained in reversed(found):
            self._call(source, source.drained, drained)

    def _drain(self, source: Source, found: list[tuple[Source, Drained]]) -> None:
        drained = source.buffers.drain()
        if drained is not None:
            found.append((source, drained))

    def _call(self, source: Source, function: Callable[..., None], *arguments: object) -> None:
        self._doing = source.name
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 the thread's edge: one probe, or a library's panic, stops no other
            self._failed(source, error)

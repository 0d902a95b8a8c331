"""The one thread that waits for all buffers: drains them, hands on what was in them, and calls what is due by time."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ingrain.kernel.buffers import Buffers
from ingrain.kernel.records import Drained

log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds after which what is below the watermark is read too: the most that a record waits in a buffer."""


@dataclass(slots=True)
class Source:
    """One probe to read. `drained` gets what was in its buffers; `poll` is called every `interval` seconds.

    tick: called each time that buffers were read, so every `TICK` seconds at least. patience: how many seconds what is
    below the watermark may wait, if it may for longer than a tick; it never waits for longer than until the next poll.
    """

    name: str
    buffers: Buffers
    drained: Callable[[Drained], None]
    poll: Callable[[], None] | None = None
    interval: float = 1.0
    due: float = field(default=0.0)
    tick: Callable[[], None] | None = None
    patience: float = 0.0
    read: float = field(default=0.0)
    """When it was read last."""

    def waits(self, now: float) -> bool:
        """Whether what is below the watermark can wait for longer."""
        return now < min(self.due, self.read + self.patience)


class Reader:
    """Reads sources until it is stopped; `failed` is called with a source and the error that reading it raised.

    Sources are drained in the order in which they were added, and handed on in the opposite one: so of what happened
    before an event of one source, everything of the sources after it is handed on before.
    """

    def __init__(self, failed: Callable[[Source, Exception], None]) -> None:
        self._sources: list[Source] = []
        self._failed = failed
        self._epoll = select.epoll()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def add(self, source: Source) -> None:
        """Read this source too; to be called before `start`."""
        self._sources.append(source)
        for descriptor in source.buffers.descriptors:
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    def start(self) -> None:
        """Begin to read, in a thread."""
        now = time.monotonic()
        for source in self._sources:
            source.due, source.read = now + source.interval, now
        self._thread.start()

    def stop(self) -> None:
        """Read what is left, poll a last time, and end. Detach the probes before, or there is always something left."""
        self._stopping.set()
        self._thread.join()
        self._read(self._sources)
        for source in self._sources:
            if source.poll:
                self._call(source, source.poll)
        self._epoll.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            woken = {descriptor for descriptor, _events in self._epoll.poll(TICK)}
            now = time.monotonic()
            self._read(
                [one for one in self._sources if not one.waits(now) or not woken.isdisjoint(one.buffers.descriptors)]
            )
            for source in self._sources:
                if source.poll and now >= source.due:
                    source.due = max(source.due + source.interval, now)
                    self._call(source, source.poll)
                if source.tick:
                    self._call(source, source.tick)

    def _read(self, sources: Iterable[Source]) -> None:
        found = []
        for source in sources:
            source.read = time.monotonic()
            try:
                found.append((source, source.buffers.drain()))
            except Exception as error:  # noqa: BLE001 the thread's edge: one probe must not stop the others
                self._failed(source, error)
        for source, drained in reversed(found):
            try:
                if drained is not None:
                    source.drained(drained)
            except Exception as error:  # noqa: BLE001 as above
                self._failed(source, error)

    def _call(self, source: Source, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 as above
            self._failed(source, error)

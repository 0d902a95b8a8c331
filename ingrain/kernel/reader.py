"""The one thread that waits for all buffers: drains them, hands on what was in them, and calls what is due by time."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ingrain.kernel.buffers import Buffers
from ingrain.kernel.records import Drained

log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds after which what is below the watermark is read too: the most that a record waits in a buffer."""


@dataclass(slots=True)
class Source:
    """One probe to read. `drained` gets what was in its buffers; `poll` is called every `interval` seconds.

    tick: called each time that all buffers were read, so every `TICK` seconds at least.
    """

    name: str
    buffers: Buffers
    drained: Callable[[Drained], None]
    poll: Callable[[], None] | None = None
    interval: float = 1.0
    due: float = field(default=0.0)
    tick: Callable[[], None] | None = None


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
            source.due = now + source.interval
        self._thread.start()

    def stop(self) -> None:
        """Read what is left, poll a last time, and end. Detach the probes before, or there is always something left."""
        self._stopping.set()
        self._thread.join()
        self._read()
        for source in self._sources:
            if source.poll:
                self._call(source, source.poll)
        self._epoll.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._epoll.poll(TICK)
            now = time.monotonic()
            self._read()
            for source in self._sources:
                if source.poll and now >= source.due:
                    source.due = max(source.due + source.interval, now)
                    self._call(source, source.poll)
                if source.tick:
                    self._call(source, source.tick)

    def _read(self) -> None:
        found = []
        for source in self._sources:
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

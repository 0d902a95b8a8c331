"""The agent's side: whoever connects gets every batch from then on, in the order in which the probes made them.

In: batches, as a pipeline gets them. A watcher that does not read fast enough gets fewer: what its inbox does not hold
is left out, and it is told how much. Nothing ever waits for a watcher, and nothing is made for nobody.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pykka._envelope import Envelope

from ingrain.batch import Batch
from ingrain.inbox import Inbox, Tick
from ingrain.live.frames import encode
from ingrain.local import Door
from ingrain.stage import Flush

log = logging.getLogger(__name__)

WATCHERS = 4
"""Who may watch at a time: each costs what the agent's records cost on a socket."""

_RECORDS, _BYTES = 1 << 17, 16 << 20  # that wait for one watcher
_PATIENCE_S = 10.0  # for one that does not read
_LOOK_S = (
    1.0  # how often one is looked for to which nothing is sent; it never says anything, so what can be read is the end
)


class Feed(Door):
    """Lets watchers in at `path`, until `stop`. Raises OSError where it cannot be there."""

    name = "live"
    wants: frozenset[str] | None = None
    """All tags."""

    def __init__(self, path: str) -> None:
        self._watchers: list[_Watcher] = []
        self._changing = threading.Lock()
        super().__init__(path, "live", self._admit)

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    def offer(self, batch: Batch) -> bool:
        """Give the batch to all who watch. Never waits."""
        for watcher in self._watchers:
            watcher.offer(batch)
        return True

    def stop(self) -> None:
        """Send nothing more."""
        super().stop()
        for watcher in self._watchers:
            watcher.end()

    def _admit(self, asking: socket.socket) -> None:
        with self._changing:
            if len(self._watchers) >= WATCHERS:
                log.warning("live: %d watch already, and another one was turned away", WATCHERS)
                asking.close()
                return
            watcher = _Watcher(asking, self._gone)
            self._watchers = [*self._watchers, watcher]
        try:
            watcher.start()
        except RuntimeError:  # the limit of threads
            self._gone(watcher)
            raise

    def _gone(self, watcher: _Watcher) -> None:
        with self._changing:
            self._watchers = [one for one in self._watchers if one is not watcher]


def beside(status: str) -> str:
    """Where an agent is watched that is asked there."""
    return str(Path(status).with_suffix(".live"))


class _Watcher(threading.Thread):
    """One connection, with what waits for it. gone: called when nobody reads there any more."""

    def __init__(self, asking: socket.socket, gone: Callable[[_Watcher], None]) -> None:
        super().__init__(name="live", daemon=True)
        self._asking = asking
        self._gone = gone
        self._inbox = Inbox(_RECORDS, _BYTES)
        self._left_out = 0
        self._told = 0

    def offer(self, batch: Batch) -> None:
        """Called by the thread that reads."""
        if not self._inbox.offer(batch):
            self._left_out += len(batch)

    def end(self) -> None:
        """Send nothing more."""
        with suppress(OSError):
            self._asking.shutdown(socket.SHUT_RDWR)
        self._inbox.put(Envelope(Flush()))

    def run(self) -> None:
        """Send what waits, until nobody reads it."""
        self._asking.settimeout(_PATIENCE_S)
        with self._asking, suppress(OSError):  # it has gone, or does not read
            while self._send():
                pass
        self._gone(self)

    def _send(self) -> bool:
        self._inbox.wake_at = self._inbox.wake_at or time.monotonic() + _LOOK_S
        message = self._inbox.get().message
        if isinstance(message, Batch):
            left_out = self._left_out
            self._asking.sendall(encode(message, left_out - self._told))
            self._told = left_out
            return True
        return isinstance(message, Tick) and not select.select([self._asking], [], [], 0)[0]

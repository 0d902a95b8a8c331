"""The watcher's side: the records of a running agent as they come, and its account every second."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ingrain.live.feed import beside
from ingrain.live.frames import LENGTH, Frame, decode, size_of
from ingrain.local import PATIENCE_S, connect, why
from ingrain.status import Status, ask


class Live:
    """A connection to the agent that is asked at `path`. Raises LocalError where there is none that can be watched.

    seen: called with each frame. ended: called once, with why there will be no more. Both in a thread of its own.
    """

    def __init__(self, path: str, seen: Callable[[Frame], None], ended: Callable[[str], None]) -> None:
        self._path = path
        self._seen = seen
        self._ended = ended
        self._connected = connect(beside(path), time.monotonic() + PATIENCE_S)
        self._connected.settimeout(None)
        threading.Thread(target=self._run, name="watching", daemon=True).start()

    def status(self) -> Status:
        """How the agent is. Raises StatusError."""
        return ask(self._path)

    def stop(self) -> None:
        """Watch no more."""
        with suppress(OSError):  # the agent has ended
            self._connected.shutdown(socket.SHUT_RDWR)  # closing alone does not wake the thread that reads

    def _run(self) -> None:
        try:
            with self._connected:
                while True:
                    self._seen(decode(self._read(size_of(self._read(LENGTH.size)))))
        except EOFError:
            self._ended("the agent has ended, or took this watcher for one that does not read")
        except OSError as error:
            self._ended(why(self._path, error))
        except Exception as error:  # noqa: BLE001 the thread's edge: what an agent sends must not end it silently
            self._ended(str(error))

    def _read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            piece = self._connected.recv(min(size - len(content), 1 << 20))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

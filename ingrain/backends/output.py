"""Lines to a file descriptor that may be a pipe nobody reads, a stopped terminal, or closed: never a wait without end.

All consoles of a process share stdout: a line is whole before another begins.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache

STALL_S = 5.0
"""How long lines wait for a reader. After that they are turned away until it reads again: the agent can stop."""

_PIECE = 4096  # PIPE_BUF: what poll(2) calls writable takes as much without a wait (pipe(7))


class Output:
    """Takes lines from any thread."""

    def __init__(self, descriptor: int, stall_s: float = STALL_S) -> None:
        self._lock = threading.Lock()
        self._stall_s = stall_s
        self._stalled = False
        self._rest = b""
        self._rest_of: object = None
        self._descriptor = _without_waiting(descriptor)

    @staticmethod
    @cache
    def stdout() -> Output:
        """The process's standard output. Where that was closed before it began, its number is another file's by now."""
        closed = sys.stdout is None
        return Output(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if closed else 1)  # of which each write fails

    def write(self, data: memoryview, bounds: Sequence[int], who: object) -> tuple[int, str]:
        """Write lines in their order: line n stands at `data[bounds[n] : bounds[n + 1]]`.

        Returns how many are written, and why the others are not: empty text when all are. A line that is written in
        part counts; its rest goes out before anything else (see `finish`).
        """
        with self._lock:
            deadline = time.monotonic() + (0.0 if self._stalled else self._stall_s)
            why = self._finish(deadline)
            first = end = bounds[0]
            if not why:
                sent, why = self._send(data[first : bounds[-1]], deadline)
                end = first + sent
            self._stalled = bool(why)
            lines = bisect_left(bounds, end)
            if bounds[lines] > end:
                self._rest, self._rest_of = bytes(data[end : bounds[lines]]), who
            return lines, why

    def finish(self, who: object) -> bool:
        """Write the rest of a line that was written in part; false if it was one of `who`'s, and cannot be now."""
        with self._lock:
            return not self._finish(time.monotonic()) or self._rest_of is not who

    def _finish(self, deadline: float) -> str:
        sent, why = self._send(memoryview(self._rest), deadline)
        self._rest = self._rest[sent:]
        return why

    def _send(self, data: memoryview, deadline: float) -> tuple[int, str]:
        """How many bytes were taken by `deadline`, and why not all."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        sent = 0
        while sent < len(data):
            try:
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    return sent, "nobody reads"
                sent += os.write(self._descriptor, data[sent : sent + _PIECE])
            except BlockingIOError:  # writable for less than a piece
                if time.monotonic() >= deadline:
                    return sent, "nobody reads"
                time.sleep(0.01)
            except OSError as error:
                return sent, os.strerror(error.errno or 0)
        return sent, ""


def _without_waiting(descriptor: int) -> int:
    """A descriptor for the same pipe or terminal that never waits; where there is none, the descriptor itself.

    O_NONBLOCK belongs to the open file, which the shell shares: the pipe or terminal is opened once more instead.
    """
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or os.isatty(descriptor):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # closed, or another user's terminal: what that means is told when something is written
        pass
    return descriptor

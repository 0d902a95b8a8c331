"""Objects on their way out: a thread of its own sends them one by one, so that a slow or silent server holds up nobody.

The queue is bounded. What became of an object is told to whoever asks (`results`), never by a call from the thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Uploader(Generic[T]):
    """`put` sends one object, in the thread, and raises what went wrong. `capacity`: objects that may wait."""

    def __init__(self, put: Callable[[T], None], capacity: int) -> None:
        self._put = put
        self._capacity = capacity
        self._queue: deque[T] = deque()
        self._results: deque[tuple[T, Exception | None]] = deque()
        self._under_way: T | None = None
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="uploader", daemon=True).start()

    def offer(self, one: T, deadline: float) -> bool:
        """Queue it; false when there is no room until `deadline` (`time.monotonic`)."""
        with self._changed:
            room = self._changed.wait_for(
                lambda: len(self._queue) < self._capacity, max(0.0, deadline - time.monotonic())
            )
            if room:
                self._queue.append(one)
                self._changed.notify_all()
            return room

    @property
    def busy(self) -> bool:
        """Whether something waits, is under way, or has a result that was not asked for."""
        with self._changed:
            return bool(self._queue or self._under_way is not None or self._results)

    def results(self) -> list[tuple[T, Exception | None]]:
        """What was sent, and what could not be and why, since the last call."""
        with self._changed:
            results = list(self._results)
            self._results.clear()
            return results

    def wait(self, deadline: float) -> None:
        """Wait until everything queued was tried, or until `deadline`."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._queue and self._under_way is None, max(0.0, deadline - time.monotonic())
            )

    def give_up(self) -> list[T]:
        """Forget what waits and what is under way: there will be no result of it."""
        with self._changed:
            left = list(self._queue)
            self._queue.clear()
            if self._under_way is not None:
                left.insert(0, self._under_way)
                self._under_way = None
            self._changed.notify_all()
            return left

    def close(self) -> None:
        """Let the thread end after what is under way, without waiting for it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                one = self._under_way = self._queue.popleft()
                self._changed.notify_all()
            failed: Exception | None = None
            try:
                self._put(one)
            except Exception as error:  # noqa: BLE001 - the thread's edge: it goes to the one who counts
                failed = error
            with self._changed:
                if self._under_way is one:
                    self._under_way = None
                    self._results.append((one, failed))
                self._changed.notify_all()

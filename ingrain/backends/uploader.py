"""Objects on their way out of a spool: threads send them, again and again until they are there, and remove them.

Where a server fails, all threads wait, longer each time, and then one of them tries. Where it takes others, it is the
object's own fault: that one waits alone, and holds up nobody. What became of an object is told to whoever asks
(`results`), never by a call from a thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO

from ingrain.backends.backlog import Backlog, Total
from ingrain.backends.backoff import Backoff
from ingrain.backends.spool import DamagedError, Spool, Spooled

Put = Callable[[str, BinaryIO], int]
"""Sends one object: its key, and what is in it. Returns how many of its records the server will never take. Raises
whatever went wrong."""


class LaterError(Exception):
    """The server refuses, and may have said for how many `seconds`: so long nothing is tried.

    Where it takes others, that is so of this object alone.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one try. The object is gone from the spool where `kept` is false.

    error: why it is not at the server, None when it is. alone: others were taken since the last one. unfit: records of
    it that the server will never take.
    """

    one: Spooled
    error: Exception | None
    kept: bool
    alone: bool
    unfit: int = 0


class Uploader:
    """`put` is called by `threads` threads; `told`, by one of them, when there is a result to be asked for: not then.

    The spool is the uploader's from here on, until `close`. `found`: what was in it before.
    """

    def __init__(self, spool: Spool, put: Put, threads: int, told: Callable[[], None]) -> None:
        self.spool = spool
        self._put = put
        self._told = told
        self._backlog = Backlog(spool)
        self.found = replace(self._backlog.total)
        self._taken = 0
        self._failing = False
        self._server, self._alone = Backoff(), Backoff()
        self._server_at = self._alone_at = 0.0  # when to try a server that fails; an object that it alone does not take
        self._closed = False
        self._results: deque[Result] = deque()
        self._changed = threading.Condition()
        try:
            for _ in range(threads):
                threading.Thread(target=self._run, name="uploader", daemon=True).start()
        except BaseException:  # the limit of threads: those that were begun must not send beside others
            self.close()
            raise

    def add(self, one: Spooled) -> None:
        """The spool has one more."""
        with self._changed:
            self._backlog.add(one)
            self._changed.notify()

    def drop(self, unwanted: Callable[[Spooled, int], bool]) -> list[Spooled]:
        """Remove the oldest ones, as long as they are `unwanted` with so many bytes in the spool; those removed.

        What is under way stays, and so does what the file system does not let go of.
        """
        dropped: list[Spooled] = []
        with self._changed, suppress(OSError):
            while (one := self._oldest()) and unwanted(one, self._backlog.total.bytes):
                self.spool.remove(one)
                self._backlog.drop(one)
                dropped.append(one)
        return dropped

    def make_room(self, size: int) -> tuple[list[Spooled], bool]:
        """Remove the oldest ones until so many bytes more fit the spool; those removed, and whether they fit.

        None is removed in vain, where what is under way leaves too little.
        """
        limit = self.spool.limit
        with self._changed:
            most = limit - sum(one.size for one in self._backlog.under_way)
            dropped = self.drop(lambda _, held: size <= most and held + size > limit)
            return dropped, self._backlog.total.bytes + size <= limit

    def oldest(self) -> Spooled | None:
        """Of what waits; None also where that cannot be found out."""
        with self._changed, suppress(OSError):
            return self._oldest()
        return None

    def refused(self) -> bool:
        """Whether some that failed are not at the server yet, nor gone another way."""
        with self._changed:
            return self._backlog.refused

    def removed(self) -> Total:
        """What somebody else has removed from the spool since the last call, less what came back."""
        with self._changed:
            removed, self._backlog.removed = self._backlog.removed, Total()
            return removed

    def results(self) -> list[Result]:
        """What came of the tries since the last call."""
        with self._changed:
            results = list(self._results)
            self._results.clear()
            return results

    def hurry(self, deadline: float) -> None:
        """Try now, whatever there is to wait for; wait until all is sent or the server fails, or until `deadline`."""
        with self._changed:
            self._server_at = self._alone_at = 0.0
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not self._backlog.under_way and not self._due(), max(0.0, deadline - time.monotonic())
            )

    def close(self) -> None:
        """End, without waiting for what is under way: it stays in the spool. There are no new results after this."""
        with self._changed:
            self._closed = True
            self.spool.close()
            self._changed.notify_all()

    def _run(self) -> None:
        while (begun := self._begin()) is not None:
            one, mark, file = begun
            failed, unfit = None, 0
            try:
                with file:
                    unfit = self._put(one.key, file)
            except Exception as error:  # noqa: BLE001 - the thread's edge: it goes to the one who counts
                failed = error
            except BaseException as error:  # noqa: BLE001 - what a library's panic raises
                failed = RuntimeError(repr(error))
            self._end(one, mark, failed, unfit)

    def _begin(self) -> tuple[Spooled, int | None, BinaryIO] | None:
        """The next object, open, when its time has come; None at the end."""
        with self._changed:
            while not self._closed:
                if not self._due():
                    self._changed.wait(self._pause())
                elif (begun := self._open()) is not None:
                    return begun
            return None

    def _open(self) -> tuple[Spooled, int | None, BinaryIO] | None:
        try:
            waits = self._backlog.next(retry=self._failing or time.monotonic() >= self._alone_at)
        except OSError:  # the folder cannot be listed; what is told of it are the objects that it does not take
            self._wait(0.0, alone=False)
            return None
        self._tell_removed()
        if waits is None:  # what was there, or failed, is gone
            self._changed.notify_all()
            self._told()
            return None
        one, mark = waits
        try:
            return one, mark, self.spool.read(one)
        except OSError as error:
            self._settle(one, mark, error)
        except DamagedError as error:
            try:
                self.spool.remove(one)
            except OSError as refused:  # it would be found again at once
                self._settle(one, mark, refused)
            else:
                self._settle(one, mark, error)
        return None

    def _end(self, one: Spooled, mark: int | None, error: Exception | None, unfit: int) -> None:
        with self._changed:
            if self._closed:
                return
            if error is None:
                try:
                    self.spool.remove(one)
                except OSError as refused:  # it would be sent again at the next start: so it is not done
                    error = refused
            self._settle(one, mark, error, unfit)

    def _settle(self, one: Spooled, mark: int | None, error: Exception | None, unfit: int = 0) -> None:
        """Note what came of it; the lock is held."""
        kept = error is not None and not isinstance(error, DamagedError)
        asked = error.seconds if isinstance(error, LaterError) else 0.0
        alone = kept and mark is not None and self._taken > mark
        if kept:
            self._backlog.failed(one, self._taken)
            self._wait(asked, alone=alone)
        else:
            self._backlog.gone(one)
            if error is None:
                self._taken += 1
                self._failing = False
                self._server.reset()
                if mark is not None:
                    self._alone.reset()
        self._results.append(Result(one, error, kept, alone, unfit))
        self._changed.notify_all()
        self._told()

    def _wait(self, asked: float, *, alone: bool) -> None:
        """So many seconds at least."""
        now = time.monotonic()
        if alone:
            self._failing = self._failing and now < self._server_at  # what was begun before it failed ends nothing
            self._alone_at = now + max(asked, self._alone.next())
        elif not self._failing or now >= self._server_at:  # else it was begun before the server was known to fail
            self._failing = True
            self._server_at = now + max(asked, self._server.next())

    def _oldest(self) -> Spooled | None:
        found = self._backlog.oldest()
        self._tell_removed()
        return found

    def _tell_removed(self) -> None:
        if self._backlog.removed != Total():
            self._told()

    def _due(self) -> bool:
        """Whether something may be begun now."""
        if self._failing:
            waits = not self._backlog.under_way and self._backlog.waits(retry=True)
            return waits and time.monotonic() >= self._server_at
        return self._backlog.waits(retry=time.monotonic() >= self._alone_at)

    def _pause(self) -> float | None:
        """How long nothing can be begun, if nothing else happens; None: for ever."""
        if not self._backlog.waits(retry=True) or (self._failing and self._backlog.under_way):
            return None
        return max(0.0, (self._server_at if self._failing else self._alone_at) - time.monotonic())

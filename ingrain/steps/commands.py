"""Commands that run beside a pipeline: started at once or not at all, a few at a time, each for so long.

In: a program and its arguments; out: what became of it, in a word. A thread attends each command; none waits for one.
"""

from __future__ import annotations

import errno
import os
import re
import select
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

GRACE_S = 2.0
"""A command is asked to end (SIGTERM) so long before it is made to (SIGKILL)."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for; whoever starts the agent has no say in that."""

ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8"}
"""All that a command gets of an environment: the agent's own has credentials in it."""

_NOWHERE = (
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
    (os.POSIX_SPAWN_DUP2, 0, 1),
    (os.POSIX_SPAWN_DUP2, 0, 2),
)
_STDERR = 2
_KILL = 5  # of linux/capability.h
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by Python, and by what it starts unless that is told otherwise


class Outcome(NamedTuple):
    """What became of a command: `ran`, `failed`, `timed out`, `cut off` or `not started`; and why, where there is more.

    failed: it ended with another code than 0, or by a signal. cut off: it ran when the agent ended.
    """

    what: str
    why: str = ""


class Commands:
    """Runs of one program, `limit` at a time, each for `seconds`. For one thread.

    A command has a session, and so a process group, of its own; what is in the group when it ends, or its time is up,
    ends with it. It reads nothing, and what it writes goes nowhere. Raises ValueError where there is no such program.
    """

    def __init__(self, program: str, limit: int, seconds: float) -> None:
        self._path = find(program)
        self._seconds = seconds
        self._slots = threading.BoundedSemaphore(limit)
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._ending = os.eventfd(0)
        self._threads: list[threading.Thread] = []

    @property
    def running(self) -> bool:
        """Whether any runs."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return bool(self._threads)

    def start(self, arguments: Sequence[str]) -> bool:
        """Run it with these arguments, the program's own name first; false where as many run as may."""
        if not self._slots.acquire(blocking=False):
            return False
        thread = threading.Thread(target=self._attend, args=(arguments,), name="command", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the limit of threads
            self._slots.release()
            self._outcomes.put(Outcome("not started", str(error)))
        else:
            self._threads.append(thread)
        return True

    def outcomes(self) -> Iterator[Outcome]:
        """What became of those that have ended since this was asked last."""
        with suppress(Empty):
            while True:
                yield self._outcomes.get_nowait()

    def stop(self) -> None:
        """End those that run: each has `GRACE_S` to end by itself, and as long again when it was asked to."""
        if self._ending < 0:
            return
        os.eventfd_write(self._ending, 1)
        deadline = time.monotonic() + 3 * GRACE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if not self.running:  # one that cannot be killed, being in the kernel, is left behind
            os.close(self._ending)
            self._ending = -1

    def _attend(self, arguments: Sequence[str]) -> None:
        try:
            self._outcomes.put(self._run(arguments))
        except OSError as error:
            too_long = error.errno == errno.E2BIG
            why = "its arguments are too long" if too_long else str(error.strerror)
            self._outcomes.put(Outcome("not started", why))
        except ValueError as error:  # what is no text
            self._outcomes.put(Outcome("not started", str(error)))
        finally:
            self._slots.release()

    def _run(self, arguments: Sequence[str]) -> Outcome:
        _keep_open_files()
        pid = os.posix_spawn(
            self._path,
            list(arguments),
            ENVIRONMENT,
            file_actions=_NOWHERE,
            setsid=True,
            setsigmask=(),  # the agent waits for its signals with a mask, which would stay
            setsigdef=_IGNORED,
        )
        try:
            said = self._watch(pid)
        finally:
            _signal(pid, signal.SIGKILL)  # while it is not reaped nobody else's group can have its number
            _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if said or not code:
            return Outcome(said or "ran")
        return Outcome("failed", f"signal {-code}" if code < 0 else f"exit code {code}")

    def _watch(self, pid: int) -> str:
        """Wait until it has ended, or ask it to; why it had to be asked, if so."""
        process = os.pidfd_open(pid)
        try:
            until = time.monotonic() + self._seconds
            in_time = _readable(until, process, self._ending)
            if in_time and _readable(min(until, time.monotonic() + GRACE_S), process):
                return ""
            _signal(pid, signal.SIGTERM)
            _readable(time.monotonic() + GRACE_S, process)
            return "cut off" if in_time else "timed out"
        finally:
            os.close(process)


def find(program: str) -> str:
    """The path of a program. Raises ValueError where there is none of that name."""
    path = shutil.which(program, path=PATH)
    if path is None:
        where = "it is no program that can be run" if "/" in program else f"no folder of {PATH} has it"
        raise ValueError(f"the command {program!r} cannot be run on this host: {where}")
    return path


class Rate:
    """At most `limit` within a second: as many at once, and again as time goes by."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = float(limit)
        self._at = time.monotonic()

    def take(self, wanted: int) -> int:
        """How many of those wanted there may be now."""
        now = time.monotonic()
        self._left = min(self._limit, self._left + (now - self._at) * self._limit)
        self._at = now
        taken = min(wanted, int(self._left))
        self._left -= taken
        return taken


def rights() -> str:
    """What commands that this thread starts can do, in words."""
    held = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/thread-self/status").read_text(), re.MULTILINE)
    if held and int(held[1], 16) >> _KILL & 1:
        return f"they run as user {os.geteuid()}, and can signal any process"
    return f"they run as user {os.geteuid()}, and without CAP_KILL they can signal that user's processes alone"


def _readable(until: float, *descriptors: int) -> bool:
    """Whether one of them is, at the latest then (`time.monotonic`)."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, until - time.monotonic()) * 1000))


def _keep_open_files() -> None:
    """Have none of this process's files go along: libraries, and whoever started it, may have opened some for that."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - descriptors are numbers, no paths
        with suppress(OSError):  # it has been closed
            os.set_inheritable(int(name), int(name) <= _STDERR)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(OSError):  # it has become another user's, or there is nobody left
        os.killpg(group, number)

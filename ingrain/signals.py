"""The signals that an agent waits for, and those that end a command before its work is done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
RELOADING = signal.SIGHUP


class EndedError(BaseException):
    """A signal ends a command. code: its exit code, as shells have it: 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


def hold() -> None:
    """Have them wait until somebody asks for them, in this thread and those that it begins.

    Also those that come while the agent is still being built: Python's own handlers would run between any two
    instructions.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING, RELOADING))


@contextmanager
def held() -> Iterator[None]:
    """The same, until the `with` ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    hold()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ended_by(end: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call `end` with the first signal that would end the process, in the main thread; a second one ends it at once.

    Signals that were held until now come at once. There is no file to read again here: SIGHUP, of a terminal that is
    closed, ends as well.
    """
    ending = (*ENDING, RELOADING)

    def handle(number: int, _frame: FrameType | None) -> None:
        for one in ending:
            signal.signal(one, signal.SIG_DFL)
        end(signal.Signals(number))

    before = {one: signal.signal(one, handle) for one in ending}
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def raised() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is done here as Ctrl-C does, by an exception in the main thread: EndedError.

    After the first one both are passed over: what was begun is cleared away. What is ignored (nohup) stays so.
    """
    ending = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) != signal.SIG_IGN]

    def handle(number: int, _frame: FrameType | None) -> None:
        for one in ending:
            signal.signal(one, _pass_over)
        raise EndedError(number)

    before = {one: signal.signal(one, handle) for one in ending}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _pass_over(_number: int, _frame: FrameType | None) -> None:
    """In place of SIG_IGN, of which Python complains where a signal is there already."""

"""The signals that an agent waits for, and those that end a command before its work is done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
RELOADING = signal.SIGHUP


def hold() -> None:
    """Have them wait until somebody asks for them, in this thread and those that it begins.

    Also those that come while the agent is still being built: Python's own handlers would run between any two
    instructions.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING, RELOADING))


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

"""A bar for what takes long, on stderr: only where that is a terminal, and gone when it is over."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

_PATIENCE_S = 1.0  # what takes less needs no bar
_EVERY_S = 0.2
_WIDTH = 40

Share = Callable[[], float]
"""How much is done, from 0 to 1; below 0 where that is not known yet."""

Watch = Callable[[Share], AbstractContextManager[None]]
"""Makes a context that shows it."""


def unwatched(share: Share) -> AbstractContextManager[None]:
    """Shows nothing."""
    del share
    return nullcontext()


@contextmanager
def bar(share: Share, what: str = "") -> Iterator[None]:
    """Show how much is done, and of what, until the context ends."""
    to = sys.stderr
    if not to.isatty():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_show, args=(share, what, to, over), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Steps:
    """One bar for several questions that are asked one after the other."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._share: Share = lambda: 0.0

    def share(self) -> float:
        """How much of them all is done."""
        return (self._done + min(1.0, max(0.0, self._share()))) / self._count

    @contextmanager
    def watch(self, share: Share) -> Iterator[None]:
        """As `bar`, for a part of one of them."""
        self._share = share
        try:
            yield
        finally:
            self._share = lambda: 0.0

    def step(self) -> None:
        """One more is done."""
        self._done += 1


def _show(share: Share, what: str, to: TextIO, over: threading.Event) -> None:
    if over.wait(_PATIENCE_S):
        return
    done = 0.0
    while not over.wait(_EVERY_S):
        done = min(1.0, max(done, share()))  # between two statements nothing is known: it never goes back
        full = int(done * _WIDTH)
        to.write(f"\r[{'#' * full}{' ' * (_WIDTH - full)}] {done:4.0%} {what}".rstrip())
        to.flush()
    to.write("\r\x1b[K")
    to.flush()

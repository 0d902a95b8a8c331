"""A bar for a question that takes long: on stderr, only where that is a terminal, and gone when the answer comes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_PATIENCE_S = 1.0  # what takes less needs no bar
_EVERY_S = 0.2
_WIDTH = 40


@contextmanager
def bar(share: Callable[[], float]) -> Iterator[None]:
    """Show how much is done, from 0 to 1 (below 0: not known yet), until the context ends."""
    to = sys.stderr
    if not to.isatty():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_show, args=(share, to, over), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _show(share: Callable[[], float], to: TextIO, over: threading.Event) -> None:
    if over.wait(_PATIENCE_S):
        return
    while not over.wait(_EVERY_S):
        done = min(1.0, max(0.0, share()))
        full = int(done * _WIDTH)
        to.write(f"\r[{'#' * full}{' ' * (_WIDTH - full)}] {done:4.0%}")
        to.flush()
    to.write("\r\x1b[K")
    to.flush()

"""The file that an answer or a report goes to: it has its name only when it is whole.

What is there and is no regular file (a device, a FIFO) stays there, and is written to. Links are followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ingrain.query.errors import QueryError


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """What is written in this context is there when it ends well. Raises QueryError where it cannot be."""
    try:
        with _whole(path) if _is_regular(path) else path.open("wb") as to:
            yield to
    except OSError as error:
        raise QueryError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A hidden file beside it, which takes its name when the context ends well, and is gone if not."""
    path = path.resolve()
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with hidden.open("xb") as to:  # never what somebody else has put there
            yield to
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def _is_regular(path: Path) -> bool:
    """Whether it is a regular file, or would be one."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True

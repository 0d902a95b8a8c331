"""An object as a file of which any number of threads can read, each where it wants to.

DuckDB has its threads share a file: each seeks, then reads, and another may do so in between. So each thread has a
place of its own in it, and bytes are read by their place, whatever the others do.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any


class Ranges(io.RawIOBase):
    """size: of the object (bytes). read: gives the bytes from a place to another, of several threads at once.

    end: called once, when it is closed.
    """

    def __init__(self, size: int, read: Callable[[int, int], bytes], end: Callable[[], None] = lambda: None) -> None:
        self._size = size
        self._read = read
        self._end = end
        self._here = threading.local()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, for this thread."""
        self._here.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence])
        return self.tell()

    def tell(self) -> int:
        """The place of this thread."""
        at: int = getattr(self._here, "at", 0)
        return at

    def read(self, size: int | None = -1) -> bytes:
        """From there on; less only at the end."""
        at = self.tell()
        end = self._size if size is None or size < 0 else min(self._size, at + size)
        data = self._read(at, end) if at < end else b""
        self._here.at = at + len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """Likewise."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let go of it."""
        if not self.closed:
            self._end()
        super().close()

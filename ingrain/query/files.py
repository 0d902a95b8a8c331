"""The objects of an archive as DuckDB opens them: `archive://KEY`, to be read only.

Nothing else can be opened by a question: DuckDB's own access to files and networks is off. SQL can write where it can
read (`WITH x AS (COPY ...)` is a SELECT), so that nothing is written is seen to here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from typing import Any

from fsspec.spec import AbstractFileSystem

from ingrain.query.archive import Store

SCHEME = "archive://"

_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)  # when an object was written: it never changes, so any time is right


class Objects(AbstractFileSystem):  # type: ignore[misc] # fsspec ships no types
    """Those of one question. `sizes`: of each object (bytes), by its key; there are no others."""

    protocol = "archive"
    cachable = False  # fsspec would give another question the same object

    def __init__(self, store: Store, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self._store = store
        self._sizes = sizes

    def info(self, path: str, **_more: Any) -> dict[str, Any]:
        """What fsspec calls so."""
        key = _key(path)
        if key not in self._sizes:
            raise FileNotFoundError(key)
        return {"name": path, "size": self._sizes[key], "type": "file"}

    def glob(self, path: str, **_more: Any) -> list[str]:
        """The object of that name: keys have no wildcards in them."""
        return [path] if _key(path) in self._sizes else []

    def modified(self, path: str) -> datetime:
        """Always the same."""
        del path
        return _UNKNOWN

    created = modified

    def _open(self, path: str, mode: str = "rb", **_more: Any) -> RawIOBase:
        if mode != "rb":
            raise PermissionError("an archive is only read here")
        key = _key(path)
        return Shared(self._store.open(key, self.info(key)["size"]))


class Shared(RawIOBase):
    """An object that several threads read, each at a position of its own.

    DuckDB's threads share the file that they read: each moves it to where it wants to read, and another may come
    between that and the read.
    """

    def __init__(self, inner: RawIOBase) -> None:
        super().__init__()
        self._inner = inner
        self._lock = threading.Lock()
        self._position = threading.local()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where this thread is."""
        return getattr(self._position, "at", 0)

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move this thread, and no other."""
        if whence == SEEK_END:
            with self._lock:
                offset = self._inner.seek(offset, SEEK_END)
        elif whence == SEEK_CUR:
            offset += self.tell()
        self._position.at = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        """Read from where this thread is. Raises OSError."""
        with self._lock:
            self._inner.seek(self.tell())
            count: int = self._inner.readinto(buffer) or 0
        self._position.at = self.tell() + count
        return count

    def close(self) -> None:
        """For all threads."""
        self._inner.close()
        super().close()


def _key(path: str) -> str:
    return path.removeprefix(SCHEME)

"""The objects of an archive as DuckDB opens them: `archive://KEY`, to be read only.

Nothing else can be opened by a question: DuckDB's own access to files and networks is off. SQL can write where it can
read (`WITH x AS (COPY ...)` is a SELECT), so that nothing is written is seen to here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fsspec.spec import AbstractFileSystem

from ingrain.query.archive import Store
from ingrain.query.ranges import Ranges

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

    def _open(self, path: str, mode: str = "rb", **_more: Any) -> Ranges:
        if mode != "rb":
            raise PermissionError("an archive is only read here")
        key = _key(path)
        return self._store.open(key, self.info(key)["size"])


def _key(path: str) -> str:
    return path.removeprefix(SCHEME)

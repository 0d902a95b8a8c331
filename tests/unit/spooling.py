"""What the tests of the spool share: a folder, objects of any content in it, and a server that may refuse them."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from ingrain.backends.spool import Spool, Spooled

KEY = "measurement=volume.out/date=2025-03-01/hour=12/host-1740830400000000000-0123abcd-{:06}.parquet"

LONG = 60.0
"""Seconds, more than anything here should take."""


@contextmanager
def spool(folder: Path, limit: int | None = None) -> Iterator[Spool]:
    """The folder, open; let go of at the end."""
    made = Spool.open(folder, limit)
    try:
        yield made
    finally:
        made.close()


def put(into: Spool, number: int = 0, rows: int = 1, content: bytes = b"PAR1") -> Spooled:
    """One more object in it."""
    file = into.create()
    file.write(content)
    return into.commit(file, KEY.format(number), rows)


def names(folder: Path) -> list[str]:
    """What is in the folder, the oldest object first."""
    return sorted(path.name for path in folder.iterdir())


class Server:
    """Takes objects; `down`, it takes none, and never those whose key is in `refused`, with that `refusal`.

    `gate` holds all of them up.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.down: Exception | None = None
        self.refused: set[str] = set()
        self.refusal: Exception = ValueError("too ugly")
        self.tried: list[tuple[str, float]] = []
        self.got: dict[str, bytes] = {}
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def put(self, key: str, file: BinaryIO) -> int:
        with self._lock:
            self.tried.append((key, time.monotonic()))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            assert self.gate.wait(LONG)
            if self.down:
                raise self.down
            if key in self.refused:
                raise self.refusal
            self.got[key] = file.read()
            return 0
        finally:
            with self._lock:
                self.at_once -= 1

    def begins_anew(self) -> bool:
        """Whether nobody sends now; then what was `most_at_once` so far is forgotten."""
        with self._lock:
            if self.at_once == 0:
                self.most_at_once = 0
            return self.at_once == 0


def fail_to_sync_folders(monkeypatch: pytest.MonkeyPatch, *, renames: int) -> None:
    """Have no folder synced, and only so many more files renamed: a disk that fails becomes read-only."""
    sync, rename = os.fsync, os.rename
    left = iter(range(renames))

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    def rename_some(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename_some)

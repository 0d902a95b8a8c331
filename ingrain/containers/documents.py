"""Small files that others write, read safely: what was made of one is kept, and made anew when the file has changed.

Whoever writes them may be hostile: nothing but a regular file of bounded size is read, no link below a root is
followed, and what cannot be decoded is as good as absent.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

log = logging.getLogger(__name__)

Made = TypeVar("Made")
Model = TypeVar("Model")

KEPT = 4096
"""Files whose content is remembered, of each kind: some 1 KB each."""

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC  # non-blocking: it may be a FIFO
_RECENT_NS = 100_000_000
"""A file that changed less than this ago may change again and look the same: clocks of file systems are coarse."""

_Stamp = tuple[int, int, int, int]


class Documents(Generic[Made]):
    """Files of one kind. decode: makes something of the bytes, or raises ValueError.

    limit: of a file, in bytes. kept: files whose content is remembered.
    """

    def __init__(self, decode: Callable[[bytes], Made], limit: int, kept: int = KEPT) -> None:
        self._decode = decode
        self._limit = limit
        self._most = kept
        self._kept: OrderedDict[str, tuple[_Stamp, Made | None]] = OrderedDict()

    def read(self, root: Path, *parts: str) -> Made | None:
        """What the file `root/parts...` holds now; None where there is no such file, or it is not what it should be."""
        path = "/".join((str(root), *parts))
        try:
            fd = _open(root, parts)
        except (OSError, ValueError):  # ValueError: another document gave the root, and that with a zero byte in it
            self._kept.pop(path, None)
            return None
        try:
            return self._of(path, fd)
        except OSError as error:
            log.debug("%s cannot be read: %s", path, error)
            return None
        finally:
            os.close(fd)

    def _of(self, path: str, fd: int) -> Made | None:
        found = os.fstat(fd)
        stamp = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        kept = self._kept.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        if not stat.S_ISREG(found.st_mode) or found.st_size > self._limit:
            log.debug("%s is not read: it is no regular file of up to %d bytes", path, self._limit)
            return None
        made = None
        try:
            made = self._decode(_all(fd, self._limit))
        except ValueError as error:
            log.debug("%s is not what it should be: %s", path, error)
        if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _RECENT_NS:
            self._kept[path] = stamp, made
            self._kept.move_to_end(path)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


def decode_json(data: bytes, model: type[Model]) -> Model:
    """JSON as `model`. Raises ValueError where it is none, whatever it is instead."""
    try:
        return msgspec.json.decode(data, type=model)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def listing(folder: Path, limit: int) -> list[str]:
    """Names in a folder, `limit` of them at the most; none where there is no such folder."""
    names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if len(names) >= limit:
                break
            names.append(entry.name)
    return names


def _open(root: Path, parts: tuple[str, ...]) -> int:
    """The file, reached from root by nothing but folders."""
    at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
        return os.open(parts[-1], _FILE, dir_fd=at)
    finally:
        os.close(at)


def _all(fd: int, limit: int) -> bytes:
    """Its bytes. Raises ValueError where there are more than fstat(2) said was allowed."""
    parts = []
    left = limit + 1
    while left > 0 and (part := os.read(fd, min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise ValueError(f"it has more than {limit} bytes")
    return b"".join(parts)

"""The bytes of a file that is read once from its beginning to its end: plain or gzip-compressed, of a disk or a pipe.

In: the path of a file, or `-` for standard input. Out: a window on its bytes that moves forward; memory does not grow
with the file.
"""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Protocol

from ingrain.capture.errors import CaptureError, Unreadable

STDIN = "-"
CHUNK = 1 << 18
"""Bytes read at a time: enough that the reading itself is not seen in a profile."""

_COMPRESSED_CHUNK = 1 << 15
_GZIP = b"\x1f\x8b"
_GZIP_AND_ZLIB = 31  # zlib.decompressobj: a gzip header and a 32 KiB window


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Window:
    """A part of a file. `data`: the bytes that are at hand; `start`: the offset in the file of the first of them."""

    def __init__(self, path: str) -> None:
        """Open the file and read its beginning. Raises CaptureError where it cannot be read."""
        self.path = path
        self.data = b""
        self.start = 0
        try:
            if path == STDIN:
                self._file = io.FileIO(0, closefd=False)
            else:
                self._file = io.FileIO(Path(path))
        except (OSError, ValueError) as error:  # ValueError: a zero byte within the path
            raise CaptureError(f"{path} cannot be opened: {_reason(error)}") from error
        self._from: _Readable = _File(self._file)
        try:
            self.fill(0, len(_GZIP))
            if self.data.startswith(_GZIP):
                self._from = _Gzip(self._from, self.data)
                self.data = b""
        except Unreadable as error:
            self.close()
            raise CaptureError(f"{path} {error.what}") from error

    def fill(self, at: int, size: int) -> None:
        """Move the window to begin at its index `at`, and read until it holds `size` bytes or the file is at its end.

        Raises Unreadable where the file is damaged in its compression, or the disk does not give it.
        """
        parts = [self.data[at:]]
        have = len(parts[0])
        self.start += at
        try:
            while have < size:
                more = self._from.read(CHUNK)
                if not more:
                    break
                parts.append(more)
                have += len(more)
        except Unreadable as error:
            error.offset = self.start + have
            raise
        finally:
            self.data = b"".join(parts)

    def skip(self, at: int, size: int) -> None:
        """Move the window to begin `size` bytes behind its index `at`, or at the file's end where that comes first."""
        while at + size > len(self.data):
            size -= len(self.data) - at
            at = len(self.data)
            self.fill(at, 1)
            at = 0
            if not self.data:
                return
        self.fill(at + size, 0)

    def end(self) -> None:
        """Have all further reads find the end, also the one that a signal interrupts: it is repeated (PEP 475)."""
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, self._file.fileno(), inheritable=False)
        os.close(nothing)

    def close(self) -> None:
        """Close the file (standard input stays open)."""
        self._file.close()


class _File:
    """A file without a buffer of its own: what a pipe has is there at once."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size) or b""  # None: a pipe without data that was set not to block
        except OSError as error:
            raise Unreadable(f"cannot be read: {_reason(error)}", 0) from error


class _Gzip:
    """What a gzip file holds (RFC 1952): one member or several, one after the other, zeros behind them."""

    def __init__(self, file: _Readable, begin: bytes) -> None:
        self._file = file
        self._compressed = begin
        self._inflate = zlib.decompressobj(_GZIP_AND_ZLIB)
        self._error: zlib.error | None = None

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end; what comes before a damage is given before Unreadable is raised."""
        data = b""
        while not data:
            if self._error:
                raise Unreadable(f"is damaged in its compression ({self._error})", 0) from self._error
            if not self._compressed:
                self._compressed = self._file.read(_COMPRESSED_CHUNK)
            if self._inflate.eof:
                self._compressed = self._compressed.lstrip(b"\0")
                if self._compressed:
                    self._inflate = zlib.decompressobj(_GZIP_AND_ZLIB)
            if not self._compressed:
                more = not self._inflate.eof and self._file.read(_COMPRESSED_CHUNK)
                if self._inflate.eof:
                    return b""
                if not more:
                    raise Unreadable("is cut short in its compression", 0)
                self._compressed = more
            data = self._decompress(size)
        return data

    def _decompress(self, size: int) -> bytes:
        before = self._inflate.copy()
        try:
            data = self._inflate.decompress(self._compressed, size)
        except zlib.error as error:
            self._error = error
            return _until_damage(before, self._compressed)
        self._compressed = self._inflate.unconsumed_tail or self._inflate.unused_data
        return data


def _until_damage(inflate: zlib._Decompress, compressed: bytes) -> bytes:
    """What comes out byte by byte: zlib gives nothing of a piece in which it finds an error."""
    found = bytearray()
    try:
        for at in range(len(compressed)):
            found += inflate.decompress(compressed[at : at + 1])
    except zlib.error:
        pass
    return bytes(found)


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)

"""What a target of fuzzing is, and how it takes the bytes that the fuzzer chose apart."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """Something that reads bytes of others.

    run: reads these, and raises where a promise is broken; whether anything in them was understood. seeds: bytes to
    begin with, of which some are understood. share: of some thousand runs; what is slow has few. words: what the
    fuzzer may put in, as its dictionary. longest: bytes of an input.
    """

    name: str
    run: Callable[[bytes], bool]
    seeds: Callable[[], Iterable[bytes]]
    share: int
    words: tuple[bytes, ...] = ()
    longest: int = 4096


class Chosen:
    """The fuzzer's bytes, taken from their beginning on; behind their end stand zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that were not taken yet."""
        return max(0, len(self._data) - self._at)

    def take(self, size: int) -> bytes:
        """So many bytes."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken.ljust(size, b"\0")

    def number(self, size: int = 1) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def piece(self) -> bytes:
        """As many bytes as the two before them say, or as there are."""
        size = min(self.number(2), self.left)
        return self.take(size)

    def text(self) -> str:
        """A piece as text, of any characters that UTF-8 has."""
        return self.piece().decode("utf-8", "ignore")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)


def piece(data: bytes) -> bytes:
    """For seeds: bytes that `Chosen.piece` takes as one."""
    return len(data).to_bytes(2, "little") + data


@cache
def scratch() -> Path:
    """A folder of this process, for as long as it runs."""
    made = Path(tempfile.mkdtemp(prefix="fuzz"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made

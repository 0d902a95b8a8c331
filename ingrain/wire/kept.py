"""What was made of bytes, kept for when they come again: packets repeat, and to find is cheaper than to read.

What is kept is bounded by bytes. A bound of entries alone would let whoever sends long ones decide how much memory they
take.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_LISTS, _LENGTH = (
    256,
    256,
)  # results of a function, and bytes of the longest list: some 0.2 MB a function, 2 MB at worst
_LARGEST = 16  # one part of so many is the most that one value may take


class Kept(dict[Key, Value | None]):
    """Values by key, of `limit` bytes at the most; None for a key of which none is kept.

    size: about how many bytes a value takes, with its key. There are two generations: a value that is found in the
    elder moves to the younger, and when that holds half of the limit, the elder is forgotten. The younger is the dict
    itself, so that a look-up there, which is what this is for, costs as little as can be.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        super().__init__()
        self._limit = limit
        self._size = size
        self._held = 0
        self._elder: dict[Key, Value | None] = {}

    def __missing__(self, key: Key) -> Value | None:
        value = self._elder.get(key)
        if value is not None:
            self.keep(key, value)
        return value

    def keep(self, key: Key, value: Value) -> None:
        """Keep the value, unless it is so large that few would fit."""
        size = self._size(value)
        if size > self._limit // _LARGEST:
            return
        self._held += size
        if self._held > self._limit // 2:
            self._elder = dict(self)
            self._held = size
            super().clear()
        self[key] = value

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self._elder, self._held = {}, 0

    @property
    def count(self) -> int:
        """How many values are kept, of both generations."""
        return len(self.keys() | self._elder.keys())


def kept(function: Callable[[bytes], Value]) -> Callable[[bytes], Value]:
    """The function, which remembers what it returned for the lists of bytes asked for last, unless they are long."""
    remembered = lru_cache(maxsize=_LISTS)(function)

    @wraps(function)
    def of(listed: bytes) -> Value:
        return remembered(listed) if len(listed) <= _LENGTH else function(listed)

    return of

"""What was made of bytes, kept for when they come again: packets repeat, and to find is cheaper than to read.

What is kept is bounded by bytes. A bound of entries alone would let whoever sends long ones decide how much memory they
take.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_LISTS, _LENGTH = (
    256,
    256,
)  # results of a function, and bytes of the longest list: some 0.2 MB a function, 2 MB at worst
_LARGEST = 16  # one part of so many is the most that one value may take


class Kept(Generic[Key, Value]):
    """Values by key, of `limit` bytes at the most. size: about how many bytes a value takes, with its key.

    There are two generations: a value that is found in the elder moves to the younger, and when that holds half of the
    limit, the elder is forgotten. A lookup so costs no more than that of a dict.
    """

    __slots__ = ("_elder", "_held", "_limit", "_size", "_younger")

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._limit = limit
        self._size = size
        self._held = 0
        self._younger: dict[Key, Value] = {}
        self._elder: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self._younger.keys() | self._elder.keys())

    def get(self, key: Key) -> Value | None:
        """The value, or None where none is kept."""
        value = self._younger.get(key)
        if value is None:
            value = self._elder.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep the value, unless it is so large that few would fit."""
        size = self._size(value)
        if size > self._limit // _LARGEST:
            return
        self._held += size
        if self._held > self._limit // 2:
            self._younger, self._elder, self._held = {}, self._younger, size
        self._younger[key] = value

    def clear(self) -> None:
        """Forget everything."""
        self._younger, self._elder, self._held = {}, {}, 0


def kept(function: Callable[[bytes], Value]) -> Callable[[bytes], Value]:
    """The function, which remembers what it returned for the lists of bytes asked for last, unless they are long."""
    remembered = lru_cache(maxsize=_LISTS)(function)

    @wraps(function)
    def of(listed: bytes) -> Value:
        return remembered(listed) if len(listed) <= _LENGTH else function(listed)

    return of

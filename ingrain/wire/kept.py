"""What was made of a list, kept for the next hello with the same list: clients have few, and many hellos."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

Item = TypeVar("Item", int, bytes)
Result = TypeVar("Result")

_LISTS, _LENGTH = (
    256,
    128,
)  # kept of each function, some 0.2 MB; and 1 MB at worst, 4 MB of byte strings; and the longest list


def kept(function: Callable[[tuple[Item, ...]], Result]) -> Callable[[tuple[Item, ...]], Result]:
    """The function, that remembers what it returned for the lists that were asked for last, unless they were long."""
    remembered = lru_cache(maxsize=_LISTS)(function)

    @wraps(function)
    def of(items: tuple[Item, ...]) -> Result:
        return remembered(items) if len(items) <= _LENGTH else function(items)

    return of

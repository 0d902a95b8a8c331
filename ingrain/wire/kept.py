"""What was made of a list of numbers, kept for the next hello with the same list: clients have few, and many hellos."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

Result = TypeVar("Result")
Numbers = tuple[int, ...]

_LISTS, _LENGTH = 256, 128  # kept of each function, some 0.2 MB and 1 MB at worst; and the longest list


def kept(function: Callable[[Numbers], Result]) -> Callable[[Numbers], Result]:
    """The function, that remembers what it returned for the lists that were asked for last, unless they were long."""
    remembered = lru_cache(maxsize=_LISTS)(function)

    @wraps(function)
    def of(numbers: Numbers) -> Result:
        return remembered(numbers) if len(numbers) <= _LENGTH else function(numbers)

    return of

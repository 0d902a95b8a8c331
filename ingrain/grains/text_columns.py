"""Columns of text from Python's strings: each distinct string stands once in a batch, also within lists.

So a packet in which one long name stands a thousand times makes no column a thousand times as long, not even for a
moment: strings are numbered before they are encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa

from ingrain.batch import TEXT

TEXTS = pa.list_(TEXT)
"""A list of names, such as the cipher suites that a client offers."""

_MISSING = -1

Value = TypeVar("Value")


def texts(values: Sequence[str | None]) -> pa.DictionaryArray:
    """The strings as a `TEXT` column."""
    different: dict[str | None, None] = dict.fromkeys(values)
    has_nulls = None in different
    different.pop(None, None)
    numbers: dict[str | None, int] = dict(zip(different, range(len(different)), strict=True))
    numbers[None] = _MISSING
    indices = np.fromiter(map(numbers.__getitem__, values), np.int32, len(values))
    mask = indices == _MISSING if has_nulls else None
    return pa.DictionaryArray.from_arrays(pa.array(indices, mask=mask), pa.array(list(different), pa.string()))


def text_lists(values: Sequence[Sequence[str] | None], rows: pa.Array | None = None) -> pa.ListArray:
    """The lists of strings as a `TEXTS` column; rows: of these (int64) and no others. An object is made a list once."""
    lists, places = distinct(values)
    return _lists(lists).take(places if rows is None else places.take(rows))


def distinct(values: Sequence[Value]) -> tuple[list[Value], pa.Array]:
    """The different objects among them, told by which they are; and which of those each is (int64)."""
    keys = list(map(id, values))
    found = dict(zip(keys, values, strict=True))
    numbers = dict(zip(found, range(len(found)), strict=True))
    return list(found.values()), pa.array(np.fromiter(map(numbers.__getitem__, keys), np.int64, len(keys)))


def _lists(values: Sequence[Sequence[str] | None]) -> pa.ListArray:
    items = texts([item for value in values for item in value or ()])
    missing = np.array([value is None for value in values], dtype=bool)
    mask = pa.array(missing) if missing.any() else None
    return pa.ListArray.from_arrays(offsets([len(value or ()) for value in values]), items, TEXTS, mask=mask)


def offsets(lengths: Sequence[int]) -> pa.Array:
    """Where each list begins in the items of all, and where the last ends (int32)."""
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())

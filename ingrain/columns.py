"""Operations on columns that more than one stage needs: sums by group, and any column as text.

They are built on Arrow's element-wise kernels and numpy alone: Arrow's own group-by (acero) costs 20 MB to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.batch import TEXT

Number = TypeVar("Number", np.int64, np.float64)

_INTS = np.iinfo(np.int64)
_CODE_LIMIT = 1 << 62
_NARROW = 1 << 17  # whole numbers that span less than this (ports do) are their own codes: no need to hash them


def encode(column: pa.Array) -> pa.DictionaryArray:
    """The column dictionary-encoded; a null becomes an entry of the dictionary, so every row has an index.

    Lists and structs become text first (`as_text`): two that read the same have the same index.
    """
    if pa.types.is_nested(column.type):
        column = as_text(column)
    if not pa.types.is_dictionary(column.type):
        return column.dictionary_encode(null_encoding="encode")
    if not column.null_count:
        return column
    values = column.dictionary
    if values.null_count:  # the dictionary has a null already: let Arrow tell the two kinds of null together
        return column.dictionary_decode().dictionary_encode(null_encoding="encode")
    values = pa.concat_arrays([values, pa.nulls(1, values.type)])
    return pa.DictionaryArray.from_arrays(pc.fill_null(column.indices, len(values) - 1), values)


def groups(records: pa.RecordBatch, keys: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which rows have the same values in all `keys`; lists and structs are compared item by item.

    Returns `(group, first)`: the number of each row's group (int64, one a row; groups are numbered from 0 in the order
    of their first row), and the first row of each group (int64, one a group).
    """
    codes, size = _combined([records.column(key) for key in keys], records.num_rows)
    if size > 4 * len(codes) + 1024:  # a table of all codes would be larger than what it saves: hash them
        codes, size = _renumber(codes)
    first = np.full(size, len(codes), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of rows with the same code, the last assigned stays
    used = np.flatnonzero(first < len(codes))
    used = used[np.argsort(first[used])]
    number = np.empty(size, dtype=np.int64)
    number[used] = np.arange(len(used))
    return number[codes], first[used]


def sums(values: npt.NDArray[Number], group: npt.NDArray[np.int64], count: int) -> npt.NDArray[Number]:
    """The sum of `values` (int64 or float64, one a row) in each of `count` groups; exact in int64.

    One that its type does not hold is the greatest or least number that it does.
    """
    totals = np.zeros(count, dtype=values.dtype)
    with np.errstate(over="ignore"):
        np.add.at(totals, group, values)
    if values.dtype == np.float64:
        return np.nan_to_num(totals, copy=False)
    if max(int(values.max(initial=0)), -int(values.min(initial=0))) * len(values) > _INTS.max:
        about = np.zeros(count)  # what wrapped around is some 2^64 away from it
        np.add.at(about, group, values)
        wrapped = np.abs(about - totals) > _INTS.max
        totals[wrapped] = np.where(about[wrapped] > 0, _INTS.max, _INTS.min)
    return totals


def lasts(values: npt.NDArray[Number], group: npt.NDArray[np.int64], count: int) -> npt.NDArray[Number]:
    """The value (int64 or float64, one a row) in the last row of each of `count` groups, none of which is empty."""
    chosen = np.empty(count, dtype=values.dtype)
    chosen[group] = values  # of rows with the same group, the last assigned stays
    return chosen


def merge(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one schema (at least one) as one batch, in their order; their dictionaries are unified."""
    if len(batches) == 1:
        return batches[0]
    merged = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return merged[0] if merged else batches[0]


def compact(records: pa.RecordBatch) -> pa.RecordBatch:
    """The same records, without the values of a column's dictionary that no record has.

    Without this a dictionary grows with what is merged, and what is held back would keep all of it for ever.
    """
    columns = [_compact(column) for column in records.columns]
    return pa.RecordBatch.from_arrays(columns, schema=records.schema)


def as_text(column: pa.Array, between: str = " ") -> pa.DictionaryArray:
    """Any column as `TEXT`: numbers in decimal, lists as their items with `between` between them.

    Structs are their fields, joined by a space. A null stays null; a null item or field is empty text.
    """
    if column.type == TEXT:
        return column
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), _plain(column.dictionary, between))
    if pa.types.is_nested(column.type):
        return _plain(column, between).dictionary_encode()
    encoded = column.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, pc.cast(encoded.dictionary, pa.string()))


def suffixed(column: pa.Array, end: str) -> pa.DictionaryArray:
    """Any column as text with this at the end of each value; a null stays null."""
    text = as_text(column)
    return pa.DictionaryArray.from_arrays(text.indices, pc.binary_join_element_wise(text.dictionary, end, ""))


def _compact(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_list(kind) and pa.types.is_nested(kind.value_type) | pa.types.is_dictionary(kind.value_type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
        return pa.ListArray.from_arrays(offsets, _compact(column.flatten()), kind, mask=column.is_null())
    if pa.types.is_struct(kind):
        fields = [_compact(field) for field in column.flatten()]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=column.is_null())
    return _compact_dictionary(column) if pa.types.is_dictionary(kind) and len(column.dictionary) else column


def _compact_dictionary(column: pa.DictionaryArray) -> pa.DictionaryArray:
    size = len(column.dictionary)
    indices = pc.fill_null(column.indices, size).to_numpy()
    used = np.flatnonzero(np.bincount(indices, minlength=size)[:size])
    if len(used) == size:
        return column
    place = np.zeros(size + 1, dtype=np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    nulls = indices == size if column.null_count else None
    renumbered = pa.array(place[indices], column.type.index_type, mask=nulls)
    return pa.DictionaryArray.from_arrays(renumbered, column.dictionary.take(pa.array(used)))


def _plain(column: pa.Array, between: str) -> pa.StringArray:
    """Any column as plain text, as `as_text` says."""
    if pa.types.is_list(column.type):
        items = pc.fill_null(_plain(column.values, between), "")
        joined = pc.binary_join(pa.ListArray.from_arrays(column.offsets, items), between)
        return pc.if_else(column.is_valid(), joined, pa.scalar(None, pa.string()))
    if pa.types.is_struct(column.type):
        fields = [pc.fill_null(_plain(field, between), "") for field in column.flatten()]
        joined = pc.binary_join_element_wise(*fields, " ") if fields else pa.array([""] * len(column))
        return pc.if_else(column.is_valid(), joined, pa.scalar(None, pa.string()))
    if pa.types.is_dictionary(column.type):
        return _plain(column.dictionary, between).take(column.indices)
    return pc.cast(column, pa.string())


def _combined(columns: Sequence[pa.Array], rows: int) -> tuple[npt.NDArray[np.int64], int]:
    """A number for each row (int64, below the size returned too), the same when they are the same in all columns."""
    codes = np.zeros(rows, dtype=np.int64)
    cardinality = 1
    for column in columns:
        indices, size = _identity(column)
        if cardinality * size >= _CODE_LIMIT:
            codes, cardinality = _renumber(codes)
        codes = codes * size + indices
        cardinality *= size
    return codes, cardinality


def _identity(column: pa.Array) -> tuple[npt.NDArray[np.int64], int]:
    """A number for each row (int64, below the size that is returned too), the same for the same values only."""
    if pa.types.is_list(column.type):
        # Items as their numbers, in decimal, joined by a space: no two lists look the same, whatever their items are.
        items, _ = _renumber(_identity(column.values)[0])
        lists = pa.ListArray.from_arrays(column.offsets, pc.cast(pa.array(items), pa.string()))
        column = pc.if_else(column.is_valid(), pc.binary_join(lists, " "), pa.scalar(None, pa.string()))
    elif pa.types.is_integer(column.type) and len(column) > column.null_count:
        low, high = (bound.as_py() for bound in pc.min_max(column).values())
        if high - low < _NARROW and high < _CODE_LIMIT:
            values = column.cast(pa.int64())
            return pc.fill_null(values, high + 1).to_numpy() - low, high - low + 2
    elif pa.types.is_struct(column.type):
        column = pa.array(_combined([column.is_valid(), *column.flatten()], len(column))[0])
    encoded = encode(column)
    indices, values = encoded.indices, encoded.dictionary
    if pa.types.is_dictionary(column.type):
        distinct = values.dictionary_encode(null_encoding="encode")
        if len(distinct.dictionary) < len(values):  # Arrow allows a dictionary to hold a value twice
            indices = distinct.indices.take(indices)
    return indices.to_numpy(zero_copy_only=False).astype(np.int64, copy=False), max(1, len(values))


def _renumber(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """The same grouping, numbered from 0 in the order of first appearance; and how many numbers there are."""
    encoded = pa.array(codes).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)

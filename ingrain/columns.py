"""Operations on columns that more than one stage needs: sums by group, and any column as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.batch import TEXT

_CODE_LIMIT = 1 << 62


def encode(column: pa.Array) -> pa.DictionaryArray:
    """The column dictionary-encoded; a null becomes an entry of the dictionary, so every row has an index."""
    if pa.types.is_dictionary(column.type):
        if not column.null_count:
            return column
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        column = as_text(column).dictionary_decode()
    return column.dictionary_encode(null_encoding="encode")


def groups(records: pa.RecordBatch, keys: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which rows have the same values in all `keys`.

    Returns `(group, first)`: the number of each row's group (int64, one a row; groups are numbered from 0 in the order
    of their first row), and the first row of each group (int64, one a group).
    """
    codes = np.zeros(records.num_rows, dtype=np.int64)
    cardinality = 1
    for key in keys:
        column = encode(records.column(key))
        size = max(1, len(column.dictionary))
        if cardinality * size >= _CODE_LIMIT:
            codes, cardinality = _renumber(codes)
        codes = codes * size + column.indices.to_numpy(zero_copy_only=False)
        cardinality *= size
    codes, count = _renumber(codes)
    first = np.empty(count, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return codes, first


def sums(values: npt.NDArray[np.int64], group: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The sum of `values` (int64, one a row) in each of `count` groups, exact in int64."""
    totals = np.zeros(count, dtype=np.int64)
    np.add.at(totals, group, values)
    return totals


def as_text(column: pa.Array) -> pa.DictionaryArray:
    """Any column as `TEXT`: numbers in decimal, lists as their items joined by a space, structs as their fields so.

    A null stays null.
    """
    if column.type == TEXT:
        return column
    if pa.types.is_dictionary(column.type):
        return column.cast(TEXT)
    if pa.types.is_nested(column.type):
        rows = [None if row is None else _flat(row) for row in column.to_pylist()]
        return pa.array(rows, pa.string()).dictionary_encode()
    encoded = column.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, pc.cast(encoded.dictionary, pa.string()))


def _flat(value: object) -> str:
    if isinstance(value, list):
        return " ".join(_flat(item) for item in value)
    if isinstance(value, dict):
        return " ".join(_flat(item) for item in value.values())
    return "" if value is None else str(value)


def _renumber(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    encoded = pa.array(codes).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)

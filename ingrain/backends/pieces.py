"""Batches a piece at a time: text that stands in a dictionary once stands in every row of what is rendered of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.batch import Batch
from ingrain.columns import compact


def pieces(batch: Batch, rows: int, size: int) -> Iterator[Batch]:
    """The batch in pieces, in its order: of `rows` records and `size` bytes of text at the most, or of one record."""
    most = sum(map(_most, batch.records.columns))
    for start in range(0, len(batch), rows):
        part = batch.records.slice(start, rows)
        yield from map(batch.with_records, [part] if most * len(part) <= size else _split(part, size))


def cuts(sizes: npt.NDArray[np.int64], rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Where pieces begin and end, if each row has so many bytes: of `rows` and `size` at the most, or of one row."""
    ends = np.cumsum(sizes)
    start = before = 0
    while start < len(ends):
        end = max(int(np.searchsorted(ends[: start + rows], before + size, side="right")), start + 1)
        yield start, end
        start, before = end, int(ends[end - 1])


def _split(records: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    """Each part with no text in its dictionaries but its own: else each would be as much work as the whole."""
    sizes = np.asarray(sum(map(text_bytes, records.columns)))
    for start, end in cuts(sizes, len(records), size):
        yield compact(records.slice(start, end - start))


def _most(column: pa.Array) -> int:
    """More bytes of text than this no row has: a bound that is found without a look at each of them."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _most(column.dictionary)
    if pa.types.is_list(kind):
        return _most(column.values) * (pc.max(pc.list_value_length(column)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(map(_most, column.flatten()))
    return (pc.max(pc.binary_length(column)).as_py() or 0) if pa.types.is_string(kind) else 0


def text_bytes(column: pa.Array) -> npt.NDArray[np.int64]:
    """The bytes of text in each row (int64, one a row); what is no text has none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        known = np.append(text_bytes(column.dictionary), 0)
        return np.asarray(known.take(pc.fill_null(column.indices, len(column.dictionary)).to_numpy()))
    if pa.types.is_list(kind):
        items = np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy())
        ends = np.append(0, np.cumsum(text_bytes(column.flatten())))
        return np.diff(ends.take(items), prepend=0)
    sizes = np.zeros(len(column), np.int64)
    if pa.types.is_struct(kind):
        for field in column.flatten():
            sizes += text_bytes(field)
    elif pa.types.is_string(kind):
        sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy()
    return sizes

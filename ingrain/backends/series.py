"""Records as StatsD series: a group-by on the tags, then one line a value column and series, put together by Arrow.

The protocol: https://github.com/statsd/statsd/blob/master/docs/metric_types.md, and for tags DogStatsD's
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell (protocol 1.0). Text in a column can end no field, no
line and no name: what the protocol reserves becomes `_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.batch import Batch, Kind
from ingrain.columns import as_text, groups, lasts, sums

NULL_NAME = "none"
"""What stands in a plain name for a tag that a record does not have; with tags, the tag is left out."""

_CHUNK = 8192  # series put together at a time: a megabyte or two of text
_NOT_IN_NAMES = "[^0-9A-Za-z_-]"  # statsd keeps these; it changes or drops what else it finds in a name
_NOT_IN_TAGS = r"[|,#@\x00-\x1f\x7f-\x9f\x{2028}\x{2029}]"  # a colon is allowed, and stands in IPv6 addresses


@dataclass(frozen=True, slots=True)
class Series:
    """Lines to send. `text`: one entry a series, all its lines (a value column each), every line with its end.

    `records` (int64, one a series): how many records it sums up.
    """

    text: pa.StringArray
    records: npt.NDArray[np.int64]


def series(batch: Batch, prefix: str, *, use_tags: bool) -> Iterator[Series]:
    """The batch's series, some thousands at a time.

    Named `PREFIX MEASUREMENT`, for a value column other than `value` `PREFIX MEASUREMENT.COLUMN`; then, without
    `use_tags`, a dot and the value of each tag in the batch's order.
    """
    records, measurement = batch.records, batch.measurement
    group, first = groups(records, batch.tags)
    count = len(first)
    merged = np.bincount(group, minlength=count).astype(np.int64, copy=False)
    fold = lasts if measurement.kind is Kind.GAUGE else sums
    folded = {
        column: fold(records.column(column).to_numpy(), group, count)
        for column in measurement.value_names
        if column in records.schema.names
    }
    rows = pa.array(first)
    tags = [_rendered(tag, as_text(records.column(tag).take(rows)), use_tags=use_tags) for tag in batch.tags]
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        path, tail = _placed([values.take(indices.slice(start, size)) for values, indices in tags], use_tags=use_tags)
        parts: list[object] = []
        for column, values in folded.items():
            name = prefix + _name(measurement.name) + ("" if column == "value" else f".{_name(column)}")
            parts += _lines(name, path, values[start : start + size], measurement.kind, tail)
        yield Series(pc.binary_join_element_wise(*parts, ""), merged[start : start + size])


def _rendered(tag: str, text: pa.DictionaryArray, *, use_tags: bool) -> tuple[pa.StringArray, pa.Array]:
    """A tag's distinct values as they stand in a line, with what parts them from the one before; and the indices."""
    if use_tags:
        values = pc.replace_substring_regex(text.dictionary, _NOT_IN_TAGS, "_")
        # A tag without a value is malformed to some servers; left out, it means the same.
        values = pc.if_else(pc.equal(values, ""), "", pc.binary_join_element_wise(f",{_name(tag)}:", values, ""))
        absent = ""
    else:
        values = pc.replace_substring_regex(text.dictionary, _NOT_IN_NAMES, "_")
        values = pc.binary_join_element_wise(".", pc.if_else(pc.equal(values, ""), "_", values), "")
        absent = f".{NULL_NAME}"
    known = pa.concat_arrays([pc.fill_null(values, absent), pa.array([absent], pa.string())])
    return known, pc.fill_null(text.indices, len(values))


def _placed(parts: list[pa.StringArray], *, use_tags: bool) -> tuple[object, object]:
    """What stands behind the name, and what at the end of a line."""
    if not parts:
        return "", ""
    joined = pc.binary_join_element_wise(*parts, "")
    if not use_tags:
        return joined, ""
    return "", pc.if_else(pc.equal(joined, ""), "", pc.binary_replace_slice(joined, 0, 1, "|#"))


def _lines(name: str, path: object, values: npt.NDArray[np.int64], kind: Kind, tail: object) -> list[object]:
    """The parts of one value column's lines."""
    numbers = pc.cast(pa.array(values), pa.string())
    if kind is Kind.COUNTER:
        return [name, path, ":", numbers, "|c", tail, "\n"]
    lines = [name, path, ":", numbers, "|g", tail, "\n"]
    negative = values < 0
    if negative.any():  # a gauge with a sign changes the last value; only from 0 on it sets one
        zero = pc.binary_join_element_wise(name, path, ":0|g", tail, pa.array(["\n"] * len(values)), "")
        lines.insert(0, pc.if_else(pa.array(negative), zero, ""))
    return lines


@lru_cache(maxsize=1024)
def _name(text: str) -> str:
    """A measurement's or column's name; dots part its levels."""
    return re.sub(r"[^0-9A-Za-z_.-]", "_", text) or "_"

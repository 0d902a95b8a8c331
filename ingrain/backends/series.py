"""Records as StatsD series: a group-by on the tags, then one line a value column and series, put together by Arrow.

The protocol: https://github.com/statsd/statsd/blob/master/docs/metric_types.md, and for tags DogStatsD's
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell (protocol 1.0). Text in a column can end no field, no
line and no name: what the protocol reserves becomes `_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.backends.cardinality import Cardinality
from ingrain.backends.pieces import cuts, text_bytes
from ingrain.batch import Batch, Kind
from ingrain.columns import as_text, groups, lasts, sums

NULL_NAME = "none"
"""What stands in a plain name for a tag that a record does not have; with tags, the tag is left out."""

_EXACT = 2.0**53  # below it every whole number is a float64
_SERIES, _TEXT = 8192, 4 << 20  # put together at a time: a megabyte or two of text, where tags are not long
_NOT_IN_NAMES = "[^0-9A-Za-z_-]"  # statsd keeps these; it changes or drops what else it finds in a name
_NOT_IN_LEVELS = "[^0-9A-Za-z_.-]"  # dots part the levels of a name
_NOT_IN_TAGS = r"[|,#@\x00-\x1f\x7f-\x9f\x{2028}\x{2029}]"  # a colon is allowed, and stands in IPv6 addresses


@dataclass(frozen=True, slots=True)
class Series:
    """Lines to send. `text`: one entry a series, all its lines (a value column each), every line with its end.

    `records` (int64, one a series): how many records it sums up. `overflow`: it is what is not told apart.
    """

    text: pa.StringArray
    records: npt.NDArray[np.int64]
    overflow: bool = False


def series(batch: Batch, prefix: str, known: Cardinality, *, use_tags: bool) -> Iterator[Series]:
    """The batch's series, some thousands at a time, then those that are not `known` as one.

    Named `PREFIX MEASUREMENT`, or, of records that have their own names, `PREFIX NAME`; for a value column other than
    `value` with `.COLUMN` behind it; then, without `use_tags`, a dot and the value of each tag in the batch's order.
    What is not told apart has the measurement's name and the tag `overflow:true`, or `overflow` at the place of each
    value, so that sums over all series stay right.
    """
    records, measurement = batch.records, batch.measurement
    group, first = groups(records, batch.keys)
    count = len(first)
    merged = np.bincount(group, minlength=count).astype(np.int64, copy=False)
    fold = lasts if measurement.kind is Kind.GAUGE else sums
    folded = {
        "" if column == "value" else f".{_name(column)}": fold(records.column(column).to_numpy(), group, count)
        for column in measurement.value_names
        if column in records.schema.names
    }
    rows = pa.array(first)
    common = prefix + _name(measurement.name)
    names = _own_names(batch.names.take(rows), prefix) if batch.names is not None else None
    tags = [_rendered(tag, as_text(records.column(tag).take(rows)), use_tags=use_tags) for tag in batch.tags]
    beyond = [np.empty(0, np.intp)]
    sizes = sum((text_bytes(values).take(indices.to_numpy()) for values, indices in tags), np.zeros(count, np.int64))
    for start, end in cuts(sizes * len(folded), _SERIES, _TEXT):
        some = np.arange(start, end)
        joined = _joined([values.take(indices.slice(start, len(some))) for values, indices in tags], len(some))
        named = names.slice(start, len(some)) if names is not None else None
        told = joined if named is None else _joined([named, joined], len(some))
        apart = known.told_apart(measurement.name, told.to_pylist())
        beyond.append(some[~apart])
        some, joined = some[apart], joined.filter(pa.array(apart))
        if len(some):
            values = {one: values[some] for one, values in folded.items()}
            name = common if named is None else named.filter(pa.array(apart))
            text = _lines(name, values, joined, measurement.kind, use_tags=use_tags)
            yield Series(text, merged[some])
    rest = np.concatenate(beyond)
    if len(rest):
        group = np.zeros(len(rest), np.int64)
        joined = pa.array([",overflow:true" if use_tags else ".overflow" * len(tags)])
        values = {one: fold(values[rest], group, 1) for one, values in folded.items()}
        text = _lines(common, values, joined, measurement.kind, use_tags=use_tags)
        yield Series(text, merged[rest].sum(keepdims=True), overflow=True)


def _own_names(names: pa.Array, prefix: str) -> pa.StringArray:
    """The names that records have of their own as they stand in a line, behind the prefix."""
    text = as_text(names)
    values = pc.replace_substring_regex(text.dictionary, _NOT_IN_LEVELS, "_")
    values = pc.binary_join_element_wise(prefix, pc.if_else(pc.equal(values, ""), "_", values), "")
    return values.take(text.indices)


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


def _joined(parts: list[pa.StringArray], count: int) -> pa.StringArray:
    """All tags of each of so many series."""
    return pc.binary_join_element_wise(*parts, "") if parts else pa.array([""] * count, pa.string())


def _lines(
    name: object, values: Mapping[str, npt.NDArray[Any]], tags: pa.StringArray, kind: Kind, *, use_tags: bool
) -> pa.StringArray:
    """All lines of each series.

    name: one, or a column with each series' own. values: by what stands behind the name. tags: all of a series, as
    `_joined` puts them together.
    """
    path, tail = tags, ""
    if use_tags:
        path, tail = "", pc.if_else(pc.equal(tags, ""), "", pc.binary_replace_slice(tags, 0, 1, "|#"))
    parts: list[object] = []
    for column, numbers in values.items():
        parts += _line([name, column, path], numbers, kind, tail)
    return pc.binary_join_element_wise(*parts, "")


def _line(name: list[object], values: npt.NDArray[Any], kind: Kind, tail: object) -> list[object]:
    """The parts of one value column's lines; name: its parts."""
    numbers = _numbers(values)
    if kind is Kind.COUNTER:
        return [*name, ":", numbers, "|c", tail, "\n"]
    lines = [*name, ":", numbers, "|g", tail, "\n"]
    negative = values < 0
    if negative.any():  # a gauge with a sign changes the last value; only from 0 on it sets one
        zero = pc.binary_join_element_wise(*name, ":0|g", tail, pa.array(["\n"] * len(values)), "")
        lines.insert(0, pc.if_else(pa.array(negative), zero, ""))
    return lines


def _numbers(values: npt.NDArray[Any]) -> pa.StringArray:
    """Numbers as text: whole ones in all their digits, others as short as they can be read back."""
    text = pc.cast(pa.array(values), pa.string())
    if values.dtype == np.float64:
        whole = (np.abs(values) < _EXACT) & (values == np.trunc(values))
        digits = np.where(whole, values, 0.0).astype(np.int64)
        text = pc.if_else(pa.array(whole), pc.cast(pa.array(digits), pa.string()), text)
    return text


@lru_cache(maxsize=1024)
def _name(text: str) -> str:
    """A measurement's or column's name."""
    return re.sub(_NOT_IN_LEVELS, "_", text) or "_"

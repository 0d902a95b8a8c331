"""Records as lines of text, one a record: JSON for machines, aligned words for people. Columns in, a text column out.

Every distinct value of a dictionary is rendered once; rows are put together by Arrow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.batch import Batch
from ingrain.columns import as_text
from ingrain.text import harmless

_ESCAPED = r'["\\\x00-\x1f]'  # what RFC 8259 section 7 wants escaped
_ASIDE = ' "='


def json_lines(batch: Batch) -> pa.StringArray:
    """Each record as a JSON object (RFC 8259) on a line of its own, line end included.

    `timestamp` comes first, RFC 3339 with nanoseconds; then `measurement`, which is the record's own name where it has
    one; then the other columns in their order. Integers stand as they are, to the last digit; lists are arrays, structs
    objects, what is null `null`.
    """
    parts: list[object] = ['{"timestamp":"', rfc3339(batch.records.column("timestamp"))]
    parts.append('","measurement":')
    own = batch.names
    parts.append(json.dumps(batch.measurement.name, ensure_ascii=False) if own is None else _json(own))
    for name in batch.records.schema.names:
        if name not in ("timestamp", batch.measurement.named_by):
            parts += [f",{json.dumps(name, ensure_ascii=False)}:", _json(batch.records.column(name))]
    return _joined([*parts, "}\n"])


def text_lines(batch: Batch) -> pa.StringArray:
    """Each record as `TIME MEASUREMENT VALUE NAME=VALUE ...`, line end included; what is null is left out.

    A value that is empty, or has a space, a quote or an equals sign in it, stands in quotes, escaped as in JSON.
    """
    own = batch.names
    measured = f" {harmless(batch.measurement.name)}" if own is None else _words(own, " ")
    parts: list[object] = [rfc3339(batch.records.column("timestamp")), measured]
    for name in batch.records.schema.names:
        if name not in ("timestamp", batch.measurement.named_by):
            prefix = " " if name == "value" else f" {harmless(name)}="
            parts.append(_words(batch.records.column(name), prefix))
    return _joined([*parts, "\n"])


def rfc3339(stamps: pa.Array) -> pa.StringArray:
    """Timestamps (ns, UTC) as RFC 3339 text with all nine digits: `2025-03-01T12:00:00.000000001Z`."""
    # Without its zone Arrow writes a timestamp with no look at the host's time zone files, which may not be there.
    plain = pc.cast(stamps.cast(pa.int64()).cast(pa.timestamp("ns")), pa.string())
    return pc.binary_join_element_wise(pc.binary_replace_slice(plain, 10, 11, "T"), "Z", "")


def raw(lines: pa.StringArray) -> tuple[memoryview, npt.NDArray[np.int32]]:
    """The bytes of a text column (int32 offsets, no nulls) without a copy, and the offsets: one more than lines."""
    _, offsets, data = lines.buffers()
    bounds = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(data) if data is not None else memoryview(b""), bounds


def json_values(column: pa.Array) -> pa.StringArray:
    """Each value of any column as JSON; what is null, or no number of JSON, is `null`."""
    return _json(column)


def _joined(parts: Sequence[object]) -> pa.StringArray:
    return pc.binary_join_element_wise(*parts, "")


def _words(column: pa.Array, prefix: str) -> pa.StringArray:
    """` name=value` for each row, nothing for a null."""
    text = as_text(column)
    words = [None if value is None else prefix + _word(value) for value in text.dictionary.to_pylist()]
    return pc.fill_null(pa.array(words, pa.string()).take(text.indices), "")


def _word(value: str) -> str:
    value = harmless(value)  # grains do so, but this is the last place before a terminal
    return json.dumps(value, ensure_ascii=False) if not value or any(one in value for one in _ASIDE) else value


def _json(column: pa.Array) -> pa.StringArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        text = _json(column.dictionary).take(column.indices)
    elif pa.types.is_list(kind):
        items = pa.ListArray.from_arrays(pa.array(column.offsets.to_numpy()), _json(column.values))
        text = _where_valid(column, _joined(["[", pc.binary_join(items, ","), "]"]))
    elif pa.types.is_struct(kind):
        parts: list[object] = []
        for field, values in zip(kind, column.flatten(), strict=True):
            parts += [f"{',' if parts else ''}{json.dumps(field.name, ensure_ascii=False)}:", _json(values)]
        text = _where_valid(column, _joined(["{", *parts, "}"]))
    elif pa.types.is_timestamp(kind):
        text = _joined(['"', rfc3339(column), '"'])
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        text = pc.cast(column, pa.string())
    elif pa.types.is_floating(kind):
        text = _where_valid(pc.if_else(pc.is_finite(column), column, None), pc.cast(column, pa.string()))
    else:
        text = _quoted(pc.cast(column, pa.string()))
    return pc.fill_null(text, "null")


def _quoted(values: pa.StringArray) -> pa.StringArray:
    plain = _joined(['"', values, '"'])
    special = pc.fill_null(pc.match_substring_regex(values, _ESCAPED), False)  # noqa: FBT003 - a value, not a flag
    if not pc.any(special).as_py():
        return plain
    escaped = [json.dumps(value, ensure_ascii=False) for value in values.filter(special).to_pylist()]
    return pc.replace_with_mask(plain, special, pa.array(escaped, pa.string()))


def _where_valid(column: pa.Array, text: pa.StringArray) -> pa.StringArray:
    return pc.if_else(column.is_valid(), text, pa.scalar(None, pa.string()))

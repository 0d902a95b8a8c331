"""Records as ingraind's HTTP backend posts them, so that what takes its bodies takes ours. Columns in, text column out.

The layout is that of its serialised measurement: `timestamp`, `kind`, `name`, `measurement`, `tags`.
"""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc

from ingrain.backends.lines import json_values
from ingrain.batch import Batch, Kind
from ingrain.columns import as_text, suffixed

KINDS = {Kind.COUNTER: 1, Kind.GAUGE: 2}
"""ingraind's bits for what a value is."""


def ingraind_lines(batch: Batch, end: str) -> pa.StringArray:
    """Each record as a JSON object (RFC 8259) on a line of its own, with this at its end.

    `timestamp` is in nanoseconds since 1970; `name` ends with `_byte` or `_count`, the unit of `measurement`. What else
    adds up (`packets`) stands beside it under its own name. `tags` are text, lists with a comma between their items;
    what is null is left out.
    """
    measurement, records = batch.measurement, batch.records
    unit = "byte" if measurement.unit == "bytes" else "count"
    parts: list[object] = ['{"timestamp":', json_values(records.column("timestamp").cast(pa.int64()))]
    parts += [f',"kind":{KINDS[measurement.kind]},"name":', json_values(_names(batch, f"_{unit}"))]
    for value in measurement.value_names:
        if value in records.schema.names:
            key = "measurement" if value == "value" else value
            parts += [f",{json.dumps(key, ensure_ascii=False)}:", json_values(records.column(value))]
    return pc.binary_join_element_wise(*parts, ',"tags":{', _tags(batch), f"}}}}{end}", "")


def _names(batch: Batch, end: str) -> pa.Array:
    """What each record is called, with this at its end."""
    if batch.names is None:
        return pa.array([f"{batch.measurement.name}{end}"] * len(batch), pa.string()).dictionary_encode()
    return suffixed(batch.names, end)


def _tags(batch: Batch) -> pa.StringArray:
    """All tags that each record has, with a comma between them."""
    tags = []
    for tag in batch.tags:
        text = as_text(batch.records.column(tag), ",")
        values = pc.binary_join_element_wise(
            f",{json.dumps(tag, ensure_ascii=False)}:", json_values(text.dictionary), ""
        )
        known = pc.if_else(text.dictionary.is_valid(), values, "")
        tags.append(pc.fill_null(known.take(text.indices), ""))
    if not tags:
        return pa.array([""] * len(batch), pa.string())
    return pc.utf8_ltrim(pc.binary_join_element_wise(*tags, ""), ",")

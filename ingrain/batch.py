"""The message that actors pass on: a measurement's records as one Arrow record batch.

A `Measurement` says once what a record means (its kind, unit and columns); a `Batch` is some of its records. Grains
make batches, steps change their columns, backends deliver them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

TIMESTAMP = pa.timestamp("ns", tz="UTC")
TEXT = pa.dictionary(pa.int32(), pa.string())
"""Names and addresses: each distinct string stands once a batch, each row holds a 32-bit index."""


class Kind(StrEnum):
    """What a measurement's values are, in StatsD's terms: counters add up, a gauge replaces its last value."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a measurement: its name, Arrow type, and what it tells (with its unit, where it has one)."""

    name: str
    type: pa.DataType
    about: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured, e.g. `dns.answer`.

    `values` are the columns that add up (`value` first; `volume.out` also has `packets`): int64, or float64 where
    others have measured; `tags` are the columns by which a record is told from another. Every batch also has
    `timestamp` (ns, UTC). `unit` is the unit of `value`. named_by: the text column in which each record has its own
    name, where others choose names: backends that name what they send take it, and no step drops it.
    """

    name: str
    about: str
    tags: tuple[Column, ...]
    kind: Kind = Kind.COUNTER
    unit: str = "events"
    values: tuple[Column, ...] = (Column("value", pa.int64(), "1 for each event"),)
    named_by: str = ""

    @property
    def schema(self) -> pa.Schema:
        """The columns of a batch as its grain makes it: `timestamp`, values, the own name, tags, in this order."""
        fields = [pa.field("timestamp", TIMESTAMP, nullable=False)]
        fields += [pa.field(column.name, column.type, nullable=False) for column in self.values]
        if self.named_by:
            fields.append(pa.field(self.named_by, TEXT, nullable=False))
        fields += [pa.field(column.name, column.type) for column in self.tags]
        return pa.schema(fields)

    def narrowed(self, wanted: Container[str] | None) -> pa.Schema:
        """The schema without the tags that nobody wants; None wants all."""
        if wanted is None:
            return self.schema
        unwanted = {tag.name for tag in self.tags if tag.name not in wanted}
        return pa.schema([field for field in self.schema if field.name not in unwanted])

    @property
    def value_names(self) -> tuple[str, ...]:
        """Names of the columns that add up."""
        return tuple(column.name for column in self.values)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one measurement: columns `timestamp`, the measurement's values, and the tags that steps left it."""

    measurement: Measurement
    records: pa.RecordBatch

    def __len__(self) -> int:
        return int(self.records.num_rows)

    @property
    def tags(self) -> list[str]:
        """Names of the tag columns this batch has, in their order."""
        return [name for name in self.records.schema.names if name not in self._fixed]

    @property
    def names(self) -> pa.Array | None:
        """The column in which records have their own names; None where the measurement's is theirs."""
        return self.records.column(self.measurement.named_by) if self.measurement.named_by else None

    @property
    def keys(self) -> list[str]:
        """The columns by which a series is told from another: its name, where records have their own, and the tags."""
        return [self.measurement.named_by, *self.tags] if self.measurement.named_by else self.tags

    @property
    def oldest(self) -> int:
        """The earliest timestamp (ns, UTC); there must be a record."""
        return int(pc.min_max(self.records.column("timestamp").cast(pa.int64()))["min"].as_py())

    def with_records(self, records: pa.RecordBatch) -> Batch:
        """The same measurement with other records."""
        return replace(self, records=records)

    def with_tags(self, columns: Mapping[str, pa.Array]) -> Batch:
        """With these tags: one that is there is replaced in its place, others come last. What is no tag stays."""
        records = self.records
        for name, column in columns.items():
            at = records.schema.get_field_index(name)
            if at < 0:
                records = records.append_column(name, column)
            elif name not in self._fixed:
                records = records.set_column(at, name, column)
        return self.with_records(records)

    @property
    def _fixed(self) -> set[str]:
        """Names of columns that are no tags."""
        return {"timestamp", *self.measurement.value_names, self.measurement.named_by}

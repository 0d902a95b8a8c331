"""Percentiles of what a Buffer sums up: how often each tag set had each value, and what those values were.

In: the records of one measurement and schema; out, at the end of the interval: a measurement for each percentile. They
are exact until there are more pairs of tag set and value than `EXACT_PAIRS`; then values are rounded, to within 0.8 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.batch import Batch, Kind, Measurement
from ingrain.columns import groups, merge, suffixed, sums

PERCENTILES = (25, 50, 75, 90, 95, 99)
"""Those that ingraind tells."""

EXACT_PAIRS = 1 << 16
"""Pairs of tag set and value of a measurement that are told apart: some 5 MB."""

_BITS = 7  # that are kept of a value: at the most 64 values for each doubling, so 640 from 1 KB to 1 MB

Numbers = npt.NDArray[np.int64]
Values = npt.NDArray[np.int64 | np.float64]


@dataclass(slots=True)
class _Column:
    """The distinct values of one value column, each with its tags and the first timestamp; `counts`: how often."""

    records: pa.RecordBatch
    counts: Numbers
    rounded: bool = False


class Distribution:
    """The values of one measurement, whose kind is no gauge: each of its value columns for itself."""

    def __init__(self, measurement: Measurement) -> None:
        self._measurement = measurement
        self._columns: dict[str, _Column] = {}
        self._keys: list[str] = []

    @property
    def pairs(self) -> int:
        """Pairs of tag set and value that are held."""
        return sum(len(one.counts) for one in self._columns.values())

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(one.records.get_total_buffer_size() + one.counts.nbytes for one in self._columns.values())

    @property
    def rounded(self) -> bool:
        """Whether any value was rounded."""
        return any(one.rounded for one in self._columns.values())

    def add(self, records: pa.RecordBatch) -> None:
        """Hold the values of these, too."""
        self._keys = Batch(self._measurement, records).keys
        for name in self._measurement.value_names:
            if name not in records.schema.names:
                continue
            new = _Column(records.select(["timestamp", name, *self._keys]), np.ones(records.num_rows, np.int64))
            held = self._columns.get(name)
            if held is not None:
                counts = np.concatenate((held.counts, new.counts))
                new = _Column(merge([held.records, new.records]), counts, held.rounded)
            new = self._folded(name, _round(name, new) if new.rounded else new)
            if len(new.counts) > EXACT_PAIRS and not new.rounded:
                new = self._folded(name, _round(name, new))
            self._columns[name] = new

    def percentiles(self) -> Iterator[Batch]:
        """A batch for each percentile: a record a tag set, with its first timestamp, in the order in which they came.

        The measurement is a gauge, `NAME_PERCENTILE` (`volume.out_95`), with the value columns that it is made of. A
        percentile is the least of the values that at least so many percent are not above (the nearest rank).
        """
        if not self._columns:
            return
        found = {name: self._of(name, column) for name, column in self._columns.items()}
        one = next(iter(self._columns.values())).records
        rows = one.take(pa.array(groups(one, self._keys)[1]))
        columns = {"timestamp": rows.column("timestamp")}
        for at, percentile in enumerate(PERCENTILES):
            values = {name: pa.array(of[at]) for name, of in found.items()}
            keys = {key: self._key(key, rows.column(key), percentile) for key in self._keys}
            yield Batch(
                replace(
                    self._measurement,
                    name=f"{self._measurement.name}_{percentile}",
                    about=f"percentile {percentile} of {self._measurement.name}",
                    kind=Kind.GAUGE,
                ),
                pa.RecordBatch.from_pydict(columns | values | keys),
            )

    def _folded(self, name: str, column: _Column) -> _Column:
        group, first = groups(column.records, [*self._keys, name])
        counts = sums(column.counts, group, len(first))
        return replace(column, records=column.records.take(pa.array(first)), counts=counts)

    def _key(self, key: str, column: pa.Array, percentile: int) -> pa.Array:
        """Names that records have of their own tell the percentile as the measurement's does."""
        return suffixed(column, f"_{percentile}") if key == self._measurement.named_by else column

    def _of(self, name: str, column: _Column) -> list[Values]:
        """For each percentile that of each tag set."""
        group, first = groups(column.records, self._keys)
        values: Values = column.records.column(name).to_numpy()
        order = np.lexsort((values, group))
        values, up_to = values[order], np.cumsum(column.counts[order])
        totals = sums(column.counts, group, len(first))
        before = np.cumsum(totals) - totals
        ranks = (before + np.maximum(1, -(-percentile * totals // 100)) for percentile in PERCENTILES)
        return [values[np.searchsorted(up_to, rank)] for rank in ranks]


def _round(name: str, column: _Column) -> _Column:
    """Values in the middle of what is the same in their first bits; those of no more bits stay as they are."""
    at = column.records.schema.get_field_index(name)
    values = column.records.column(at).to_numpy()
    parts, bits = np.frexp(values.astype(np.float64))
    if values.dtype == np.float64:
        middle = np.where(values == 0, 0.0, np.ldexp(np.floor(np.ldexp(parts, _BITS)) + 0.5, bits - _BITS))
    else:
        rest = np.maximum(0, bits.astype(np.int64) - _BITS)
        middle = (values >> rest << rest) + (1 << rest >> 1)
    records = column.records.set_column(at, column.records.schema.field(at), pa.array(middle))
    return replace(column, records=records, rounded=True)

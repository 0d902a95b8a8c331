"""Buffer: sum up records over an interval, into one per measurement and tag set.

In: any batch; out, at the end of the interval: for each set of tags the sum of its values (of a gauge, the last) and
the timestamp of its first record; where they are asked for, percentiles. Memory is bounded: rows are summed up as they
come, and too many sets leave early.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import pyarrow as pa

from ingrain.account import Station
from ingrain.batch import Batch, Kind, Measurement
from ingrain.columns import compact, groups, lasts, merge, sums
from ingrain.settings import Settings
from ingrain.stage import Downstream, Step
from ingrain.steps.percentiles import Distribution

FRESH_RECORDS = 1 << 17
"""Records that are held as they came before they are summed up: some 8 MB, and one pass for many small batches."""

FRESH_BATCHES = 1 << 10
"""Batches that are held as they came: each costs some 4 KB beside its records, and a quiet hour has 36,000 of them."""

HELD_RECORDS = 1 << 18
"""Tag sets held at the most: a Buffer that has more is not summing much up any more."""

HELD_BYTES = 64 << 20
"""Bytes held at the most: tag sets with DNS answers weigh more than the count of records says. All bounds are of all
measurements together."""

_SETTLED = 2
"""Once summed up, one part of so many bytes may be left: so there is room for as many again before it is done anew."""

_DAY_S = 86_400
_DEFAULT_MS = 10_000  # ingraind's


class BufferSettings(Settings, frozen=True):
    """For how long records are collected, and what is made of them.

    interval_s: seconds; ten if neither interval is set
    interval_ms: the same in milliseconds; only one of the two may be set
    max_records: the most sums held; with more, all are passed on before the interval ends
    enable_histograms: also pass on percentiles 25, 50, 75, 90, 95 and 99, as measurements of their own
        (`volume.out_95`); off by default, unlike in ingraind, as they make seven records out of one
    """

    interval_s: Annotated[int, msgspec.Meta(ge=1, le=_DAY_S)] | None = None
    interval_ms: Annotated[int, msgspec.Meta(ge=1, le=_DAY_S * 1000)] | None = None
    max_records: Annotated[int, msgspec.Meta(ge=1, le=HELD_RECORDS)] = HELD_RECORDS
    enable_histograms: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError where there are two intervals."""
        super().__post_init__()
        if self.interval_s is not None and self.interval_ms is not None:
            raise ValueError("only one of interval_s (seconds) and interval_ms (milliseconds) may be there")

    @property
    def seconds(self) -> float:
        """The interval in seconds."""
        return float(self.interval_s) if self.interval_s is not None else (self.interval_ms or _DEFAULT_MS) / 1000


@dataclass(slots=True)
class _Held:
    """Records of one measurement and schema: `summed` first, then those that came since, in their order.

    values: of those that are summed up; None where nobody asks for percentiles. bytes: of all that is held.
    """

    measurement: Measurement
    values: Distribution | None
    batches: list[pa.RecordBatch] = field(default_factory=list)
    records: int = 0
    bytes: int = 0
    summed: int = 0

    def add(self, records: pa.RecordBatch) -> None:
        self.batches.append(records)
        self.records += records.num_rows
        self.bytes += records.get_total_buffer_size()

    def settle(self, records: pa.RecordBatch) -> None:
        """These are the sums of all that is held."""
        self.batches, self.records, self.bytes = [], 0, self.values.bytes if self.values else 0
        self.add(records)
        self.summed = self.records

    @property
    def fresh(self) -> int:
        return self.records - self.summed

    @property
    def fresh_batches(self) -> int:
        return len(self.batches) - bool(self.summed)

    @property
    def pairs(self) -> int:
        return self.values.pairs if self.values else 0

    @property
    def settled(self) -> int:
        """What has to be gone over again to sum up more."""
        return max(self.summed, self.pairs)


class Buffer(Step):
    """A group-by over an interval, which begins with the first record after the last one ended.

    `merged` counts the records folded into others and `made` those with percentiles, so received + made = delivered +
    merged + lost + held. `detail["early"]` counts the releases before the interval's end, because max_records or
    HELD_BYTES was reached; `detail["rounded"]` those whose percentiles are not exact.
    """

    Settings = BufferSettings

    def __init__(self, settings: BufferSettings, station: Station, downstream: Downstream) -> None:
        super().__init__(station, downstream)
        self._interval = settings.seconds
        self._max_records = settings.max_records
        self._histograms = settings.enable_histograms
        # A change of columns upstream (not of values) makes another schema: both are held until the release.
        self._held: dict[tuple[str, pa.Schema], _Held] = {}

    def process(self, batch: Batch) -> Iterator[Batch]:
        """Nothing, or everything held when there is too much of it."""
        if not len(batch):
            return
        self.wake_in(self._interval)
        key = (batch.measurement.name, batch.records.schema)
        held = self._held.get(key) or self._held.setdefault(key, _Held(batch.measurement, self._values(batch)))
        held.add(batch.records)
        if self._due():
            for one in [one for one, held in self._held.items() if held.fresh]:
                self._guarded("what is held", 0, self._sum_up, one)
            if self._too_much():
                self.station.detail["early"] += 1
                yield from self.release()

    def release(self) -> Iterator[Batch]:
        """All that is held, summed up."""
        try:
            while self._held:
                key = next(iter(self._held))
                if self._held[key].fresh:
                    self._sum_up(key)
                held = self._held.pop(key)
                yield from (Batch(held.measurement, records) for records in held.batches)
                if held.values is not None:
                    yield from self._percentiles(held.values)
        finally:
            if self._held:  # one measurement could not be summed up: the others go with the next tick
                self.wake_in(self._interval)

    def _values(self, batch: Batch) -> Distribution | None:
        """What holds the values; of a gauge only the last one counts."""
        wanted = self._histograms and batch.measurement.kind is not Kind.GAUGE
        return Distribution(batch.measurement) if wanted else None

    def _percentiles(self, values: Distribution) -> Iterator[Batch]:
        if values.rounded:
            self.station.detail["rounded"] += 1
        for batch in values.percentiles():
            self.station.made += len(batch)
            yield batch

    def _due(self) -> bool:
        """Whether it is time to sum up. As many fresh records as settled ones keep the cost of a record constant."""
        held = self._held.values()
        many = max(min(FRESH_RECORDS, self._max_records), sum(one.settled for one in held))
        return (
            sum(one.fresh for one in held) >= many
            or sum(one.fresh_batches for one in held) >= FRESH_BATCHES
            or sum(one.bytes for one in held) > HELD_BYTES
        )

    def _too_much(self) -> bool:
        """Whether what is left when it is summed up has to leave."""
        held = self._held.values()
        return (
            sum(one.records for one in held) > self._max_records
            or sum(one.pairs for one in held) > HELD_RECORDS
            or sum(one.bytes for one in held) > HELD_BYTES // _SETTLED
        )

    def _sum_up(self, key: tuple[str, pa.Schema]) -> None:
        held = self._held.pop(key)
        try:
            if held.values is not None:
                held.batches[bool(held.summed) :] = [merge(held.batches[bool(held.summed) :])]
                held.values.add(held.batches[-1])
            records = compact(_summed(held.measurement, merge(held.batches)))
        except Exception:
            self.station.lost += held.records
            raise
        self.station.merged += held.records - records.num_rows
        held.settle(records)
        self._held[key] = held


def _summed(measurement: Measurement, records: pa.RecordBatch) -> pa.RecordBatch:
    values = [name for name in measurement.value_names if name in records.schema.names]
    group, first = groups(records, Batch(measurement, records).keys)
    if len(first) == records.num_rows:
        return records
    fold = lasts if measurement.kind is Kind.GAUGE else sums
    rows = records.take(pa.array(first))
    for name in values:
        folded = pa.array(fold(records.column(name).to_numpy(), group, len(first)))
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), folded)
    return rows

"""The records of one measurement and hour that wait to be written: collected as they come, given out in time order.

Buffers are per CPU, so records come out of order by some milliseconds. The newest are held back until later ones have
come; what comes later still is told apart, so that every object is in time order whatever comes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.backends.layout import HOUR_NS
from ingrain.batch import Batch, Measurement
from ingrain.columns import compact, merge

MERGE_BATCHES = 256
"""Batches held as they came; each costs some kilobytes beside its records, and its dictionaries again."""


@dataclass(slots=True)
class Partition:
    """`rows` and `bytes` are what is held. `since` (`time.monotonic`): when its oldest object or record was begun."""

    measurement: Measurement
    schema: pa.Schema
    since: float = field(default_factory=time.monotonic)
    rows: int = 0
    bytes: int = 0
    written: int | None = None
    """Timestamp (ns) of the last record given out for the object that is open; nothing before it may follow there."""
    _held: list[pa.RecordBatch] = field(default_factory=list)

    def add(self, records: pa.RecordBatch) -> None:
        """Hold these too."""
        self._held.append(records)
        self.rows += records.num_rows
        self.bytes += records.get_total_buffer_size()
        if len(self._held) >= MERGE_BATCHES:
            self._keep(compact(merge(self._held)))

    def take(self, keep: int) -> tuple[pa.RecordBatch | None, pa.RecordBatch | None]:
        """All but the newest `keep` records, in time order: those that follow what was given out, and those too late.

        Either is None when there is none of it.
        """
        if not self._held:
            return None, None
        held, self._held = self._held, []
        self.rows = self.bytes = 0
        records, stamps = in_time_order(merge(held))
        late = 0 if self.written is None else int(np.searchsorted(stamps, self.written))
        end = max(late, len(stamps) - keep)
        if end < len(stamps):
            self._keep(compact(_copy(records, end, len(stamps))))
        if end > late:
            self.written = int(stamps[end - 1])
        due = compact(records.slice(late, end - late)) if end > late else None
        return due, compact(records.slice(0, late)) if late else None

    def drop(self) -> None:
        """Let go of everything."""
        self.rows, self.bytes, self._held = 0, 0, []

    def _keep(self, records: pa.RecordBatch) -> None:
        self._held = [records]
        self.rows = records.num_rows
        self.bytes = records.get_total_buffer_size()


def by_hour(batch: Batch) -> list[tuple[int, pa.RecordBatch]]:
    """The batch's records by the hour of their timestamp, in hours since 1970 (UTC), each part in its order."""
    hours = _stamps(batch.records) // HOUR_NS
    if not len(hours):
        return []
    if hours.min() == hours.max():
        return [(int(hours[0]), batch.records)]
    return [(int(hour), batch.records.filter(pa.array(hours == hour))) for hour in np.unique(hours)]


def in_time_order(records: pa.RecordBatch) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """The records sorted by timestamp, those of the same time in the order they came; and their timestamps (ns)."""
    stamps = _stamps(records)
    if np.all(stamps[1:] >= stamps[:-1]):
        return records, stamps
    order = np.argsort(stamps, kind="stable")
    return records.take(pa.array(order)), stamps[order]


def _copy(records: pa.RecordBatch, start: int, end: int) -> pa.RecordBatch:
    """These rows in memory of their own: a slice would keep the others'."""
    return records.take(pa.array(np.arange(start, end)))


def _stamps(records: pa.RecordBatch) -> npt.NDArray[np.int64]:
    stamps: Sequence[int] = records.column("timestamp").cast(pa.int64()).to_numpy()
    return np.asarray(stamps)

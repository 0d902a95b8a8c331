"""What the tests of stages share: a small measurement, batches of it, and a backend that keeps what it gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pykka

from ingrain.account import Station
from ingrain.batch import TEXT, TIMESTAMP, Batch, Column, Kind, Measurement
from ingrain.stage import Backend, Flush

VOLUME = Measurement(
    name="volume.out",
    about="bytes sent",
    unit="bytes",
    values=(Column("value", pa.int64(), "bytes"), Column("packets", pa.int64(), "packets")),
    tags=(Column("process", TEXT, "name"), Column("d_port", pa.uint16(), "port")),
)
LOAD = Measurement(name="load", about="a gauge", kind=Kind.GAUGE, tags=(Column("process", TEXT, "name"),))


def batch_of(measurement: Measurement, rows: Sequence[Mapping[str, Any]]) -> Batch:
    """A batch of these rows; a row that tells no timestamp has its number."""
    rows = [{"timestamp": number, **row} for number, row in enumerate(rows)]
    return Batch(measurement, pa.RecordBatch.from_pylist(rows, measurement.schema))


def tagged(name: str, column: pa.Array) -> Batch:
    """A batch with one tag of any type."""
    measurement = Measurement(name="m", about="", tags=(Column(name, column.type, ""),))
    stamps = pa.array(range(len(column)), pa.int64()).cast(TIMESTAMP)
    arrays = [stamps, pa.array([1] * len(column), pa.int64()), column]
    return Batch(measurement, pa.RecordBatch.from_arrays(arrays, schema=measurement.schema))


class Sink(Backend):
    """Keeps what it gets. `gate`, while it is closed, holds it up as a slow backend would."""

    def __init__(self, kept: list[Any], gate: threading.Event) -> None:
        super().__init__(Station("sink"))
        self._kept = kept
        self._gate = gate

    def deliver(self, batch: Batch) -> None:
        self._gate.wait()
        self._kept.append(batch)
        self.station.delivered += len(batch)

    def flush(self) -> None:
        self._kept.append("flush")

    def close(self) -> None:
        self._kept.append("close")


@dataclass
class Chain:
    """Steps that run, and what came out behind them."""

    refs: list[pykka.ActorRef[Any]]
    stations: list[Station]
    gate: threading.Event
    out: list[Any] = field(default_factory=list)

    def tell(self, *batches: Batch) -> None:
        for batch in batches:
            self.refs[0].tell(batch)

    def flush(self) -> None:
        flush = Flush()
        self.refs[0].tell(flush)
        assert flush.done.wait(60)

    @property
    def batches(self) -> list[Batch]:
        return [one for one in self.out if isinstance(one, Batch)]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows that came out; timestamps in nanoseconds."""
        stamps = [
            stamp for batch in self.batches for stamp in batch.records.column("timestamp").cast("int64").to_pylist()
        ]
        rows = [row for batch in self.batches for row in batch.records.drop_columns(["timestamp"]).to_pylist()]
        return [{"timestamp": stamp, **row} for stamp, row in zip(stamps, rows, strict=True)]


@contextmanager
def chain(*steps: tuple[type[Any], Any]) -> Iterator[Chain]:
    """The steps (class and settings), started, before a sink; stopped at the end."""
    gate = threading.Event()
    gate.set()
    kept: list[Any] = []
    sink = Sink.start(kept, gate)
    refs: list[pykka.ActorRef[Any]] = [sink]
    stations: list[Station] = []
    for step, settings in reversed(steps):
        stations.insert(0, Station(step.__name__))
        refs.insert(0, step.start(settings, stations[0], refs[0]))
    try:
        yield Chain(refs, stations, gate, kept)
    finally:
        gate.set()
        for ref in refs:
            ref.stop()

"""What Archive, S3 and HTTP share: batches become objects, one a measurement and hour at a time, rolled by size or age.

In: any batch. Out: what `ingrain.backends.writers` make of it, named as `ingrain.backends.layout` says, rows in time
order. Memory is bounded: rows are held only until there are enough of them for a row group; an object in the making is
a file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, BinaryIO, Literal

import msgspec
import pyarrow as pa

from ingrain.account import Station
from ingrain.backends import layout
from ingrain.backends.folders import begin_sync
from ingrain.backends.partition import Partition, by_hour
from ingrain.backends.reach import Reach
from ingrain.backends.writers import WRITERS, Writer
from ingrain.batch import Batch, Measurement
from ingrain.registry import find_class
from ingrain.settings import Settings
from ingrain.stage import Backend

GROUP_ROWS = 1 << 16
"""Records of a row group: some 4 MB of connections. Twice as many cost the agent 25 MB and gain readers nothing."""

KEEP_ROWS = 1 << 15
"""Newest records held back when a row group is written: what two CPUs' buffers of the default size hold, and more."""

HELD_BYTES = 24 << 20
"""Bytes held at the most, of all measurements together: DNS answers weigh more than the count of records says."""

PARTITIONS = 64
"""Objects in the making at the most: records of many hours at once (a clock that jumps) must not open a file each."""

_KEPT = 4  # one record of so many is held back where memory is short

_NAMES = 100  # tried for an object before its place is given up

_Key = tuple[str, pa.Schema, int, bool]


Format = Literal["parquet", "jsonl"]
"""`format` of S3 and Archive: Parquet, or gzipped JSON lines."""


class ObjectSettings(Settings, frozen=True):
    """When an object is complete. The defaults give readers fresh data: at most one file a minute and measurement.

    roll_mb: an object is complete at this size in MiB
    roll_s: or when its first record has waited for so many seconds
    """

    roll_mb: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 64
    roll_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60


@dataclass(slots=True)
class Object:
    """One object in the making, or made: `rows` records stand in `file`, which `writer` writes. `size`: its bytes.

    first: the timestamp of its first record (ns, UTC).
    """

    key: str
    first: int
    file: BinaryIO
    writer: Writer
    rows: int = 0
    size: int = 0


class Objects(Backend):
    """The part that does not depend on where objects go. `detail`: objects and bytes, and reasons of losses.

    `form`: what they are made of, of WRITERS. `roll_bytes`: an object is complete at this size, which it can exceed by
    what is held, `held_bytes` at the most. A subclass opens a file for an object (`create`), takes it when it is
    complete (`store`) and counts its records, and does away with one that failed (`discard`).
    """

    def __init__(self, settings: ObjectSettings, station: Station, where: str, form: str) -> None:
        super().__init__(station)
        self._form = form
        self._writer = find_class(WRITERS[form])
        self.roll_bytes = settings.roll_mb << 20
        self.held_bytes = HELD_BYTES
        self._roll_s = float(settings.roll_s)
        self._partitions: dict[_Key, Partition] = {}
        self._open: dict[_Key, Object] = {}
        self.reach = Reach(station, where)

    def create(self, key: str) -> BinaryIO:
        """A file to write the object into. Raises OSError, a FileExistsError when the name is taken."""
        raise NotImplementedError

    def store(self, made: Object) -> None:
        """The object is complete. Raises OSError when it cannot be kept; then `discard` follows."""
        raise NotImplementedError

    def discard(self, key: str, file: BinaryIO) -> None:
        """The object will never be complete: let go of its file. Raises nothing."""
        raise NotImplementedError

    def deliver(self, batch: Batch) -> None:
        """Hold the records; write those of which there are enough."""
        for hour, records in by_hour(batch):
            key = (batch.measurement.name, records.schema, hour, False)
            partition = self._add(key, batch.measurement, records)
            if partition.rows >= GROUP_ROWS + KEEP_ROWS:
                self._try(self._write, key, KEEP_ROWS)
        while sum(one.bytes for one in self._partitions.values()) > self.held_bytes:
            key = max(self._partitions, key=lambda one: self._partitions[one].bytes)
            self._try(self._write, key, self._partitions[key].rows // _KEPT)
        while len(self._partitions) > PARTITIONS:
            self._try(self._roll, min(self._partitions, key=lambda one: self._partitions[one].since))

    def tick(self) -> None:
        """Complete the objects that are old enough."""
        now = time.monotonic()
        for key in [key for key, one in self._partitions.items() if now - one.since >= self._roll_s]:
            self._try(self._roll, key)
        if self._partitions:
            self.wake_in(min(one.since for one in self._partitions.values()) + self._roll_s - now)

    def relieve(self) -> None:
        """Write most of what is held; the newest records stay, which may not be in order yet."""
        for key, partition in list(self._partitions.items()):
            self._try(self._write, key, partition.rows // _KEPT)

    def flush(self) -> None:
        """Complete all objects."""
        while self._partitions:
            self._try(self._roll, next(iter(self._partitions)))

    def close(self) -> None:
        """Do away with objects that were not completed: their records are counted as lost."""
        while self._open:
            _, made = self._open.popitem()
            made.writer.abandon()
            self.discard(made.key, made.file)

    def lose(self, records: int, why: str, told: str = "") -> None:
        """Count records as lost; `why` in few words, `told` as the operator should read it."""
        self.station.lost += records
        self.station.detail[why] += records
        self.reach.fails(told or why, "Records are counted as lost until it works; every object tries again")

    def stored(self, records: int, size: int, first: int) -> None:
        """Count an object that is where it belongs; `first` is its first record's timestamp (ns, UTC)."""
        self.delivered(records, first)
        self.station.detail["objects"] += 1
        self.station.detail["bytes"] += size

    def _try(self, step: Callable[..., None], *arguments: object) -> None:
        """Each part by itself: what goes wrong with one, which is counted there, is no other's and no batch's fault."""
        self._guarded("an object", 0, step, *arguments)

    def _add(self, key: _Key, measurement: Measurement, records: pa.RecordBatch) -> Partition:
        partition = self._partitions.get(key)
        if partition is None:
            partition = self._partitions[key] = Partition(measurement, records.schema)
            self.wake_in(self._roll_s)
        partition.add(records)
        return partition

    def _roll(self, key: _Key) -> None:
        """Write all that is held, and complete the object."""
        try:
            self._write(key, 0)
        finally:
            if key in self._open:
                self._complete(key)
            del self._partitions[key]

    def _write(self, key: _Key, keep: int) -> None:
        """Write what is held but the newest `keep` records."""
        partition = self._partitions[key]
        before = partition.rows
        try:
            due, late = partition.take(keep)
        except BaseException:
            partition.drop()
            self.lose(before, "not written", "records could not be put in order")
            raise
        if late is not None:
            self._add((*key[:3], True), partition.measurement, late)
        if due is not None:
            self._append(key, partition, due)

    def _append(self, key: _Key, partition: Partition, records: pa.RecordBatch) -> None:
        """Write them, into several objects where one does not take all.

        Late records make an object each time, since those that follow may be earlier still.
        """
        written = partition.written
        while records.num_rows:
            made = self._open.get(key)
            try:
                if made is None:
                    first = int(records.column("timestamp")[0].value)
                    made = self._open[key] = self._begin(partition, first)
                taken = made.writer.write(records)
                begin_sync(made.file.fileno())
            except BaseException as error:
                self._abandon(key, records.num_rows + (made.rows if made else 0), error)
                if not isinstance(error, OSError):
                    raise
                return
            made.rows += taken
            records = records.slice(taken)
            if not records.num_rows and made.file.tell() < self.roll_bytes and not key[3]:
                return
            try:
                self._complete(key)
            except BaseException:
                self.station.lost += records.num_rows
                self.station.detail["not written"] += records.num_rows
                raise
            partition.written = written if records.num_rows else None
            partition.since = time.monotonic()

    def _begin(self, partition: Partition, first: int) -> Object:
        for _ in range(_NAMES):
            name = layout.key(partition.measurement.name, first, self._form)
            try:
                file = self.create(name)
            except FileExistsError:
                continue
            try:
                writer = self._writer(file, partition.measurement, partition.schema, self.roll_bytes)
                return Object(name, first, file, writer)
            except BaseException:
                self.discard(name, file)
                raise
        raise FileExistsError(f"there are already {_NAMES} objects of that host and time, the last one {name}")

    def _complete(self, key: _Key) -> None:
        made = self._open[key]
        if key in self._partitions:
            self._partitions[key].written = None
        try:
            made.writer.finish()
            self.store(made)
        except BaseException as error:
            self._abandon(key, made.rows, error)
            if not isinstance(error, OSError):
                raise
        else:
            del self._open[key]
            self.reach.works()

    def _abandon(self, key: _Key, rows: int, error: BaseException) -> None:
        made = self._open.pop(key, None)
        if made is not None:
            made.writer.abandon()
            self.discard(made.key, made.file)
        if key in self._partitions:
            self._partitions[key].written = None
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number) if number else str(error)
        self.lose(rows, "not written", why)

"""The metrics of a StatsD server: lines of datagrams in, summed up by series; batches out, at each flush.

Lines that are the same are parsed once a call. What is told apart is bounded: beyond it a counter tells how many lines
came, `statsd.overflow`.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pyarrow as pa

from ingrain.batch import TEXT, TIMESTAMP, Batch, Column, Measurement
from ingrain.own import foreign
from ingrain.own.statsd_lines import MalformedError, Metric, NoMetricError, metric
from ingrain.own.statsd_series import FAMILIES, MEASUREMENTS, Row, Series
from ingrain.text import safe

FORGET_S = 3600.0
"""A series of which nothing came for so long makes room for another; a gauge is forgotten with it."""

KEY_SETS = 64
"""Sets of tags' keys that are told apart, each a batch a flush and a schema for whatever keeps records."""

HELD = 1 << 20
"""Values of 8 bytes that timers and sets hold, before they are told early."""

OVERFLOW = "statsd.overflow"
"""The name of what is not told apart."""

_BYTES = 1024  # of names and tags, for each of the series that may be told apart, on the average
_UNCHECKED_BYTES = 4 << 20  # of lines, which hold two million values at the most
_KNOWN_BYTES = 8 << 20  # of spellings of lines that were parsed already
_SPELLING_BYTES = 1024  # one that is longer is parsed every time
_SHOWN_BYTES = 80
_OBJECT_BYTES = 256  # that a series or a spelling takes beside its text


class Metrics:
    """For one thread. max_series: so many are told apart. prefix: stands before every name.

    messages: lines that came, which are `told`, `malformed` or `ignored` (events and service checks). beyond: of those
    that are told, how many are not told apart. example: the first that was malformed, and why.
    """

    def __init__(self, max_series: int, prefix: str) -> None:
        self.messages = self.told = self.malformed = self.ignored = self.beyond = 0
        self.example = ""
        self._max_series = max_series
        self._prefix = prefix
        self._series: dict[tuple[str, str, tuple[tuple[str, str], ...]], Series] = {}
        self._key_sets: set[tuple[str, ...]] = set()
        self._bytes = 0
        self._known: dict[tuple[bytes, bytes], tuple[Series, float]] = {}
        self._known_bytes = 0
        self._told_beyond = 0
        self._unchecked = 0

    @property
    def full(self) -> bool:
        """Whether more than HELD values are held until the next flush. Looked up once in some megabytes of lines."""
        if self._unchecked < _UNCHECKED_BYTES:
            return False
        self._unchecked = 0
        return sum(one.held for one in self._series.values()) > HELD

    def take(self, data: bytes) -> int:
        """Take lines in, which stand between line ends; how many they are. Blank ones are none."""
        self._unchecked += len(data)
        lines = data.split(b"\n")
        counts = Counter(lines)
        came = len(lines) - counts.pop(b"", 0)
        self.messages += came
        if b"|g" in data:  # of gauges the order matters
            gauges = [line for line in lines if b"|g" in line]
            for line in gauges:
                counts.pop(line, None)
            for line in gauges:
                self._line(line, 1)
        for line, times in counts.items():
            self._line(line, times)
        return came

    def flush(self, at: int) -> list[Batch]:
        """Records of all that came since the last flush, with this timestamp (ns, UTC)."""
        now = time.monotonic()
        rows: defaultdict[tuple[str, tuple[str, ...]], list[tuple[Row, Series | None]]] = defaultdict(list)
        for one in self._series.values():
            if one.fresh:
                one.fresh, one.at = False, now
                keys = tuple(key for key, _ in one.tags)
                for row in one.rows():
                    rows[row[0], keys].append((row, one))
        beyond, self._told_beyond = self.beyond - self._told_beyond, self.beyond
        if beyond:
            rows["counter", ()].append((("counter", OVERFLOW, (float(beyond),)), None))
        self._forget(now)
        return [_batch(family, keys, some, at) for (family, keys), some in rows.items()]

    def _line(self, line: bytes, times: int) -> None:
        name, _, rest = line.partition(b":")
        value, _, kind = rest.partition(b"|")
        try:
            known = self._known.get((name, kind)) or self._find(name, kind)
            if known is None:
                self.beyond += times
            else:
                known[0].add(value, known[1], times)
        except MalformedError as error:
            self.example = self.example or f"{safe(line[:_SHOWN_BYTES])}: {error}"
            self.malformed += times
        except NoMetricError:
            self.ignored += times
        else:
            self.told += times

    def _find(self, name: bytes, kind: bytes) -> tuple[Series, float] | None:
        """The series of a line and the weight of its values; None where it is not told apart."""
        told = metric(name, kind)
        series = self._series.get((told.family, told.name, told.tags)) or self._admit(told)
        if series is None:
            return None
        size = len(name) + len(kind) + _OBJECT_BYTES
        if self._known_bytes + size > _KNOWN_BYTES:
            self._known.clear()
            self._known_bytes = 0
        if size <= _SPELLING_BYTES + _OBJECT_BYTES:
            self._known[name, kind] = series, told.weight
            self._known_bytes += size
        return series, told.weight

    def _admit(self, told: Metric) -> Series | None:
        keys = tuple(key for key, _ in told.tags)
        size = _size(told.name, told.tags)
        if len(self._series) >= self._max_series or self._bytes + size > self._max_series * _BYTES:
            return None
        if keys not in self._key_sets and len(self._key_sets) >= KEY_SETS:
            return None
        self._key_sets.add(keys)
        self._bytes += size
        series = FAMILIES[told.family](told, self._prefix + told.name, time.monotonic())
        self._series[told.family, told.name, told.tags] = series
        return series

    def _forget(self, now: float) -> None:
        idle = [key for key, one in self._series.items() if now - one.at > FORGET_S]
        for key in idle:
            del self._series[key]
        if idle:
            self._known.clear()
            self._known_bytes = 0
            self._bytes = sum(_size(name, tags) for _, name, tags in self._series)
            self._key_sets = {tuple(key for key, _ in tags) for _, _, tags in self._series}


def _size(name: str, tags: tuple[tuple[str, str], ...]) -> int:
    return len(name) + sum(len(key) + len(value) for key, value in tags) + _OBJECT_BYTES


def _measured(family: str, keys: tuple[str, ...]) -> Measurement:
    return replace(MEASUREMENTS[family], tags=tuple(Column(key, TEXT, "as the client sent it") for key in keys))


def _batch(family: str, keys: tuple[str, ...], rows: list[tuple[Row, Series | None]], at: int) -> Batch:
    measurement = _measured(family, keys)
    values = np.array([values for (_, _, values), _ in rows])
    arrays = [pa.array(np.full(len(rows), at)).cast(TIMESTAMP)]
    arrays += [pa.array(values[:, number]) for number in range(values.shape[1])]
    arrays.append(foreign.text(name for (_, name, _), _ in rows))
    for number in range(len(keys)):
        arrays.append(foreign.text(series.tags[number][1] if series else None for _, series in rows))
    return Batch(measurement, pa.RecordBatch.from_arrays(arrays, schema=measurement.schema))

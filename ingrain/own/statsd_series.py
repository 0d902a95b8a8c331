"""What a StatsD server keeps of a series between two flushes, by type. Values of lines in, rows of records out.

A row is the name that its record has and the numbers of its value columns, beside the tags of the series.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ingrain.batch import Column, Kind, Measurement
from ingrain.own.statsd_lines import Metric, is_delta, numbers

PERCENTILES = 25, 50, 75, 90, 95, 99
"""Of timers; ingraind has the same."""

Row = tuple[str, str, tuple[float, ...]]
"""The measurement (a key of MEASUREMENTS), the record's own name, its values."""

_NUMBER = pa.float64()
_NAMED = "metric"

MEASUREMENTS = {
    "counter": Measurement(
        "statsd.counter",
        "a client's counter, summed over the interval; also the count and sum of its timers",
        (),
        named_by=_NAMED,
        values=(Column("value", _NUMBER, "the sum; sampled values are scaled by their rate"),),
    ),
    "gauge": Measurement(
        "statsd.gauge",
        "a client's gauge at the end of an interval in which it was set or changed",
        (),
        named_by=_NAMED,
        kind=Kind.GAUGE,
        unit="as sent by the client",
        values=(Column("value", _NUMBER, "the last value"),),
    ),
    "set": Measurement(
        "statsd.set",
        "number of distinct values of a client's set in the interval",
        (),
        named_by=_NAMED,
        kind=Kind.GAUGE,
        unit="values",
        values=(Column("value", _NUMBER, "number of distinct values"),),
    ),
    "timer": Measurement(
        "statsd.timer",
        "a client's timer, histogram or distribution over the interval",
        (),
        named_by=_NAMED,
        kind=Kind.GAUGE,
        unit="as sent by the client; ms for timers",
        values=(
            Column("value", _NUMBER, "the mean"),
            Column("lower", _NUMBER, "the minimum"),
            Column("upper", _NUMBER, "the maximum"),
            *(Column(f"p{part}", _NUMBER, f"percentile {part}, by nearest rank") for part in PERCENTILES),
        ),
    ),
}
"""By family. Records are named by their column `metric`, and have the tags that clients gave them."""


class Series(ABC):
    """One. `fresh`: something came since the last flush. `at`: when (`time.monotonic`) the last that came was told."""

    __slots__ = ("at", "fresh", "held", "name", "tags")

    def __init__(self, metric: Metric, name: str, at: float) -> None:
        self.name = name
        self.tags = metric.tags
        self.at = at
        self.fresh = False
        self.held = 0
        """Memory beyond its own, in values of 8 bytes."""

    @abstractmethod
    def add(self, raw: bytes, weight: float, times: int) -> None:
        """Take the value of a line that came so often. Raises MalformedError, and then has taken nothing."""

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """What is told of the interval; then the next one begins."""


class CounterSeries(Series):
    """A sum."""

    __slots__ = ("_total",)

    def __init__(self, metric: Metric, name: str, at: float) -> None:
        super().__init__(metric, name, at)
        self._total = 0.0

    def add(self, raw: bytes, weight: float, times: int) -> None:
        """Add it up."""
        self._total += sum(numbers(raw)) * weight * times
        self.fresh = True

    def rows(self) -> Iterator[Row]:
        """The sum."""
        yield "counter", self.name, (self._total,)
        self._total = 0.0


class GaugeSeries(Series):
    """Where it stands, which it keeps: a sign changes it, from 0 where nothing is known."""

    __slots__ = ("_stands",)

    def __init__(self, metric: Metric, name: str, at: float) -> None:
        super().__init__(metric, name, at)
        self._stands = 0.0

    def add(self, raw: bytes, weight: float, times: int) -> None:
        """Set or change it."""
        del weight  # one that is sent at times stands where it is said
        found = numbers(raw)
        for one, number in zip(raw.split(b":"), found, strict=True):
            self._stands = self._stands + number * times if is_delta(one) else number
        self.fresh = True

    def rows(self) -> Iterator[Row]:
        """Where it stands now."""
        yield "gauge", self.name, (self._stands,)


class SetSeries(Series):
    """Distinct values, as the bytes that came."""

    __slots__ = ("_members",)

    def __init__(self, metric: Metric, name: str, at: float) -> None:
        super().__init__(metric, name, at)
        self._members: set[bytes] = set()

    def add(self, raw: bytes, weight: float, times: int) -> None:
        """Take it in."""
        del weight, times
        if raw not in self._members:
            self._members.add(raw)
            self.held += 16 + len(raw) // 8  # a place in the set, and an object
        self.fresh = True

    def rows(self) -> Iterator[Row]:
        """How many there are."""
        yield "set", self.name, (float(len(self._members)),)
        self._members, self.held = set(), 0


class TimerSeries(Series):
    """All values of the interval: percentiles are exact, by nearest rank."""

    __slots__ = ("_count", "_values")

    def __init__(self, metric: Metric, name: str, at: float) -> None:
        super().__init__(metric, name, at)
        self._count = 0.0
        self._values = array("d")

    def add(self, raw: bytes, weight: float, times: int) -> None:
        """Keep it."""
        found = array("d", numbers(raw)) * times
        self._values += found
        self._count += weight * len(found)
        self.held += len(found)
        self.fresh = True

    def rows(self) -> Iterator[Row]:
        """How often, how much in all, and how it is spread. Samples count at their weight in the first alone."""
        values = np.sort(np.frombuffer(self._values))
        total, size = float(values.sum()), len(values)
        ranks = [values[-(-part * size // 100) - 1] for part in PERCENTILES]
        yield "counter", f"{self.name}.count", (self._count,)
        yield "counter", f"{self.name}.sum", (total,)
        yield "timer", self.name, (total / size, values[0], values[-1], *ranks)
        self._values, self._count, self.held = array("d"), 0.0, 0


FAMILIES: dict[str, type[Series]] = {
    "counter": CounterSeries,
    "gauge": GaugeSeries,
    "set": SetSeries,
    "timer": TimerSeries,
}
"""`family` of a metric -> what is kept of it."""

"""The agent's own telemetry: the account as measurements, through the same pipelines as everything else.

In: the account, read every `interval_s`. Out: `ingrain.events.*` (a row a probe), `ingrain.records.*` and gauges (a row
a stage). Counters tell what was added since the reading before; what a full pipeline refused is in the next one.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from ingrain.account import Account
from ingrain.batch import TEXT, Batch, Column, Kind, Measurement
from ingrain.own.probe import OwnProbe
from ingrain.pipeline import Pipeline
from ingrain.settings import Settings

log = logging.getLogger(__name__)

_OF_PROBES = {  # every count of ProbeAccount -> what it counts
    "handed_over": "events that the kernel programs wrote to the buffers",
    "lost": "events that the kernel programs could not write, because a buffer was full",
    "missed": "program runs that the kernel skipped",
    "received": "events read from the buffers",
    "malformed": "messages that are not what they claim to be",
    "ignored": "messages of a kind that the agent does not use",
    "cut": "messages of which too little was captured",
    "parts": "events that hold only a part of a message",
    "further": "messages beyond the first of an event",
    "unfinished": "messages of which some parts never came",
    "uncounted": "packets and calls for whose count the kernel had no room",
    "uncounted_bytes": "bytes of these packets and calls",
    "corrupt": "bytes in the buffers that are not events",
    "failed": "events that the agent failed to decode; its log has the error",
    "failed_polls": "readings of kernel counts, and queries, that failed",
    "told": "events that were reported, as records of their own or in a sum",
    "records": "records made",
}
_OF_STAGES = {
    "received": "records received",
    "delivered": "records passed on; by a backend, accepted by its destination",
    "merged": "records merged into others, or left out on purpose",
    "refused": "records refused because the pipeline was full",
    "lost": "records received that could not be passed on",
}
_GAUGES = {  # gauge of a station -> its unit, and what it shows
    "inbox.depth": ("records", "records waiting for this stage"),
    "spool.bytes": ("bytes", "size of the objects waiting in the spool"),
    "delivery.latency": ("ns", "age of the oldest record of the last delivery"),
}

_PROBE = (Column("probe", TEXT, "type of the probe"),)
_STAGE = (Column("pipeline", TEXT, "name of the pipeline"), Column("stage", TEXT, "type of the step or backend"))
_VALUE = (Column("value", pa.int64(), "counter: increase since the last reading; gauge: current value"),)

MEASUREMENTS = (
    *(
        Measurement(
            f"ingrain.events.{name}",
            about,
            _PROBE,
            unit="bytes" if name in ("uncounted_bytes", "corrupt") else "events",
            values=_VALUE,
        )
        for name, about in _OF_PROBES.items()
    ),
    *(
        Measurement(f"ingrain.records.{name}", about, _STAGE, unit="records", values=_VALUE)
        for name, about in _OF_STAGES.items()
    ),
    *(
        Measurement(f"ingrain.{name}", about, _STAGE, Kind.GAUGE, unit, _VALUE)
        for name, (unit, about) in _GAUGES.items()
    ),
)

Numbers = dict[str, Counter[tuple[str, ...]]]
"""Measurement -> tags -> number."""


class TelemetrySettings(Settings, frozen=True):
    """How often the account is read.

    interval_s: seconds between two readings; StatsD servers flush every ten seconds, too
    """

    interval_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 10


class Telemetry(OwnProbe):
    """One `[[probe]]` of type Agent at work. What was counted before it was made is not told by it."""

    kind = "Agent"
    Settings = TelemetrySettings
    measurements = MEASUREMENTS

    def __init__(
        self, settings: TelemetrySettings, pipelines: Sequence[Pipeline], agent: Callable[[], Account]
    ) -> None:
        self._told: dict[str, Numbers] = {}
        super().__init__(settings, pipelines, agent)

    def open(self) -> str:
        """Nothing is needed."""
        return f"tells the account every {self.settings.interval_s} s"

    def feed(self, pipelines: Sequence[Any]) -> None:
        """Tell these pipelines from now on, and no others; those of new names what is counted from now on.

        They are pipelines: who watches the agent asks for its account.
        """
        with self.offering:
            before = numbers(self.agent())
            self._told = {one.name: self._told.get(one.name) or before.copy() for one in pipelines}
            self.pipelines = pipelines

    def run(self) -> None:
        """Tell at every interval, and a last time."""
        while not self.stopping.wait(self.settings.interval_s):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        try:
            with self.offering:
                now, at = numbers(self.agent()), time.time_ns()
                for pipeline in self.pipelines:
                    for measurement in MEASUREMENTS:
                        self._offer(pipeline, measurement, now[measurement.name], at)
        except Exception:  # the thread's edge: what cannot be told now is told with the next reading
            log.exception("the agent's own telemetry could not be told")

    def _offer(self, pipeline: Any, measurement: Measurement, now: Counter[tuple[str, ...]], at: int) -> None:
        told = self._told[pipeline.name]
        before: Counter[tuple[str, ...]] = told[measurement.name] if measurement.kind is Kind.COUNTER else Counter()
        rows = [
            {"timestamp": at, "value": number - before[tags]}
            | dict(zip((tag.name for tag in measurement.tags), tags, strict=True))
            for tags, number in now.items()
        ]
        batch = Batch(measurement, pa.RecordBatch.from_pylist(rows, measurement.schema))
        if rows and pipeline.offer(batch):
            told[measurement.name] = now


def numbers(account: Account) -> Numbers:
    """The account by measurement and tags."""
    found: Numbers = {measurement.name: Counter() for measurement in MEASUREMENTS}
    for probe in account.probes:
        for name in _OF_PROBES:
            found[f"ingrain.events.{name}"][probe.name,] += getattr(probe, name)
    for pipeline, stations in account.pipelines.items():
        for station in stations:
            tags = pipeline, station.name.removeprefix(f"pipeline {pipeline}: ")
            for name in _OF_STAGES:
                found[f"ingrain.records.{name}"][tags] += getattr(station, name)
            for name in _GAUGES.keys() & station.gauges.keys():
                found[f"ingrain.{name}"][tags] += station.gauges[name]
    return found

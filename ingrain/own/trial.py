"""Test: records that are always the same, to try out a pipeline. Nothing in; `rate` records a second out.

As in ingraind, a measurement of any name, kind and tags; unlike there, at a rate, which keeps the host usable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.account import Account, ProbeAccount
from ingrain.batch import TEXT, TIMESTAMP, Batch, Column, Measurement
from ingrain.own import foreign
from ingrain.own.kinds import Aggregation, Unit, kind, unit
from ingrain.own.probe import OwnProbe
from ingrain.pipeline import Outlet
from ingrain.settings import Settings
from ingrain.text import harmless

TIME = "$TS"
"""A tag of this value has each record's own timestamp (ns since 1970, UTC), so that no two are the same."""

_NUMBER_DIGITS = 18  # of any number that an int64 holds


def is_name(text: str) -> None:
    """Raise ValueError for what no measurement is called."""
    foreign.name(text.encode())


def is_number(value: int | str) -> None:
    """Raise ValueError for no whole number, written as one or as text."""
    text = str(value).removeprefix("-")
    if not (text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS):
        raise ValueError('expected a whole number of at most 18 digits, like 1 or "1"')


def are_tags(tags: list[list[str]]) -> None:
    """Raise ValueError unless each is a key and a value, and no key comes twice."""
    if any(len(tag) != 2 for tag in tags):  # noqa: PLR2004 - a key and a value
        raise ValueError('expected pairs of a key and a value, like [["host", "web1"], ["at", "$TS"]]')
    if len({key for key, _ in tags}) < len(tags):
        raise ValueError("a key is there twice")


class TrialSettings(Settings, frozen=True):
    """The record, and how often it is sent.

    name: name of the measurement
    measurement: value of each record, as a number or, as in ingraind, as text
    measurement_type: unit of the value: `count` or `byte`
    aggregation_type: kind of the value, as for Osquery
    tags: pairs of name and value; the value `$TS` is the record's timestamp
    message_len: records sent together
    rate: records per second
    """

    name: Annotated[str, msgspec.Meta(extra={"check": is_name})]
    measurement: Annotated[int | str, msgspec.Meta(extra={"check": is_number})] = 1
    measurement_type: Unit = "count"
    aggregation_type: Aggregation = "counter"
    tags: Annotated[list[list[str]], msgspec.Meta(extra={"check": are_tags})] = msgspec.field(default_factory=list)
    message_len: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 5000
    rate: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 5000


class Trial(OwnProbe):
    """The probe. What the rate asks for and was not made in time is left out: a pause is not followed by a flood."""

    kind = "Test"
    Settings = TrialSettings
    measurements = ()
    more_tags = True

    def __init__(self, settings: TrialSettings, pipelines: Sequence[Outlet], agent: Callable[[], Account]) -> None:
        super().__init__(settings, pipelines, agent)
        values = Column("value", pa.int64(), "`measurement` of the settings")
        taken: list[str] = ["value"]
        for key, _ in settings.tags:
            taken.append(foreign.tag(key, taken))
        self._measurement = Measurement(
            foreign.name(settings.name.encode()),
            "records of the Test probe",
            tuple(Column(key, TEXT, "of the settings") for key in taken[1:]),
            kind(settings.aggregation_type),
            unit(settings.measurement_type),
            (values,),
        )
        self._account = ProbeAccount(self.kind)

    def open(self) -> str:
        """Nothing is needed."""
        return f"sends {self.settings.rate} records of {self._measurement.name} a second"

    def run(self) -> None:
        """Send messages at the rate."""
        pause = self.settings.message_len / self.settings.rate
        due = time.monotonic()
        while not self.stopping.wait(max(0.0, due - time.monotonic())):
            batch = self.message(time.time_ns())
            account = self._account
            account.handed_over = account.received = account.told = account.received + len(batch)
            account.records += self.offer([batch])
            due = max(due + pause, time.monotonic() - 1.0)

    def message(self, at: int) -> Batch:
        """`message_len` records from this moment (ns, UTC) on, a nanosecond apart."""
        count = self.settings.message_len
        stamps = pa.array(np.arange(at, at + count, dtype=np.int64))
        value = pa.array(np.full(count, int(self.settings.measurement), np.int64))
        tags = [self._tag(value, stamps) for _, value in self.settings.tags]
        arrays = [stamps.cast(TIMESTAMP), value, *tags]
        return Batch(self._measurement, pa.RecordBatch.from_arrays(arrays, schema=self._measurement.schema))

    def account(self) -> ProbeAccount:
        """What it sent."""
        return replace(self._account)

    def _tag(self, value: str, stamps: pa.Array) -> pa.DictionaryArray:
        if value == TIME:
            return pc.cast(stamps, pa.string()).dictionary_encode()
        return pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(len(stamps), np.int32)), pa.array([harmless(value)], pa.string())
        )

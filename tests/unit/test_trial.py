"""The Test probe sends what its settings say, at its rate, and is counted like any other."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
from doors import Door, nothing, rows
from serving import until

from ingrain.batch import Kind
from ingrain.own.trial import Trial, TrialSettings


def trial(*doors: Door, **settings: Any) -> Trial:
    return Trial(TrialSettings(**{"name": "test.it"} | settings), list(doors), nothing)


def test_records_are_what_the_settings_say() -> None:
    tags = [["host", "web1\x1b"], ["value", "x"], ["at", "$TS"]]
    made = trial(measurement="-7", measurement_type="byte", aggregation_type="GAUGE", tags=tags, message_len=3)
    batch = made.message(1_000_000)
    assert (batch.measurement.name, batch.measurement.kind, batch.measurement.unit) == ("test.it", Kind.GAUGE, "bytes")
    assert rows(batch) == [
        {"name": "test.it", "value": -7, "host": "web1\\x1b", "value_": "x", "at": str(1_000_000 + n)} for n in range(3)
    ]
    assert batch.records.column("timestamp").cast(pa.int64()).to_pylist() == [1_000_000, 1_000_001, 1_000_002]


def test_messages_come_at_the_rate_to_every_pipeline_and_are_counted() -> None:
    one, other = Door("one"), Door("other")
    made = trial(one, other, message_len=10, rate=1000)
    began = time.time_ns()
    made.start()
    until("some messages", lambda: len(other.batches) >= 5)
    made.finish()
    account = made.account()
    assert len(one.rows) == len(other.rows) == account.told == account.received == account.records
    assert account.records == 10 * len(one.batches)
    assert all(batch.oldest - began >= number * 10_000_000 for number, batch in enumerate(one.batches)), (
        "ten milliseconds each, the first at once"
    )

"""Buffer holds records for an interval and passes on one for each measurement and tag set."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from threading import Event
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from chain import LOAD, VOLUME, Chain, Sink, batch_of, chain, tagged
from hypothesis import given, settings
from hypothesis import strategies as st

from ingrain.account import Station
from ingrain.batch import TEXT, Batch
from ingrain.steps import buffer
from ingrain.steps.buffer import Buffer, BufferSettings

HOUR = (Buffer, BufferSettings(interval_s=3600))


def volume(process: str | None, value: int, packets: int = 1, d_port: int = 443) -> dict[str, Any]:
    return {"process": process, "value": value, "packets": packets, "d_port": d_port}


def adds_up(steps: Chain) -> bool:
    station = steps.stations[0]
    return station.in_flight == 0 and station.delivered == sum(len(batch) for batch in steps.batches)


def test_equal_tags_become_one_record_with_the_sum_of_each_value_and_the_first_timestamp() -> None:
    with chain(HOUR) as steps:
        steps.tell(batch_of(VOLUME, [volume("a", 5, 1), volume("b", 7, 2), volume("a", 1, 3)]))
        steps.tell(batch_of(VOLUME, [volume("a", 10, 10), volume("a", 2, 2, d_port=80)]))
        steps.flush()
        rows = [(r["timestamp"], r["process"], r["d_port"], r["value"], r["packets"]) for r in steps.rows]
        assert rows == [(0, "a", 443, 16, 14), (1, "b", 443, 7, 2), (1, "a", 80, 2, 2)]
        assert steps.batches[0].records.schema == VOLUME.schema
        assert steps.stations[0].merged == 2
        assert adds_up(steps)


def test_a_gauge_keeps_its_last_value() -> None:
    with chain(HOUR) as steps:
        steps.tell(batch_of(LOAD, [{"process": "a", "value": 5}, {"process": "b", "value": 1}]))
        steps.tell(batch_of(LOAD, [{"process": "a", "value": 3}]))
        steps.flush()
        assert [(row["process"], row["value"]) for row in steps.rows] == [("a", 3), ("b", 1)]


def test_nothing_is_passed_on_before_the_interval_and_all_of_it_after() -> None:
    with chain((Buffer, BufferSettings(interval_ms=50))) as steps:
        steps.tell(batch_of(VOLUME, [volume("a", 1)]), batch_of(VOLUME, [volume("a", 2)]))
        while not steps.batches:
            time.sleep(0.005)
        assert [row["value"] for row in steps.rows] == [3]
        steps.tell(batch_of(VOLUME, [volume("a", 4)]))
        while len(steps.batches) < 2:
            time.sleep(0.005)
        assert [row["value"] for row in steps.rows] == [3, 4]
        assert adds_up(steps)


def test_measurements_and_schemas_are_kept_apart() -> None:
    narrow = batch_of(VOLUME, [volume("a", 1)])
    narrow = narrow.with_records(narrow.records.drop_columns(["d_port"]))
    with chain(HOUR) as steps:
        steps.tell(batch_of(VOLUME, [volume("a", 1)]), narrow, batch_of(LOAD, [{"process": "a", "value": 1}]), narrow)
        steps.flush()
        assert [(b.measurement.name, b.tags, b.records.column("value").to_pylist()) for b in steps.batches] == [
            ("volume.out", ["process", "d_port"], [1]),
            ("volume.out", ["process"], [2]),
            ("load", ["process"], [1]),
        ]


def test_answers_that_only_look_the_same_are_kept_apart() -> None:
    kind = pa.list_(pa.struct([("type", TEXT), ("data", pa.string())]))
    one = [{"type": "TXT", "data": "a TXT b"}]
    two = [{"type": "TXT", "data": "a"}, {"type": "TXT", "data": "b"}]
    with chain(HOUR) as steps:
        steps.tell(tagged("answers", pa.array([one, two, one, None, []], kind)))
        steps.flush()
        assert [(row["answers"], row["value"]) for row in steps.rows] == [(one, 2), (two, 1), (None, 1), ([], 1)]


BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 2), st.integers(0, 2**40)), max_size=6)
)


@settings(max_examples=50)
@given(BATCHES, st.integers(1, 8), st.integers(1, 4))
def test_sums_are_the_same_however_often_rows_are_summed_up_on_the_way(
    batches: list[list[tuple[str | None, int, int]]], fresh: int, held: int
) -> None:
    bounded = (Buffer, BufferSettings(interval_s=3600, max_records=held))
    with pytest.MonkeyPatch.context() as patch, chain(bounded) as steps:
        patch.setattr(buffer, "FRESH_RECORDS", fresh)
        steps.tell(*(batch_of(VOLUME, [volume(p, v, 1, d_port=d) for p, d, v in rows]) for rows in batches))
        steps.flush()
        expected: Counter[tuple[str | None, int]] = Counter()
        packets: Counter[tuple[str | None, int]] = Counter()
        for process, port, value in (row for rows in batches for row in rows):
            expected[process, port] += value
            packets[process, port] += 1
        got: Counter[tuple[str | None, int]] = Counter()
        got_packets: Counter[tuple[str | None, int]] = Counter()
        for row in steps.rows:
            got[row["process"], row["d_port"]] += row["value"]
            got_packets[row["process"], row["d_port"]] += row["packets"]
        assert (got, got_packets) == (expected, packets)
        assert adds_up(steps)


def many(first: int, count: int) -> Batch:
    return tagged("q_name", pa.array([f"host{number}" for number in range(first, first + count)], TEXT))


def test_more_tag_sets_than_the_bound_leave_early_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "FRESH_RECORDS", 100)
    with chain((Buffer, BufferSettings(interval_s=3600, max_records=250))) as steps:
        steps.tell(*(many(first, 100) for first in range(0, 1000, 100)))
        steps.flush()
        assert steps.stations[0].detail["early"] == 2
        assert [len(batch) for batch in steps.batches] == [400, 400, 200]
        assert len({row["q_name"] for row in steps.rows}) == 1000
        assert adds_up(steps)


def test_more_bytes_than_the_bound_leave_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "FRESH_RECORDS", 10)
    monkeypatch.setattr(buffer, "HELD_BYTES", 10_000)
    with chain(HOUR) as steps:
        steps.tell(tagged("q_name", pa.array([f"{number}" * 2000 for number in range(10)], TEXT)))
        steps.tell(many(0, 1))
        steps.flush()
        assert [len(batch) for batch in steps.batches] == [10, 1]
        assert steps.stations[0].detail["early"] == 1


@pytest.mark.parametrize("more", [{}, {"enable_histograms": True}])
def test_what_is_held_is_bounded_by_bytes_whatever_records_and_measurements_come(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, bool]
) -> None:
    monkeypatch.setattr(buffer, "HELD_BYTES", 1 << 20)
    station = Station("buffer")
    made = Buffer(BufferSettings(interval_s=3600, **more), station, Sink.start([], Event()))
    before, sent = pa.total_allocated_bytes(), 0
    for number in range(0, 4000, 10):
        batch = tagged("q_name", pa.array([f"{n}" * 1000 for n in range(number, number + 10)], TEXT))
        measurement = replace(batch.measurement, name=f"m{number % 70}")
        station.received += len(batch)
        sent += sum(map(len, made.process(Batch(measurement, batch.records))))
        size = batch.records.get_total_buffer_size()
        del batch
        assert pa.total_allocated_bytes() - before <= (1 << 20) + 2 * size
    assert station.detail["early"] > 0
    sent += sum(map(len, made.release()))
    assert sent == 4000 - station.merged + station.made
    assert pa.total_allocated_bytes() <= before


def test_repeating_tag_sets_never_leave_early_and_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "FRESH_RECORDS", 100)
    with chain((Buffer, BufferSettings(interval_s=3600, max_records=250))) as steps:
        steps.tell(*(many(0, 100) for _ in range(50)))
        steps.flush()
        assert steps.stations[0].detail["early"] == 0
        assert [(len(batch), set(batch.records.column("value").to_pylist())) for batch in steps.batches] == [
            (100, {50})
        ]
        assert steps.stations[0].merged == 4900


def test_many_small_batches_are_summed_up_before_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "FRESH_BATCHES", 8)
    with chain(HOUR) as steps:
        steps.tell(*(many(0, 1) for _ in range(30)))
        while steps.stations[0].received < 30:
            time.sleep(0.005)
        assert steps.stations[0].merged >= 16  # before any release
        steps.flush()
        assert [row["value"] for row in steps.rows] == [30]


def test_records_that_cannot_be_summed_up_are_lost_counted_and_the_others_go_on() -> None:
    bad = Batch(VOLUME, pa.record_batch({"timestamp": [0, 1], "value": ["no", "number"], "process": ["a", "a"]}))
    with chain(HOUR) as steps:
        steps.tell(bad, batch_of(VOLUME, [volume("a", 1)]))
        steps.flush()
        steps.flush()
        station = steps.stations[0]
        assert (station.lost, station.delivered, station.in_flight, station.detail["errors"]) == (2, 1, 0, 1)


def test_what_cannot_be_summed_up_is_lost_alone_whatever_batch_it_was_due_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "FRESH_RECORDS", 10)
    bad = Batch(VOLUME, pa.record_batch({"timestamp": [0, 1], "value": ["no", "number"], "process": ["a", "a"]}))
    with chain(HOUR) as steps:
        steps.tell(bad, many(0, 20))
        steps.flush()
        station = steps.stations[0]
        assert (station.received, station.lost, station.delivered, station.in_flight) == (22, 2, 20, 0)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"interval_s": 1, "interval_ms": 1}, "only one of interval_s"),
        ({"interval_s": 0}, ">= 1"),
        ({"interval_s": 10**12}, "<= 86400"),
        ({"interval_ms": 1.5}, "int"),
        ({"max_records": 10**6}, "<= 262144"),
        ({"interval_s": 1, "enable_histograms": 1}, "bool"),
    ],
)
def test_settings_that_make_no_sense_are_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(table, BufferSettings)


def test_without_an_interval_it_is_ingraind_s_ten_seconds() -> None:
    assert BufferSettings().seconds == 10
    assert (BufferSettings(interval_ms=250).seconds, BufferSettings(interval_s=3).seconds) == (0.25, 3)

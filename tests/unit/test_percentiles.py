"""A Buffer tells the percentiles of what it sums up: numpy's own, exact until there are too many values to hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from chain import LOAD, VOLUME, Chain, batch_of, chain, tagged
from hypothesis import given, settings
from hypothesis import strategies as st
from through import through

from ingrain.backends.cardinality import Cardinality
from ingrain.backends.series import series
from ingrain.batch import TEXT, Batch, Kind
from ingrain.steps import buffer, percentiles
from ingrain.steps.buffer import Buffer, BufferSettings
from ingrain.steps.percentiles import PERCENTILES, Distribution

HOUR = (Buffer, BufferSettings(interval_s=3600, enable_histograms=True))

Key = tuple[str | None, int]


def volumes(*rows: tuple[str | None, int, int, int]) -> Batch:
    names = ("process", "d_port", "value", "packets")
    return batch_of(VOLUME, [dict(zip(names, row, strict=True)) for row in rows])


def told(steps: Chain) -> dict[tuple[str, str | None, int], tuple[int, int, int]]:
    """Timestamp, value and packets by measurement and tags; each is there once."""
    found = {}
    for batch in steps.batches:
        batch.records.validate(full=True)
        stamps = batch.records.column("timestamp").cast("int64").to_pylist()
        for stamp, row in zip(stamps, batch.records.drop_columns(["timestamp"]).to_pylist(), strict=True):
            key = batch.measurement.name, row["process"], row["d_port"]
            assert key not in found
            found[key] = stamp, row["value"], row["packets"]
    return found


def adds_up(steps: Chain) -> bool:
    station = steps.stations[0]
    return station.in_flight == 0 and station.delivered == sum(len(batch) for batch in steps.batches)


def test_each_percentile_is_a_measurement_of_ingraind_s_name_beside_the_sum() -> None:
    with chain(HOUR) as steps:
        steps.tell(volumes(*(("curl", 443, number, 1) for number in range(1, 101))), volumes(("ssh", 22, 7, 2)))
        steps.flush()
        found = told(steps)
        station = steps.stations[0]
        assert (station.received, station.merged, station.made, station.delivered) == (101, 99, 12, 14)
        assert adds_up(steps)
    assert found["volume.out", "curl", 443] == (0, 5050, 100)
    assert [found[f"volume.out_{percentile}", "curl", 443] for percentile in PERCENTILES] == [
        (0, percentile, 1) for percentile in (25, 50, 75, 90, 95, 99)
    ]
    assert {found[f"volume.out_{percentile}", "ssh", 22] for percentile in PERCENTILES} == {(0, 7, 2)}
    assert len(found) == 14
    one = steps.batches[1]
    assert (one.measurement.kind, one.measurement.unit) == (Kind.GAUGE, "bytes")
    assert one.records.schema.names == VOLUME.schema.names


def test_statsd_sends_them_as_gauges_of_every_value() -> None:
    with chain(HOUR) as steps:
        steps.tell(volumes(("curl", 443, 5, 1), ("curl", 443, 9, 3)))
        steps.flush()
    lines = [
        line
        for batch in steps.batches
        for told in series(batch, "", Cardinality(99), use_tags=False)
        for line in told.text.to_pylist()
    ]
    assert lines[0] == "volume.out.curl.443:14|c\nvolume.out.packets.curl.443:4|c\n"
    assert lines[1] == "volume.out_25.curl.443:5|g\nvolume.out_25.packets.curl.443:1|g\n"
    assert lines[6] == "volume.out_99.curl.443:9|g\nvolume.out_99.packets.curl.443:3|g\n"


def test_a_gauge_has_none() -> None:
    with chain(HOUR) as steps:
        steps.tell(batch_of(LOAD, [{"process": "a", "value": 5}, {"process": "a", "value": 6}]))
        steps.flush()
        assert [(batch.measurement.name, len(batch)) for batch in steps.batches] == [("load", 1)]


def test_nobody_gets_them_who_has_not_asked() -> None:
    with chain((Buffer, BufferSettings(interval_s=3600))) as steps:
        steps.tell(volumes(("a", 1, 1, 1)))
        steps.flush()
        assert [batch.measurement.name for batch in steps.batches] == ["volume.out"]


def test_answers_are_tags_like_any_other() -> None:
    kind = pa.list_(pa.struct([("type", TEXT), ("data", pa.string())]))
    one = [{"type": "A", "data": "10.0.0.1"}]
    with chain(HOUR) as steps:
        steps.tell(tagged("answers", pa.array([one, None, one], kind)))
        steps.flush()
        by_name = {batch.measurement.name: batch.records.column("answers").to_pylist() for batch in steps.batches}
    assert by_name == {name: [one, None] for name in ["m", *(f"m_{percentile}" for percentile in PERCENTILES)]}


BATCHES = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", None]),
            st.integers(0, 1),
            st.integers(-(1 << 63) + 1, (1 << 63) - 1),
            st.integers(0, 9),
        ),
        max_size=8,
    ),
    max_size=8,
)


def percentiles_of(batches: Iterable[Batch]) -> tuple[dict[tuple[int, Key], tuple[int, int]], bool]:
    """Value and packets by percentile and tags, of records that were added batch by batch; whether some are rounded."""
    values = Distribution(VOLUME)
    for batch in batches:
        values.add(batch.records)
    found = {}
    for percentile, batch in zip(PERCENTILES, values.percentiles(), strict=False):
        for row in batch.records.drop_columns(["timestamp"]).to_pylist():
            found[percentile, (row["process"], row["d_port"])] = row["value"], row["packets"]
    return found, values.rounded


@settings(max_examples=30)
@given(BATCHES)
def test_they_are_numpy_s_nearest_rank_however_often_values_are_added(
    batches: list[list[tuple[str | None, int, int, int]]],
) -> None:
    seen: defaultdict[Key, list[tuple[int, int]]] = defaultdict(list)
    for process, port, value, packets in (row for rows in batches for row in rows):
        seen[process, port].append((value, packets))
    # "inverted_cdf" is the least value that at least so many percent are not above
    expected = {
        (percentile, key): tuple(
            np.percentile(column, percentile, method="inverted_cdf") for column in np.array(rows).T
        )
        for percentile in PERCENTILES
        for key, rows in seen.items()
    }
    assert percentiles_of(volumes(*rows) for rows in batches) == (expected, False)


@settings(max_examples=50)
@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=50))
def test_beyond_what_is_held_exactly_they_are_within_eight_per_mille(values: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(percentiles, "EXACT_PAIRS", 0)
        found, rounded = percentiles_of([volumes(*(("a", 1, value, 1) for value in values))])
    assert rounded
    for percentile in PERCENTILES:
        exact = int(np.percentile(values, percentile, method="inverted_cdf"))
        got, _ = found[percentile, ("a", 1)]
        assert abs(got - exact) <= abs(exact) * 0.008
        assert got == exact or abs(exact) > 127


def test_sums_that_are_made_on_the_way_are_not_taken_for_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "FRESH_RECORDS", 2)
    with chain(HOUR) as steps:
        steps.tell(*(volumes(("a", 1, number, 1), ("b", 1, 1, 1)) for number in range(1, 101)))
        steps.flush()
        found = told(steps)
        assert adds_up(steps)
    assert found["volume.out", "a", 1] == (0, 5050, 100)
    assert [found[f"volume.out_{percentile}", "a", 1][1] for percentile in PERCENTILES] == [25, 50, 75, 90, 95, 99]


def test_memory_is_bounded_whatever_the_values_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "FRESH_RECORDS", 1000)
    monkeypatch.setattr(percentiles, "EXACT_PAIRS", 2000)
    values = np.random.default_rng(7).integers(1 << 10, 1 << 20, 10_000)
    with chain(HOUR) as steps:
        for part in values.reshape(10, 1000):
            steps.tell(volumes(*(("a", 1, int(value), 1) for value in part)))
        steps.flush()
        found = told(steps)
        assert (steps.stations[0].detail["early"], steps.stations[0].detail["rounded"]) == (0, 1)
    median = float(np.percentile(values, 50))
    assert abs(found["volume.out_50", "a", 1][1] - median) < median * 0.01


def test_too_many_values_of_too_many_tag_sets_leave_early_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "FRESH_RECORDS", 100)
    monkeypatch.setattr(buffer, "HELD_RECORDS", 250)
    with chain(HOUR) as steps:
        steps.tell(*(volumes(*(("a", n % 9, first + n, 1) for n in range(100))) for first in range(0, 1000, 100)))
        steps.flush()
        assert steps.stations[0].detail["early"] > 0
        sums = [batch.records.column("value") for batch in steps.batches if batch.measurement.name == "volume.out"]
        assert sum(sum(column.to_pylist()) for column in sums) == sum(range(100)) * 10 + 100 * sum(range(0, 1000, 100))
        assert adds_up(steps)


def test_they_reach_a_backend_through_a_pipeline(tmp_path: Path) -> None:
    with through(tmp_path, 'type = "Buffer"\ninterval_s = 3600\nenable_histograms = true') as run:
        run.pipeline.put(volumes(*(("curl", 443, number, 1) for number in range(1, 11))))
    assert [row["value"] for row in run.rows["volume.out"]] == [55]
    assert [row["value"] for percentile in PERCENTILES for row in run.rows[f"volume.out_{percentile}"]] == [
        3,
        5,
        8,
        9,
        10,
        10,
    ]
    assert (run.stations[0].made, run.stations[1].received) == (6, 7)

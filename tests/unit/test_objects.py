"""Objects: every record is in exactly one, in time order, named by measurement and hour; memory is bounded."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archived import HOUR, NOON, archive, objects, rows
from chain import LOAD, VOLUME, batch_of, tagged
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import until
from spooling import spool

from ingrain.account import Station
from ingrain.backends import layout
from ingrain.backends import objects as module
from ingrain.backends.archive import Archive, ArchiveSettings
from ingrain.backends.spool import Spooled
from ingrain.batch import TEXT, TIMESTAMP, Batch, Column, Measurement
from ingrain.columns import compact
from ingrain.stage import Flush

NAME = re.compile(
    r"measurement=(?P<measurement>[^/]+)/date=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)/"
    r"(?P<host>[0-9A-Za-z._-]+)-(?P<first>\d+)-[0-9a-f]{8}-(?P<sequence>\d+)\.(parquet|jsonl\.gz)"
)

ANSWERS = pa.list_(pa.struct([("type", TEXT), ("data", TEXT), ("ttl", pa.uint32())]))
EVERYTHING = Measurement(
    name="everything",
    about="each type that a tag may have",
    tags=(
        Column("text", TEXT, ""),
        Column("list", pa.list_(pa.string()), ""),
        Column("words", pa.list_(TEXT), ""),
        Column("answers", ANSWERS, ""),
        Column("u16", pa.uint16(), ""),
        Column("u64", pa.uint64(), ""),
    ),
)
TEXTS = st.none() | st.text() | st.sampled_from(["x|c\nfoo:1", '"}\n{"a":1', "\x00", "../.."])
STAMPS = st.integers(NOON - 2 * HOUR, NOON + 2 * HOUR) | st.integers(NOON, NOON + 50)
ANYTHING = st.fixed_dictionaries(
    {
        "timestamp": STAMPS,
        "value": st.integers(-(1 << 63), (1 << 63) - 1),
        "text": TEXTS,
        "list": st.none() | st.lists(TEXTS, max_size=3),
        "words": st.none() | st.lists(TEXTS, max_size=3),
        "answers": st.none()
        | st.lists(
            st.fixed_dictionaries({"type": TEXTS, "data": TEXTS, "ttl": st.none() | st.integers(0, (1 << 32) - 1)}),
            max_size=2,
        ),
        "u16": st.none() | st.integers(0, 65535),
        "u64": st.none() | st.integers(0, (1 << 64) - 1),
    }
)


def volume(stamp: int, name: str = "curl") -> dict[str, Any]:
    return {"timestamp": stamp, "value": stamp % 1000, "packets": 1, "process": name, "d_port": 443}


def key_of(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 8)
    monkeypatch.setattr(module, "KEEP_ROWS", 4)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
@pytest.mark.parametrize("group", [(8, 4), (1 << 16, 1 << 15)])
def test_every_record_comes_back_as_it_was_in_an_object_of_its_hour_in_time_order(
    form: str, group: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", group[0])
    monkeypatch.setattr(module, "KEEP_ROWS", group[1])

    @given(st.lists(st.lists(ANYTHING, max_size=12), max_size=6))
    @settings(max_examples=40)
    def check(batches: list[list[dict[str, Any]]]) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with archive(folder, format=form) as backend:
                for some in batches:
                    backend.deliver(batch_of(EVERYTHING, some))
            sent = [row for some in batches for row in some]
            assert backend.station.delivered == len(sent)
            found = []
            for path in objects(folder):
                read = rows(path)
                stamps = [row["timestamp"] for row in read]
                assert stamps == sorted(stamps)
                told = NAME.fullmatch(str(path.relative_to(folder)))
                assert told
                assert int(told["first"]) == stamps[0]
                for stamp in (stamps[0], stamps[-1]):
                    hour = datetime.fromtimestamp(stamp // 1_000_000_000, UTC)
                    assert (told["date"], told["hour"]) == (f"{hour:%Y-%m-%d}", f"{hour:%H}")
                if form == "jsonl":
                    assert {row.pop("measurement") for row in read} == {"everything"}
                found += read
            assert Counter(map(key_of, found)) == Counter(map(key_of, sent))

    check()


def test_columns_are_typed_and_compressed_with_zstd(tmp_path: Path) -> None:
    with archive(tmp_path) as backend:
        backend.deliver(batch_of(VOLUME, [volume(NOON)]))
    (path,) = objects(tmp_path)
    file = pq.ParquetFile(path)
    assert file.schema_arrow.remove_metadata() == VOLUME.schema
    assert file.schema_arrow.field("timestamp").type == TIMESTAMP
    group = file.metadata.row_group(0)
    chunks = [group.column(at) for at in range(group.num_columns)]
    assert {chunk.compression for chunk in chunks} == {"ZSTD"}
    process = next(chunk for chunk in chunks if chunk.path_in_schema == "process")
    assert "RLE_DICTIONARY" in process.encodings
    assert chunks[0].statistics.min.timestamp() == NOON / 1e9, "readers skip row groups by time"


def test_each_measurement_and_hour_has_an_object_of_its_own(tmp_path: Path) -> None:
    with archive(tmp_path) as backend:
        backend.deliver(batch_of(VOLUME, [volume(NOON + n * HOUR // 2) for n in range(5)]))
        backend.deliver(batch_of(LOAD, [{"timestamp": NOON, "value": 1, "process": "x"}]))
    found = {str(path.relative_to(tmp_path)).rpartition("/")[0]: len(rows(path)) for path in objects(tmp_path)}
    assert found == {
        "measurement=load/date=2025-03-01/hour=12": 1,
        "measurement=volume.out/date=2025-03-01/hour=12": 2,
        "measurement=volume.out/date=2025-03-01/hour=13": 2,
        "measurement=volume.out/date=2025-03-01/hour=14": 1,
    }
    assert backend.station.detail["objects"] == 4


def test_records_that_are_apart_by_less_than_what_is_held_back_make_one_object(tmp_path: Path, small: None) -> None:
    with archive(tmp_path) as backend:
        for start in range(0, 100, 2):  # two CPUs in turns, each a little ahead of the other
            backend.deliver(batch_of(VOLUME, [volume(NOON + start + 1), volume(NOON + start + 3)]))
            backend.deliver(batch_of(VOLUME, [volume(NOON + start), volume(NOON + start + 2)]))
    (path,) = objects(tmp_path)
    stamps = [row["timestamp"] for row in rows(path)]
    assert stamps == sorted(stamps)
    assert len(stamps) == 200
    assert pq.ParquetFile(path).num_row_groups > 10


def test_records_that_come_far_too_late_make_objects_of_their_own(tmp_path: Path, small: None) -> None:
    with archive(tmp_path) as backend:
        for start in range(1000, 1100, 10):
            backend.deliver(batch_of(VOLUME, [volume(NOON + start + n) for n in range(10)]))
        backend.deliver(batch_of(VOLUME, [volume(NOON + n) for n in range(10)]))
    found = [[row["timestamp"] - NOON for row in rows(path)] for path in objects(tmp_path)]
    assert sorted(found) == [list(range(10)), list(range(1000, 1100))]


def test_records_of_the_same_time_stay_in_the_order_they_came(tmp_path: Path, small: None) -> None:
    with archive(tmp_path) as backend:
        backend.deliver(batch_of(VOLUME, [volume(NOON + 1, "last")]))
        backend.deliver(batch_of(VOLUME, [volume(NOON, f"p{n}") for n in range(6)]))
    (path,) = objects(tmp_path)
    assert [row["process"] for row in rows(path)] == [*(f"p{n}" for n in range(6)), "last"]


def test_an_object_is_rolled_when_it_is_large_enough(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    with archive(tmp_path, roll_mb=1) as backend:
        for start in range(20):
            stamps = pa.array(NOON + start * 65536 + np.arange(65536), TIMESTAMP)
            noise = pa.array(random.integers(0, 1 << 62, 65536))  # does not compress
            columns = [stamps, noise, noise, pa.nulls(65536, TEXT), pa.nulls(65536, pa.uint16())]
            backend.deliver(Batch(VOLUME, pa.RecordBatch.from_arrays(columns, schema=VOLUME.schema)))
    sizes = [path.stat().st_size for path in objects(tmp_path)]
    assert len(sizes) > 10
    assert all(1 << 20 <= size < 3 << 20 for size in sizes[:-1])
    assert backend.station.detail["bytes"] == sum(sizes)
    assert backend.station.delivered == 20 * 65536


def test_an_object_is_rolled_when_it_is_old_enough_and_the_agent_need_not_stop(tmp_path: Path) -> None:
    actor = Archive.start(ArchiveSettings(path=str(tmp_path), roll_s=1), Station("archive"))
    try:
        actor.tell(batch_of(VOLUME, [volume(NOON)]))
        while not [path for path in objects(tmp_path) if path.suffix == ".parquet"]:
            time.sleep(0.02)
        actor.tell(batch_of(VOLUME, [volume(NOON + 1)]))
        flush = Flush()
        actor.tell(flush)
        assert flush.done.wait(60)
    finally:
        actor.stop()
    assert [len(rows(path)) for path in objects(tmp_path)] == [1, 1]


def test_what_is_held_is_bounded_by_bytes_whatever_the_records_weigh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 1 << 20)
    with archive(tmp_path) as backend:
        for start in range(40):
            column = pa.array([[f"{start}-{n}" + "x" * 2000] for n in range(100)])
            backend.deliver(tagged("answers", column))
            assert sum(one.bytes for one in backend._partitions.values()) <= 1 << 20
    assert sum(len(rows(path)) for path in objects(tmp_path)) == backend.station.delivered == 4000


def test_a_clock_that_jumps_does_not_open_files_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTITIONS", 5)
    with archive(tmp_path) as backend:
        for hour in range(30):
            backend.deliver(batch_of(VOLUME, [volume(NOON + hour * HOUR)]))
            assert len(backend._partitions) <= 5
    assert len(objects(tmp_path)) == 30


def test_what_is_held_back_does_not_keep_every_name_that_ever_came(tmp_path: Path, small: None) -> None:
    with archive(tmp_path) as backend:
        for start in range(50):
            backend.deliver(
                batch_of(VOLUME, [volume(NOON + start * 10 + n, f"process-{start}-{n}") for n in range(10)])
            )
        (partition,) = backend._partitions.values()
        for records in partition._held:
            assert len(records.column("process").dictionary) <= 10


@given(st.lists(st.none() | st.sampled_from("abc"), min_size=1), st.lists(st.sampled_from("abcxyz"), unique=True))
def test_compacting_changes_no_value(values: list[str | None], extra: list[str]) -> None:
    words = pa.array([*extra, "a", "b", "c", None][: len(extra) + 4])
    at = {value: number for number, value in enumerate(words.to_pylist())}
    column = pa.DictionaryArray.from_arrays(pa.array([at[one] for one in values], pa.int32()), words)
    batch = pa.RecordBatch.from_arrays([column], ["x"])
    after = compact(batch)
    assert after.schema == batch.schema
    assert after.column(0).to_pylist() == values
    assert set(after.column(0).dictionary.to_pylist()) <= set(values)


@given(st.lists(st.none() | st.lists(st.none() | st.fixed_dictionaries({"data": st.none() | st.sampled_from("abc")}))))
def test_compacting_changes_no_value_in_lists_of_structs(
    values: list[list[dict[str, str | None] | None] | None],
) -> None:
    kind = pa.list_(pa.struct([("data", TEXT)]))
    batch = pa.RecordBatch.from_arrays([pa.array([[{"data": "z"}], *values, [{"data": "y"}]], kind)], ["x"])
    after = compact(batch.slice(1, len(values)))
    assert after.schema == batch.schema
    assert after.column(0).to_pylist() == values
    used = {item["data"] for one in values if one for item in one if item and item["data"]}
    assert set(after.column(0).values.field("data").dictionary.to_pylist()) == used


def test_many_small_batches_are_put_together_while_they_wait(tmp_path: Path) -> None:
    with archive(tmp_path) as backend:
        for n in range(1000):
            backend.deliver(batch_of(VOLUME, [volume(NOON + n, f"p{n % 7}")]))
        (partition,) = backend._partitions.values()
        assert len(partition._held) < 300
    (path,) = objects(tmp_path)
    assert [row["timestamp"] - NOON for row in rows(path)] == list(range(1000))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("volume.out", "volume.out"),
        ("../../etc", "_._.._etc"),
        ("..", "_."),
        ("", "_"),
        ("a/b\0c\nd=é", "a_b_c_d__"),
    ],
)
def test_no_name_of_a_host_or_measurement_leaves_its_folder(text: str, expected: str) -> None:
    assert layout.path_part(text) == expected


def test_hostile_names_of_host_and_measurement_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "../../" + "h" * 300)
    hostile = Measurement(name="../../../tmp/x\n", about="", tags=())
    with archive(tmp_path / "archive") as backend:
        backend.deliver(batch_of(hostile, [{"timestamp": NOON, "value": 1}]))
    (path,) = objects(tmp_path)
    assert NAME.fullmatch(str(path.relative_to(tmp_path / "archive")))


def test_what_cannot_be_put_into_an_object_is_lost_and_the_others_are_written(tmp_path: Path) -> None:
    actor = Archive.start(ArchiveSettings(path=str(tmp_path)), station := Station("archive"))
    try:
        actor.tell(tagged("tag", pa.array([b"x"])))
        actor.tell(tagged("tag", interval()))
        actor.tell(batch_of(VOLUME, [volume(NOON)]))
        flush = Flush()
        actor.tell(flush)
        assert flush.done.wait(60)
    finally:
        actor.stop()
    assert (station.received, station.delivered, station.lost) == (3, 2, 1)
    assert all(path.suffix == ".parquet" for path in objects(tmp_path))


def test_what_cannot_be_written_is_lost_alone_whatever_batch_it_was_due_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PARTITIONS", 1)
    station = Station("archive")
    actor = Archive.start(ArchiveSettings(path=str(tmp_path)), station)
    try:
        actor.tell(tagged("tag", interval()))
        actor.tell(batch_of(VOLUME, [volume(NOON + number) for number in range(20)]))
        actor.tell(flush := Flush())
        assert flush.done.wait(60)
    finally:
        actor.stop()
    assert (station.received, station.delivered, station.lost, station.in_flight) == (21, 20, 1, 0)
    assert station.detail["errors"] == 1


def interval() -> pa.Array:
    """A column of a type that Parquet does not have."""
    return pa.array([None], pa.month_day_nano_interval())


def test_a_measurement_of_any_name_fits_every_place_that_objects_go_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 64)
    names = [f"osquery.{'n' * length}" for length in (10, 92, 93, 200, 5000)] + [f"osquery.{'n' * 4999}m"]
    keys = [layout.key(name, (1 << 63) - 1, "jsonl") for name in names]
    assert len({key.partition("/")[0] for key in keys}) == len(names), "each has a folder of its own"
    for name, key in zip(names, keys, strict=True):
        assert NAME.fullmatch(key)
        assert len(key) <= layout.KEY_BYTES
        assert (f"measurement={name}/" in key) == (len(name) <= 100)
        assert layout.first(key) == (1 << 63) - 1
        assert len(Spooled((1 << 63) - 1, 10**12 - 1, 10**15 - 1, key).name) <= 255
    assert "/" + "h" * 64 + "-" in keys[0]
    with archive(tmp_path / "archive") as backend, spool(tmp_path / "spool") as made:
        for name in names:
            measurement = replace(LOAD, name=name)
            backend.deliver(batch_of(measurement, [{"timestamp": NOON, "value": 1, "process": "a"}]))
            made.commit(made.create(), layout.key(name, NOON, "parquet"), 10**6)
        assert len(list(made)) == len(names)
    assert len(objects(tmp_path / "archive")) == len(names)


def test_an_archive_that_ends_before_it_is_flushed_leaves_no_half_object(tmp_path: Path, small: None) -> None:
    station = Station("archive")
    actor = Archive.start(ArchiveSettings(path=str(tmp_path)), station)
    actor.tell(batch_of(VOLUME, [volume(NOON + number) for number in range(20)]))
    until("an object in the making", lambda: list(tmp_path.rglob(".*.tmp")))
    actor.stop()
    assert list(tmp_path.rglob("*.parquet*")) == []
    assert (station.lost, station.detail["not flushed"], station.in_flight) == (20, 20, 0)


def test_two_objects_never_have_the_same_name(tmp_path: Path) -> None:
    assert len({layout.key("m", NOON, "parquet") for _ in range(100)}) == 100

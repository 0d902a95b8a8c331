"""Records that wait for the name of their container: told once each, with it where it came in time, within bounds."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ingrain.batch import TIMESTAMP, Batch, Column, Measurement
from ingrain.containers import COLUMNS, Containers, waiting
from ingrain.containers.paths import Place
from ingrain.containers.record import Record
from ingrain.containers.waiting import Waiting

MEASUREMENT = Measurement("test", "", (Column("cgroup_id", pa.uint64(), ""), *COLUMNS))
BARE = Measurement("bare", "", (Column("uid", pa.uint32(), ""),))


class Found:
    """A folder in the place of the cgroups' mount, and records that are found when a test says so."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.found = threading.Event()
        self.containers = Containers(folder, folder)
        monkeypatch.setattr(self.containers._resolver._records, "find", self._find)
        self.containers.start()
        self.waiting = Waiting(self.containers)

    def cgroup(self, number: int) -> int:
        folder = self._folder / f"docker-{number:064x}.scope"
        folder.mkdir()
        return folder.stat().st_ino

    def batch(self, *cgroup_ids: int) -> Batch:
        """A record of each; its value is its number."""
        ids = np.array(cgroup_ids, np.uint64)
        columns = [
            pa.array(np.arange(len(ids)), TIMESTAMP),
            pa.array(np.arange(len(ids))),
            pa.array(ids, mask=ids == 0),
            *self.containers.columns(ids).values(),
        ]
        return Batch(MEASUREMENT, pa.RecordBatch.from_arrays(columns, schema=MEASUREMENT.schema))

    def _find(self, place: Place) -> Record | None:
        self.found.wait(60)
        return Record(f"name{int(place.container_id or '', 16)}")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Found]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = Found(Path(folder), monkeypatch)
        try:
            yield made
        finally:
            made.found.set()
            made.containers.stop()


def told(batches: Iterator[Batch]) -> list[tuple[int, str | None]]:
    rows: list[dict[str, Any]] = []
    for batch in batches:
        assert batch.records.schema == batch.measurement.schema
        batch.records.validate(full=True)
        rows += batch.records.select(["value", "container"]).to_pylist()
    return [(row["value"], row["container"]) for row in rows]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_only_the_records_of_a_container_that_is_looked_for_wait(place: Found) -> None:
    one, other = place.cgroup(1), place.cgroup(2)
    assert told(place.waiting.pass_on(place.batch(0, one, 0, other, one))) == [(0, None), (2, None)]
    assert told(place.waiting.release()) == []
    place.found.set()
    place.containers.wait(60)
    assert told(place.waiting.release()) == [(1, "name1"), (4, "name1"), (3, "name2")]
    assert told(place.waiting.release_all()) == []
    assert told(place.waiting.pass_on(place.batch(one, other))) == [(0, "name1"), (1, "name2")]
    assert place.containers.late == 0


def test_what_has_waited_too_long_is_told_as_it_is_and_counted_and_what_comes_then_does_not_wait(
    place: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = place.cgroup(1)
    assert told(place.waiting.pass_on(place.batch(one, one))) == []
    monkeypatch.setattr(waiting, "HOLD_S", 0.0)
    assert told(place.waiting.release()) == [(0, None), (1, None)]
    assert place.containers.late == 1
    assert told(place.waiting.pass_on(place.batch(one))) == [(0, None)]
    place.found.set()
    until(lambda: told(place.waiting.pass_on(place.batch(one))) == [(0, "name1")])
    assert place.containers.late == 1


def test_records_of_a_container_keep_their_order(place: Found) -> None:
    one = place.cgroup(1)
    first, second = place.batch(one), place.batch(one, one)
    assert told(place.waiting.pass_on(first)) == []
    place.found.set()
    place.containers.wait(60)
    third = place.batch(one, one, one)
    in_order = [*place.waiting.pass_on(second), *place.waiting.pass_on(third)]
    assert [len(batch) for batch in in_order] == [1, 2, 3]
    assert told(iter(in_order)) == [(n, "name1") for batch in in_order for n in range(len(batch))]


def test_a_name_that_is_found_while_batches_are_told_is_in_all_of_them(place: Found) -> None:
    one = place.cgroup(1)
    made = [place.batch(one) for _ in range(4)]
    place.found.set()
    place.containers.wait(60)
    assert told(iter([*place.waiting.pass_on(*made), *place.waiting.release()])) == [(0, "name1")] * 4


def test_no_container_waits_for_another_and_none_overtakes_itself(place: Found) -> None:
    one, two = place.cgroup(1), place.cgroup(2)
    first, second = place.batch(one, two), place.batch(one)
    assert told(place.waiting.pass_on(first, second)) == []
    known = place.containers._lacks
    place.containers._lacks = lambda cgroup_id: cgroup_id != one and known(cgroup_id)  # type: ignore[method-assign]
    third = place.batch(one, one)
    passed = [
        batch.records.column("value").to_pylist() for batch in (*place.waiting.pass_on(third), *place.waiting.release())
    ]
    assert passed == [[0], [0], [0, 1]]
    assert [value for value, _name in told(place.waiting.release_all())] == [1]


def test_who_does_not_tell_containers_does_not_wait_for_their_names(place: Found) -> None:
    batch = place.batch(place.cgroup(1))
    bare = batch.with_records(batch.records.select(["timestamp", "value", "cgroup_id"]))
    assert [len(one) for one in place.waiting.pass_on(bare)] == [1]


def test_what_waits_is_bounded(place: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [place.cgroup(number) for number in range(20)]
    monkeypatch.setattr(waiting, "HOLD_BYTES", 10 * place.batch(ids[0]).records.get_total_buffer_size())
    at_once = [len(told(place.waiting.pass_on(place.batch(one)))) for one in ids]
    assert at_once[0] == 0
    assert sum(at_once) == place.containers.late > 0
    assert sum(at_once) + len(told(place.waiting.release_all())) == len(ids)
    assert told(place.waiting.pass_on(place.batch(place.cgroup(99)))) == [], "what was released still takes room"


def test_all_that_waits_is_told_at_the_end(place: Found) -> None:
    one = place.cgroup(1)
    for _ in range(3):
        assert told(place.waiting.pass_on(place.batch(one))) == []
    assert told(place.waiting.release_all()) == [(0, None)] * 3


def test_records_that_tell_no_cgroup_do_not_wait(place: Found) -> None:
    place.batch(place.cgroup(1))
    assert place.containers.lacking
    bare = pa.RecordBatch.from_arrays(
        [pa.array([1], TIMESTAMP), pa.array([1]), pa.array([0], pa.uint32())], schema=BARE.schema
    )
    assert [len(batch) for batch in place.waiting.pass_on(Batch(BARE, bare))] == [1]

"""The bound on memory: while it is reached a pipeline takes a batch at a time and counts the rest, and holds less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from agents import OWN, agent
from archived import archive, objects, rows
from chain import LOAD, VOLUME, batch_of, chain
from serving import until

from ingrain.backends.archive import ArchiveSettings
from ingrain.config.model import PipelineConfig
from ingrain.pipeline import Pipeline
from ingrain.room import Room, bytes_of, resident
from ingrain.stage import Relieve
from ingrain.steps.buffer import Buffer, BufferSettings


def pipeline(folder: Path, room: Room) -> Pipeline:
    made = Pipeline(PipelineConfig("test", "Archive", ArchiveSettings(path=str(folder)), []), room=room)
    made.fill()
    return made


@pytest.mark.parametrize(("size", "count"), [("150M", 150 << 20), ("1G", 1 << 30), ("65536K", 64 << 20)])
def test_a_size_is_told_in_powers_of_two(size: str, count: int) -> None:
    assert bytes_of(size) == count


@pytest.mark.parametrize("size", ["", "150", "0M", "-1M", "1.5G", "150MB", "150m", " 150M", "9999999999K"])
def test_what_is_no_size_is_refused_with_what_one_is(size: str) -> None:
    with pytest.raises(ValueError, match="like 150M or 1G"):
        bytes_of(size)


def test_a_reload_with_what_is_no_size_changes_nothing(tmp_path: Path) -> None:
    toml = OWN.format(socket=tmp_path / "status.sock")
    console = '[pipeline.out.config]\nbackend = "Console"\n'
    with agent(toml + console, tmp_path) as running:
        said = toml.replace("[agent]", '[agent]\nmemory_limit = "100MB"').replace('"out"', '"out", "more"')
        running.reload(said + console + console.replace("out", "more"), "the configuration is refused")
    assert "config.toml:2: agent.memory_limit: expected a size" in running.said
    assert list(running.account["pipelines"]) == ["out"]


def test_without_a_limit_there_is_always_room() -> None:
    assert not Room().full


def test_there_is_no_room_from_the_moment_that_the_kernel_counts_as_much_as_the_limit() -> None:
    code = """
from ingrain.room import Room, resident
room = Room(resident() + (64 << 20))
print(room.full, room.make(), room.full_within(60))
held = bytearray(64 << 20)
print(room.full, room.make(), room.full_within(60))
del held
print(room.full, room.full_within(60))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == ["False", "False", "False", "True", "True", "True", "False", "True"]


def test_whether_there_is_room_is_known_also_when_no_file_can_be_opened_any_more() -> None:
    code = """
import resource
from ingrain.room import Room
room = Room(1 << 40)
print(room.full)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
print(room.full)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == ["False", "False"]


def test_where_memory_is_tight_a_pipeline_takes_a_batch_at_a_time_and_counts_what_it_refuses(tmp_path: Path) -> None:
    room = Room(1)
    made = pipeline(tmp_path, room)
    taken = [made.offer(batch_of(LOAD, [{"value": n, "process": "a"}] * 10)) for n in range(5)]
    assert taken == [True, False, False, False, False]
    made.begin()
    until("the batch to be taken", lambda: not made.depth)
    assert made.offer(batch_of(LOAD, [{"value": 5, "process": "a"}] * 10)), "fresh records flow"
    room.limit = resident() + (1 << 30)
    assert made.offer(batch_of(LOAD, [{"value": 6, "process": "a"}] * 10)), "all is taken when there is room again"
    made.flush()
    assert made.flushed(60)
    made.finish(0)
    (station,) = made.stations
    assert (station.received, station.refused, station.delivered) == (30, 40, 30)


def test_a_buffer_passes_on_what_it_holds_where_memory_is_tight() -> None:
    with chain((Buffer, BufferSettings(interval_s=3600))) as made:
        made.tell(batch_of(VOLUME, [{"value": n, "packets": 1, "process": "a"} for n in range(10)]))
        made.refs[0].tell(Relieve())
        (row,) = until("the sum", lambda: made.rows)
    assert (row["value"], row["packets"]) == (45, 10)


def test_an_archive_writes_most_of_what_it_holds_where_memory_is_tight_and_loses_nothing(tmp_path: Path) -> None:
    with archive(tmp_path) as backend:
        backend.deliver(batch_of(LOAD, [{"value": n, "process": "a"} for n in range(1000)]))
        backend.relieve()
        assert sum(one.rows for one in backend._partitions.values()) == 250
        backend.deliver(batch_of(VOLUME, [{"value": 1, "packets": 1, "process": "a"}] * 1000))
        for _ in range(8):  # until nothing is held, and once more
            backend.relieve()
        assert [one.rows for one in backend._partitions.values()] == [0, 0]
    (load,) = [path for path in objects(tmp_path) if "=load" in str(path)]
    assert sum(len(rows(path)) for path in objects(tmp_path)) == 2000
    assert sorted(row["value"] for row in rows(load)) == list(range(1000))

"""A stage that dies is followed by another; what waited for it is kept, what it held is counted; others go on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from archived import rows
from chain import tagged

from ingrain.account import Station
from ingrain.backends import BACKENDS, backoff
from ingrain.backends.archive import Archive, ArchiveSettings
from ingrain.backends.http import HTTP, HTTPSettings
from ingrain.batch import TEXT, Batch
from ingrain.config.model import PipelineConfig
from ingrain.pipeline import DEATHS, Pipeline, finish
from ingrain.stage import Downstream, Step
from ingrain.steps import STEPS
from ingrain.steps.buffer import Buffer, BufferSettings
from ingrain.steps.whitelist import WhitelistSettings


class Panic(BaseException):
    """What libraries written in other languages raise: no Exception."""


class Mortal(Step):
    """Dies of a batch whose first process is `die`. `gate` holds it up before every batch."""

    gate: ClassVar[threading.Event]
    seen: ClassVar[list[str]]

    def __init__(self, settings: Any, station: Station, downstream: Downstream) -> None:
        super().__init__(station, downstream)
        del settings

    def process(self, batch: Batch) -> Iterable[Batch]:
        self.seen.append(first := batch.records.column("process")[0].as_py())
        self.gate.wait()
        if first == "die":
            raise Panic
        yield batch


class MortalAtFlush(Mortal):
    """Dies of every flush."""

    def release(self) -> Iterable[Batch]:
        raise Panic


class MortalArchive(Archive):
    """An Archive that dies of such a batch."""

    def deliver(self, batch: Batch) -> None:
        if batch.records.column("process")[0].as_py() == "die":
            raise Panic
        super().deliver(batch)


class MortalHTTP(HTTP):
    """An HTTP that dies of every batch."""

    def deliver(self, batch: Batch) -> None:
        raise Panic(batch)


class Reluctant(Mortal):
    """Can be constructed the first time, and again when it was tried `patience` times more."""

    tries: ClassVar[int] = 0
    patience: ClassVar[int] = 0

    def __init__(self, settings: Any, station: Station, downstream: Downstream) -> None:
        Reluctant.tries += 1
        if Reluctant.tries not in (1, 1 + self.patience):
            raise OSError("not now")
        super().__init__(settings, station, downstream)


Make = Callable[..., Pipeline]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """`make(step, ...)`: a pipeline of these steps that ends in an archive."""
    made: list[Pipeline] = []
    Mortal.gate, Mortal.seen, Reluctant.tries = threading.Event(), [], 0
    Mortal.gate.set()
    for kind in (Mortal, MortalAtFlush, Reluctant):
        monkeypatch.setitem(STEPS, kind.__name__, f"{__name__}:{kind.__name__}")
    monkeypatch.setitem(BACKENDS, "MortalArchive", f"{__name__}:MortalArchive")

    def _make(*steps: str, backend: str = "Archive", name: str = "out") -> Pipeline:
        settings: dict[str, Any] = {
            "Buffer": BufferSettings(interval_s=3600),
            "Whitelist": WhitelistSettings(allow=["process"]),
        }
        chain = [(step, settings.get(step)) for step in steps]
        pipeline = Pipeline(PipelineConfig(name, backend, ArchiveSettings(path=str(tmp_path / name)), chain))
        pipeline.fill()
        pipeline.begin()
        made.append(pipeline)
        return pipeline

    yield _make
    Mortal.gate.set()
    for pipeline in made:
        with suppress(Exception):
            pipeline.finish(time.monotonic())


def records(count: int, name: str = "a") -> Batch:
    return tagged("process", pa.array([name] * count, TEXT))


def archived(tmp_path: Path, name: str = "out") -> int:
    return sum(len(rows(path)) for path in (tmp_path / name).rglob("[!.]*.parquet"))


def until(true: Callable[[], Any]) -> None:
    while not true():  # the suite's time limit is what ends this where a promise is broken
        time.sleep(0.002)


def mended(pipeline: Pipeline, number: int = 0) -> None:
    """Wait until the stage has died, then have it mended."""
    until(lambda: pipeline._posts[number].vacant)
    pipeline.mend()


def adds_up(pipeline: Pipeline, offered: int) -> None:
    first = pipeline.stations[0]
    assert first.received + first.refused == offered
    for before, after in zip(pipeline.stations, pipeline.stations[1:], strict=False):
        assert after.received + after.refused == before.delivered
    for station in pipeline.stations:
        assert station.in_flight == 0, station


def test_what_waits_for_a_stage_that_dies_is_handled_by_the_next_one(make: Make, tmp_path: Path) -> None:
    pipeline = make("Mortal")
    Mortal.gate.clear()
    assert pipeline.offer(records(7, "die"))
    until(lambda: Mortal.seen)
    assert all(pipeline.offer(records(10)) for _ in range(20))
    Mortal.gate.set()
    mended(pipeline)
    finish([pipeline], 60)
    station = pipeline.stations[0]
    assert (station.received, station.delivered, station.lost) == (207, 200, 7)
    assert station.detail["died with it"] == 7
    assert archived(tmp_path) == 200
    adds_up(pipeline, 207)


def test_it_dies_alone_and_says_so(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dying, other = make("Mortal"), make("Mortal", name="other")
    dying.offer(records(1, "die"))
    until(lambda: dying._posts[0].vacant)
    other.offer(records(5))
    finish([other], 60)
    assert archived(tmp_path, "other") == 5
    with caplog.at_level(logging.ERROR):
        dying.mend()
    assert "pipeline out: Mortal has died, and another takes its place; 1 records that it held are lost" in caplog.text
    assert dying.deaths == 1


def test_a_stage_that_dies_takes_nothing_from_the_one_behind_it(make: Make, tmp_path: Path) -> None:
    pipeline = make("Mortal", "Buffer")
    for batch in (records(6), records(4, "die")):
        pipeline.offer(batch)
    mended(pipeline)
    pipeline.offer(records(2))
    finish([pipeline], 60)
    adds_up(pipeline, 12)
    assert [(station.merged, station.lost) for station in pipeline.stations] == [(0, 4), (7, 0), (0, 0)]
    assert archived(tmp_path) == 1


def test_a_buffer_that_dies_costs_what_it_held(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make("Buffer")
    pipeline.offer(records(6))
    until(lambda: pipeline.stations[0].received == 6)

    def panic(*_: object) -> None:
        raise Panic

    monkeypatch.setattr(Buffer, "process", panic)
    pipeline.offer(records(4))
    until(lambda: pipeline._posts[0].vacant)
    monkeypatch.undo()
    pipeline.mend()
    pipeline.offer(records(2))
    finish([pipeline], 60)
    adds_up(pipeline, 12)
    assert (pipeline.stations[0].lost, pipeline.stations[0].merged, archived(tmp_path)) == (10, 1, 1)


def test_a_stage_that_waits_for_room_behind_it_goes_on_when_there_is_a_next_one(make: Make, tmp_path: Path) -> None:
    pipeline = make("Whitelist", "Mortal")
    pipeline._posts[1].inbox.capacity = 10
    pipeline.offer(records(8, "die"))
    until(lambda: pipeline._posts[1].vacant)
    for _ in range(5):
        pipeline.offer(records(8))
    until(lambda: pipeline.stations[0].in_flight == 8 or pipeline._posts[1].inbox.depth == 8)
    pipeline.mend()
    finish([pipeline], 60)
    adds_up(pipeline, 48)
    assert archived(tmp_path) == 40


def test_a_backend_that_dies_leaves_nothing_open_and_what_it_had_not_delivered_is_lost(
    make: Make, tmp_path: Path
) -> None:
    pipeline = make(backend="MortalArchive")
    pipeline.offer(records(5))
    pipeline.offer(records(3, "die"))
    pipeline.offer(records(2))
    mended(pipeline)
    finish([pipeline], 60)
    station = pipeline.stations[0]
    assert (station.received, station.delivered, station.lost) == (10, 2, 8)
    assert archived(tmp_path) == 2
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_flush_goes_on_through_a_stage_that_dies_of_it(make: Make, tmp_path: Path) -> None:
    pipeline = make("Whitelist", "MortalAtFlush", "Whitelist")
    pipeline.offer(records(3))
    pipeline.flush()
    assert pipeline.finish(time.monotonic() + 60)
    assert archived(tmp_path) == 3


def test_one_that_dies_again_and_again_stops_its_pipeline_only_and_loudly(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline, other = make("Whitelist", "Mortal", "Whitelist"), make("Mortal", name="other")
    pipeline.offer(records(9))
    for _ in range(DEATHS + 1):
        assert not pipeline.stopped
        pipeline.offer(records(2, "die"))
        until(lambda: pipeline._posts[1].inbox.empty() and pipeline.stations[0].in_flight == 0)
        mended(pipeline, 1)
    assert f"pipeline out: Mortal died {DEATHS + 1} times within a minute" in pipeline.stopped
    assert [record.levelno for record in caplog.records][-1] == logging.CRITICAL
    until(lambda: archived(tmp_path) == 9)  # what was behind it is delivered at once
    assert not pipeline.offer(records(4))
    pipeline.mend()
    assert other.offer(records(5))
    finish([pipeline, other], 60)
    adds_up(pipeline, 9 + 2 * (DEATHS + 1) + 4)
    assert pipeline.stations[0].refused == 4
    assert archived(tmp_path, "other") == 5


def test_a_pipeline_that_is_given_up_leaves_no_record_in_flight(make: Make, tmp_path: Path) -> None:
    pipeline = make("Buffer", "Mortal", "Mortal", "Buffer")
    pipeline.offer(records(8))
    until(lambda: pipeline.stations[0].received == 8)
    for _ in range(DEATHS + 1):
        pipeline._posts[2].tell(records(2, "die"))  # as if from before it
        until(lambda: pipeline._posts[2].vacant)
        pipeline._posts[2].tell(records(3))
        pipeline.mend()
    assert pipeline.stopped
    until(lambda: pipeline._posts[0].vacant and pipeline._posts[1].vacant)
    pipeline.mend()
    finish([pipeline], 60)
    assert [station.in_flight for station in pipeline.stations] == [0] * 5
    assert pipeline.stations[0].detail["not flushed"] == 8
    told = pipeline.stations[2]
    assert (told.received, told.lost, told.delivered) == (2 * (DEATHS + 1) + 3 * (DEATHS + 1), 12 + 3, 15)


def test_a_flush_ends_also_where_the_pipeline_is_given_up_meanwhile(make: Make, tmp_path: Path) -> None:
    pipeline = make("Mortal", "Buffer")
    pipeline.offer(records(3))
    Mortal.gate.clear()
    for _ in range(DEATHS + 1):
        pipeline.offer(records(2, "die"))
    pipeline.flush()
    Mortal.gate.set()
    while not pipeline.stopped:
        mended(pipeline)
    assert pipeline.flushed(60)
    assert archived(tmp_path) == 1, "the three, summed up"


def test_a_stage_that_cannot_be_constructed_is_tried_again_less_and_less_often_and_has_died_once(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "LEAST_S", 0.2)
    monkeypatch.setattr(Reluctant, "patience", 10)
    pipeline = make("Reluctant")
    pipeline.offer(records(1, "die"))
    pipeline.offer(records(6))
    mended(pipeline)
    tries = Reluctant.tries
    pipeline.mend()
    assert Reluctant.tries == tries, "not at once"
    assert pipeline.stations[0].failing == {"starting it": "not now"}
    monkeypatch.setattr(backoff, "LEAST_S", 0.001)
    while pipeline._posts[0].vacant:
        pipeline.mend()
    assert Reluctant.tries == 11
    assert (pipeline.deaths, pipeline.stations[0].failing) == (1, {})
    finish([pipeline], 60)
    adds_up(pipeline, 7)
    assert archived(tmp_path) == 6


def test_one_that_no_thread_can_be_had_for_lets_go_of_its_spool_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: MortalHTTP) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setitem(BACKENDS, "MortalHTTP", f"{__name__}:MortalHTTP")
    monkeypatch.setattr(backoff, "LEAST_S", 0.001)
    settings = HTTPSettings(uri="http://127.0.0.1:9/", spool=str(tmp_path / "spool"))
    pipeline = Pipeline(PipelineConfig("out", "MortalHTTP", settings, []))
    pipeline.fill()
    with monkeypatch.context() as limited:
        limited.setattr(MortalHTTP, "_start_actor_loop", refuse)
        pipeline.begin()
        assert pipeline.stations[0].failing == {"starting it": "can't start new thread"}
    while pipeline._posts[0].vacant:
        pipeline.mend()
    assert pipeline.stations[0].failing == {}
    pipeline.offer(records(1))
    with monkeypatch.context() as limited:
        limited.setattr(MortalHTTP, "_start_actor_loop", refuse)
        mended(pipeline)
        assert pipeline.stations[0].failing == {"starting it": "can't start new thread"}
    while pipeline._posts[0].vacant:
        pipeline.mend()
    assert pipeline.stations[0].failing == {}
    finish([pipeline], 60)
    adds_up(pipeline, 1)


def test_steps_of_one_type_have_names_of_their_own(make: Make) -> None:
    names = [station.name for station in make("Whitelist", "Buffer", "Whitelist").stations]
    assert names == [
        "pipeline out: Whitelist",
        "pipeline out: Buffer",
        "pipeline out: Whitelist 2",
        "pipeline out: Archive",
    ]

"""A stage that sends what a spool has, and its successors: one that died, and one of another configuration."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from bucket import objects, rows_of, settings, use
from serving import Gateway, batch_of, refusing, until, versitygw

from ingrain.account import Station
from ingrain.backends import BACKENDS, backoff
from ingrain.backends.s3 import S3, S3Settings
from ingrain.batch import Batch
from ingrain.config.model import PipelineConfig
from ingrain.grains.network import VOLUME
from ingrain.pipeline import Pipeline
from ingrain.pipelines import Instead, Pipelines

DEADLY = -1


class Panic(BaseException):
    """What kills a stage."""


class MortalS3(S3):
    """Dies of a batch whose first value is DEADLY."""

    def deliver(self, batch: Batch) -> None:
        if batch.records.column("value")[0].as_py() == DEADLY:
            raise Panic
        super().deliver(batch)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, tmp_path)
    monkeypatch.setattr(backoff, "LEAST_S", 0.05)
    monkeypatch.setattr(backoff, "MOST_S", 0.2)
    monkeypatch.setitem(BACKENDS, "MortalS3", f"{__name__}:MortalS3")


@pytest.fixture
def work(tmp_path: Path) -> Iterator[tuple[Pipelines, S3Settings]]:
    """No pipelines yet, and settings of one that completes each object at once; its server is not there."""
    pipelines = Pipelines()
    spool = str(tmp_path / "spool")
    with refusing() as port:
        yield pipelines, settings(f"http://127.0.0.1:{port}", spool=spool, roll_s=1)
        pipelines.finish()


def have(pipelines: Pipelines, made: S3Settings) -> Pipeline:
    def feed(_instead: Instead) -> None: ...

    config = PipelineConfig("out", "MortalS3", made, [])
    pipelines.change({"out": config}, feed, pipelines.mend)
    return pipelines.by_name["out"]


def offer(to: Pipeline, *numbers: int) -> None:
    assert to.offer(batch_of(VOLUME[0], [{"timestamp": time.time_ns(), "value": n, "packets": 1} for n in numbers]))


def station(pipelines: Pipelines) -> Station:
    (one,) = pipelines.account()["out"]
    assert one.in_flight >= one.spooled >= 0
    assert one.received + one.resumed == one.delivered + one.merged + one.lost + one.left + one.in_flight
    return one


def mended(pipelines: Pipelines) -> Station:
    pipelines.mend()
    return station(pipelines)


def arrived(server: Gateway) -> Counter[int]:
    return Counter(row["value"] for key, body in objects(server).items() for row in rows_of(key, body))


def test_what_a_stage_that_dies_left_in_its_spool_is_sent_by_the_next_one(
    work: tuple[Pipelines, S3Settings], tmp_path: Path
) -> None:
    pipelines, made = work
    with versitygw(tmp_path) as server:
        out = have(pipelines, made)
        offer(out, *range(100))
        until("an object in the spool", lambda: station(pipelines).spooled == 100)
        offer(out, DEADLY, DEADLY)
        offer(out, *range(100, 150))
        until("the stage to be replaced", lambda: mended(pipelines).detail["died with it"] == 2)
        until("the next one's object", lambda: station(pipelines).spooled == 150)
        told = station(pipelines)
        assert (told.received, told.left, told.resumed, told.lost, told.in_flight) == (152, 100, 100, 2, 150)

        out = have(pipelines, msgspec.structs.replace(made, endpoint_url=server.url))
        offer(out, *range(150, 160))
        until("all to be sent", lambda: station(pipelines).delivered == 160)
        assert arrived(server) == Counter(range(160))
        told = station(pipelines)
        assert (told.received, told.left, told.resumed, told.lost, told.in_flight) == (162, 250, 250, 2, 0)


def test_what_an_earlier_run_left_is_sent_once_however_often_the_file_is_read_again(
    work: tuple[Pipelines, S3Settings], tmp_path: Path
) -> None:
    pipelines, made = work
    before = Pipelines()
    offer(have(before, made), *range(30))
    until("an object in the spool", lambda: station(before).spooled == 30)
    before.finish()
    have(pipelines, made)
    assert (station(pipelines).resumed, station(pipelines).spooled) == (30, 30)
    have(pipelines, msgspec.structs.replace(made, concurrency=1))
    told = station(pipelines)
    assert (told.resumed, told.left, told.spooled, told.in_flight) == (60, 30, 30, 30)
    with versitygw(tmp_path) as server:
        have(pipelines, msgspec.structs.replace(made, endpoint_url=server.url))
        until("all to be sent", lambda: station(pipelines).delivered == 30)
        assert arrived(server) == Counter(range(30))
        told = station(pipelines)
        assert (told.received, told.resumed, told.left, told.in_flight) == (0, 90, 60, 0)

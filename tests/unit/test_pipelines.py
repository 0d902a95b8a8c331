"""A reload: what is refused changes nothing, what is replaced loses nothing, and the account adds up all the time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pyarrow as pa
import pytest
from archived import rows
from chain import tagged

from ingrain import pipelines as module
from ingrain.account import Station
from ingrain.backends import BACKENDS, backoff
from ingrain.backends.archive import Archive, ArchiveSettings
from ingrain.backends.http import HTTPSettings
from ingrain.backends.s3 import S3Settings
from ingrain.batch import TEXT, Batch
from ingrain.config import ConfigError, PipelineConfig
from ingrain.pipeline import Pipeline, PipelineError, finish
from ingrain.pipelines import Instead, Pipelines
from ingrain.stage import Backend
from ingrain.steps.whitelist import WhitelistSettings

NOBODY = "http://127.0.0.1:9/"
KEPT = [("Whitelist", WhitelistSettings(allow=["process"]))] * 5


class Moody(Archive):
    """An Archive that can be constructed only while `why` is empty."""

    why: ClassVar[str] = ""

    def __init__(self, settings: ArchiveSettings, station: Station) -> None:
        if self.why:
            raise ValueError(self.why)
        super().__init__(settings, station)


class Gated(Backend):
    """Delivers a batch when `gate` is open."""

    gate: ClassVar[threading.Event]

    def __init__(self, settings: Any, station: Station) -> None:
        super().__init__(station)
        del settings

    def deliver(self, batch: Batch) -> None:
        self.gate.wait()
        self.station.delivered += len(batch)


@pytest.fixture(autouse=True)
def _stages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(backoff, "LEAST_S", 0.01)
    monkeypatch.setattr(backoff, "MOST_S", 0.02)
    for kind in (Moody, Gated):
        monkeypatch.setitem(BACKENDS, kind.__name__, f"{__name__}:{kind.__name__}")
    Moody.why, Gated.gate = "", threading.Event()
    yield
    Gated.gate.set()


class Fed:
    """Probes, as far as pipelines know them: they feed those of some names."""

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines
        self.into: list[Pipeline] = []

    def change(self, *configs: PipelineConfig) -> None:
        """A reload to these configurations, as `Agent.reload` makes one."""
        named = {config.name: config for config in configs}
        self._pipelines.change(named, self.feed, self._pipelines.mend)
        self.into = [self._pipelines.by_name[name] for name in named]
        self._pipelines.drop(self._pipelines.by_name.keys() - named.keys(), self._pipelines.mend)

    def feed(self, instead: Instead) -> None:
        self.into = [instead.get(one, one) for one in self.into]

    def offer(self, count: int) -> None:
        """Each pipeline gets so many records."""
        for pipeline in self.into:
            pipeline.offer(tagged("process", pa.array(["a"] * count, TEXT)))


@pytest.fixture
def pipelines() -> Iterator[Pipelines]:
    made = Pipelines()
    yield made
    Gated.gate.set()
    made.finish()


@pytest.fixture
def fed(pipelines: Pipelines) -> Fed:
    return Fed(pipelines)


def moody(tmp_path: Path, *steps: Any, path: str = "archive") -> PipelineConfig:
    return PipelineConfig("out", "Moody", ArchiveSettings(path=str(tmp_path / path)), list(steps))


def http(name: str, spool: Path, **more: Any) -> PipelineConfig:
    return PipelineConfig(name, "HTTP", HTTPSettings(uri=NOBODY, spool=str(spool), roll_s=1, **more), [])


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def mended(pipelines: Pipelines, true: Callable[[], Any]) -> None:
    """Look after them until that is so."""

    def look() -> Any:
        pipelines.mend()
        return true()

    until(look)


def archived(tmp_path: Path) -> int:
    return sum(len(rows(path)) for path in tmp_path.rglob("[!.]*.parquet"))


def stations(pipelines: Pipelines, name: str = "out") -> list[Station]:
    found = pipelines.account()[name]
    for one in found:
        made = one.received + one.resumed + one.made
        assert made == one.delivered + one.merged + one.lost + one.left + one.in_flight
        assert one.in_flight >= one.spooled >= 0
    return found


def test_a_reload_that_is_refused_leaves_a_pipeline_of_many_steps_at_work(
    tmp_path: Path, pipelines: Pipelines, fed: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed.change(moody(tmp_path, *KEPT))
    fed.offer(10)
    monkeypatch.setitem(BACKENDS, "Archive", "ingrain.no_such:Module")
    with pytest.raises(ImportError):
        fed.change(PipelineConfig("out", "Archive", ArchiveSettings(path=str(tmp_path)), []))
    bad = ArchiveSettings(path=str(tmp_path / "other"))
    monkeypatch.setitem(BACKENDS, "Bad", f"{__name__}:Bad")
    with pytest.raises(PipelineError, match="pipeline out: Bad: it is bad"):
        fed.change(PipelineConfig("out", "Bad", bad, []))
    fed.offer(20)
    for _ in range(20):
        pipelines.mend()
    assert pipelines.problems() == []
    pipelines.finish()
    assert archived(tmp_path) == 30
    last = next(one for one in stations(pipelines) if one.name.endswith("Moody"))
    assert (stations(pipelines)[0].received, last.delivered) == (30, 30)
    assert {(one.lost, one.in_flight) for one in stations(pipelines)} == {(0, 0)}


class Bad(Backend):
    """Cannot be constructed."""

    def __init__(self, *_: Any) -> None:
        raise ValueError("it is bad")


def test_what_this_host_lacks_is_found_before_any_pipeline_is_touched(
    tmp_path: Path, pipelines: Pipelines, fed: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_S3_BUCKET", raising=False)
    monkeypatch.delenv("NOT_THERE", raising=False)
    fed.change(moody(tmp_path), http("other", tmp_path / "spool"))
    before = list(pipelines.by_name.values())
    s3 = PipelineConfig("out", "S3", S3Settings(spool=str(tmp_path / "s3")), [])
    with pytest.raises(ConfigError) as caught:
        fed.change(s3, http("other", tmp_path / "spool", headers={"key": "${NOT_THERE}"}))
    assert [problem.key for problem in caught.value.problems] == [
        "pipeline.out.config",
        "pipeline.other.config.headers",
    ]
    assert list(pipelines.by_name.values()) == before == fed.into
    assert not (tmp_path / "s3").exists()


def test_what_this_host_lacks_of_a_pipeline_that_stays_is_no_reason_to_refuse_a_file(
    tmp_path: Path, pipelines: Pipelines, fed: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_TOKEN", "something")
    stays = http("stays", tmp_path / "spool", headers={"key": "${INGEST_TOKEN}"})
    fed.change(stays, moody(tmp_path))
    monkeypatch.delenv("INGEST_TOKEN")
    fed.change(stays, moody(tmp_path, *KEPT))
    assert [len(one._posts) for one in pipelines.by_name.values()] == [1, 6]


def test_one_that_cannot_be_put_back_at_once_is_tried_again_and_what_came_waits_for_it(
    tmp_path: Path, pipelines: Pipelines, fed: Fed
) -> None:
    fed.change(moody(tmp_path, *KEPT))
    fed.offer(5)
    Moody.why = "not now"
    with pytest.raises(PipelineError, match="not now"):
        fed.change(moody(tmp_path, path="other"))
    fed.offer(7)
    for _ in range(50):
        pipelines.mend()
        time.sleep(0.001)
    assert pipelines.problems() == [], "it is no death of a stage"
    assert "not now" in str(stations(pipelines)[5].failing)
    Moody.why = ""
    mended(pipelines, lambda: not stations(pipelines)[5].failing)
    pipelines.finish()
    assert archived(tmp_path / "archive") == 12
    assert [one.lost for one in stations(pipelines)] == [0] * 6


def test_refused_records_are_counted_exactly_however_many_threads_offer_them(tmp_path: Path) -> None:
    pipeline = Pipeline(moody(tmp_path))
    pipeline.door.close()
    before, threads, times = sys.getswitchinterval(), 8, 3000
    batch = tagged("process", pa.array(["a", "b"], TEXT))

    def offer() -> None:
        for _ in range(times):
            pipeline.offer(batch)

    sys.setswitchinterval(1e-6)
    try:
        offering = [threading.Thread(target=offer) for _ in range(threads)]
        for one in offering:
            one.start()
        for one in offering:
            one.join()
    finally:
        sys.setswitchinterval(before)
    assert pipeline.account()[0].refused == threads * times * 2


def gated(*steps: Any) -> PipelineConfig:
    return PipelineConfig("out", "Gated", WhitelistSettings(allow=[]), list(steps))


def test_what_waits_for_a_backend_that_hangs_at_the_end_is_counted_once_whenever_it_goes_on() -> None:
    pipeline = Pipeline(gated(KEPT[0]))
    pipeline.fill()
    pipeline.begin()
    for _ in range(20):
        assert pipeline.offer(tagged("process", pa.array(["a"] * 10, TEXT)))
    until(lambda: pipeline.stations[1].received == 10)
    finish([pipeline], 0)
    whole = [sum(getattr(one, name) for name in ("received", "refused")) for one in pipeline.account()]
    assert whole[1] == pipeline.account()[0].delivered
    Gated.gate.set()
    until(lambda: pipeline.ended)
    step, backend = pipeline.account()
    assert step.received == 200 == step.delivered + step.lost
    assert backend.received == step.delivered == backend.delivered + backend.lost
    assert backend.delivered == 10, "the one that it had in hand"
    assert backend.detail["abandoned"] == backend.lost


def test_one_that_hangs_while_a_reload_replaces_it_delivers_all_when_it_goes_on(
    pipelines: Pipelines, fed: Fed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINISH_SECONDS", 0.1)
    fed.change(gated(*KEPT))
    for _ in range(30):
        fed.offer(10)
    fed.change(moody(tmp_path))
    assert pipelines.problems() == ["pipeline out: a reload replaced it, and it hangs with what is in it"]
    fed.offer(4)
    Gated.gate.set()
    mended(pipelines, lambda: not pipelines.problems())
    pipelines.finish()
    told = {one.name: one for one in stations(pipelines)}
    assert told["pipeline out: Gated"].delivered == 300
    assert archived(tmp_path) == told["pipeline out: Moody"].delivered == 4
    assert {one.lost for one in told.values()} == {one.in_flight for one in told.values()} == {0}


def test_a_pipeline_that_has_another_name_keeps_its_spool_and_all_that_is_in_it(
    pipelines: Pipelines, fed: Fed, tmp_path: Path
) -> None:
    fed.change(http("old", tmp_path / "spool"))
    fed.offer(5)
    until(lambda: stations(pipelines, "old")[0].spooled == 5)
    fed.change(http("new", tmp_path / "spool"))
    assert list(pipelines.by_name) == ["new"]
    assert (stations(pipelines, "old")[0].left, stations(pipelines, "new")[0].resumed) == (5, 5)
    fed.offer(3)
    until(lambda: stations(pipelines, "new")[0].spooled == 8)
    assert not [one for one in pipelines.account()["old"] if one.spooled or one.lost or one.refused]


def feeding(fed: Fed) -> Mapping[str, str | None]:
    return {one.name: one.config.spool for one in fed.into}


def test_pipelines_may_exchange_their_spools(pipelines: Pipelines, fed: Fed, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    fed.change(http("a", one), http("b", other))
    fed.change(http("a", other), http("b", one))
    assert feeding(fed) == {"a": str(other), "b": str(one)}
    fed.change(http("b", other), http("c", one))  # b has what a had, which is gone, and c what b had
    assert feeding(fed) == {"b": str(other), "c": str(one)}
    fed.offer(2)
    until(lambda: [stations(pipelines, name)[0].spooled for name in ("b", "c")] == [2, 2])
    assert set(pipelines.by_name) == {"b", "c"}


def test_what_comes_for_a_pipeline_that_ends_before_it_is_dropped_is_refused_and_counted(
    pipelines: Pipelines, fed: Fed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed.change(http("a", tmp_path / "one"), http("b", tmp_path / "other"))
    old = pipelines.by_name["a"]
    replaced = Pipelines._replace

    def meanwhile(*arguments: Any) -> None:
        replaced(*arguments)
        assert not old.offer(tagged("process", pa.array(["a"] * 6, TEXT)))

    monkeypatch.setattr(Pipelines, "_replace", meanwhile)
    fed.change(http("b", tmp_path / "one"))
    assert stations(pipelines, "a")[0].refused == 6


def test_a_rename_that_is_refused_puts_the_old_pipeline_back_with_what_came_meanwhile(
    pipelines: Pipelines, fed: Fed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed.change(http("old", tmp_path / "spool"))
    fed.offer(5)
    fill = Pipeline.fill

    def refuse(self: Pipeline) -> None:
        if self.name == "new":
            fed.offer(4)
            raise PipelineError("not this one")
        fill(self)

    monkeypatch.setattr(Pipeline, "fill", refuse)
    with pytest.raises(PipelineError, match="not this one"):
        fed.change(http("new", tmp_path / "spool"))
    assert list(pipelines.by_name) == ["old"]
    assert fed.into == [pipelines.by_name["old"]]
    until(lambda: stations(pipelines, "old")[0].spooled == 9)


def test_a_pipeline_that_stands_elsewhere_in_the_file_is_the_same(
    pipelines: Pipelines, fed: Fed, tmp_path: Path
) -> None:
    fed.change(moody(tmp_path, *KEPT))
    before = pipelines.by_name["out"]
    config = moody(tmp_path, *KEPT)
    copy = PipelineConfig("out", "Moody", msgspec.structs.replace(config.settings), list(config.steps), {(): 99})
    fed.change(copy)
    assert pipelines.by_name["out"] is before

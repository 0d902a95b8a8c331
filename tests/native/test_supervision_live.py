"""An agent at work whose stages die, or whose buffers are not read: it goes on, and says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import agent
from conftest import Start, Talker, Watch, read
from serving import until

from ingrain.health import Health
from ingrain.kernel import reader

DYING = """
import sys
from ingrain import service, stage, steps

service.LOOK_S, service.HEALTH_S = 0.1, 0.2

class Dying(stage.Step):
    '''Dies of the records of every process called `deadly`.'''

    from ingrain.settings import Settings

    def __init__(self, settings, station, downstream):
        super().__init__(station, downstream)

    def process(self, batch):
        if "deadly" in batch.records.column("process").to_pylist():
            sys.exit("as libraries should not")
        yield batch

sys.modules["dying"] = sys.modules["__main__"]
steps.STEPS["Dying"] = "dying:Dying"
from ingrain.__main__ import main
sys.exit(main())
"""
TOML = """
[agent]
socket = "{folder}/status.sock"
[[probe]]
pipelines = ["dying", "other"]
[probe.config]
type = "Network"
cgroup = "{group}"
interval_ms = 100
[pipeline.dying.config]
backend = "Archive"
path = "{folder}/dying"
[[pipeline.dying.steps]]
type = "Dying"
[pipeline.other.config]
backend = "Archive"
path = "{folder}/other"
"""


def test_a_stage_that_dies_is_replaced_and_one_that_does_so_again_and_again_stops_its_pipeline_only(
    start: Start, group: Path, tmp_path: Path
) -> None:
    deadly, tame, other = Talker(start, "deadly"), Talker(start, "tame"), Talker(start, "other")
    there = other("bind", "u", family=4, proto="udp")
    with agent(TOML.format(folder=tmp_path, group=group.name), tmp_path, program=("-c", DYING)) as running:
        deadly("storm", count=10, to=there)
        running.wait_for("pipeline dying: Dying has died, and another takes its place")
        tame("storm", count=20, to=there)

        def stopped() -> bool:
            deadly("storm", count=10, to=there)
            return "the pipeline is stopped" in running.said

        until("too many deaths", stopped)
        tame("storm", count=20, to=there)
        until("it to be told", lambda: any("is stopped" in problem for problem in running.status()[1]["problems"]))
        assert running.status()[0] == 1
        running.reload(running.file.read_text())
        until("it to go on", lambda: not any("is stopped" in problem for problem in running.status()[1]["problems"]))
        delivered = running.status()[1]["account"]["pipelines"]["dying"][-1]["delivered"]
        tame("storm", count=20, to=there)
    dying, backend = running.account["pipelines"]["dying"]
    (whole,) = running.account["pipelines"]["other"]
    (probe,) = running.account["probes"]
    assert whole["received"] == whole["delivered"] == probe["records"] == dying["received"] + dying["refused"]
    assert dying["received"] == dying["delivered"] + dying["lost"]
    assert dying["lost"] > 0
    assert dying["refused"] > 0
    assert backend["delivered"] > delivered, "a reload lets it begin anew"
    assert backend["received"] == backend["delivered"] == dying["delivered"]
    names = ("connection.out", "connection.in", "volume.out", "volume.in")
    assert sum(len(read(tmp_path / "dying", name)) for name in names) == backend["delivered"]


def test_buffers_that_nobody_reads_are_noticed(
    watch: Callable[..., Watch], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingrain.health.STALLED_S", 0.3)
    one, other = Talker(start, "one"), Talker(start, "other")
    there = other("bind", "u", family=4, proto="udp")
    health = Health()
    watched = watch("Network")
    with watched() as agent:
        one("storm", count=10, to=there)
        until("events", lambda: agent.account().probes[0].received == 20)
        assert health.look(agent.account()) == []
        buffers = agent.probes[0].buffers
        drain, buffers.drain = buffers.drain, lambda: None  # type: ignore[method-assign]
        one("storm", count=10, to=there)
        told = until("it to be noticed", lambda: health.look(agent.account()))
        assert told == ["probe Network: its buffers stall: 20 events wait, and none is read"]
        buffers.drain = drain  # type: ignore[method-assign]
        until("them to be read", lambda: agent.account().probes[0].received == 40)
        assert health.look(agent.account()) == []
    assert watched.account.probes[0].received == 40


def test_a_library_that_panics_costs_its_events_and_not_the_reader(watch: Callable[..., Watch], start: Start) -> None:
    class Panic(BaseException):
        pass

    def panic(_: object) -> Any:
        raise Panic("of a library")

    one, other = Talker(start, "one"), Talker(start, "other")
    there = other("bind", "u", family=4, proto="udp")
    watched = watch("Network")
    with watched() as agent:
        grain = agent.probes[0].grain
        decode, grain.decode = grain.decode, panic  # type: ignore[assignment, method-assign]
        one("storm", count=10, to=there)
        until("events", lambda: agent.account().probes[0].received == 20)
        assert agent.problems() == ["probe Network: it could not be read within a minute: of a library"]
        grain.decode = decode  # type: ignore[method-assign]
        one("storm", count=5, to=there)
        until("events", lambda: agent.account().probes[0].told == 10)
        assert not agent.stalled()
    (probe,) = watched.account.probes
    assert (probe.received, probe.failed) == (30, 20)


@pytest.mark.parametrize("part", ["finish", "poll", "detach"])
def test_a_fault_of_one_probe_at_the_end_keeps_nothing_else_from_being_delivered(
    watch: Callable[..., Watch], start: Start, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object) -> Any:
        raise ValueError("of this probe")

    one, other = Talker(start, "one"), Talker(start, "other")
    there = other("bind", "u", family=4, proto="udp")
    watched = watch("DNS", "Network", "TLS")
    with watched() as agent:
        one("storm", count=10, to=there)
        until("events", lambda: [p.account().received for p in agent.probes if p.name == "Network"] == [20])
        for probe in agent.probes:
            if part == "detach":
                probe.program.detach = fault  # type: ignore[method-assign]
            elif probe.name == "DNS":
                setattr(probe.grain, part, fault)
    assert "of this probe" in caplog.text
    (archive,) = watched.account.pipelines["archive"]
    assert archive.delivered == archive.received == sum(probe.records for probe in watched.account.probes) > 0
    assert len(watched.rows("connection.out")) == len(watched.rows("connection.in")) == 10


def test_a_reader_that_hangs_is_noticed_and_the_agent_ends_nevertheless(
    watch: Callable[..., Watch], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "STALLED_S", 0.5)
    one, other = Talker(start, "one"), Talker(start, "other")
    there = other("bind", "u", family=4, proto="udp")
    released = threading.Event()

    def hang(_: object) -> Iterator[Any]:
        released.wait()
        return iter(())

    watched = watch("Network")
    with watched() as agent:
        grain = agent.probes[0].grain
        grain.decode = hang  # type: ignore[assignment, method-assign]
        one("storm", count=10, to=there)
        until("it to be noticed", agent.stalled)
        assert "the thread that reads has been at probe Network" in agent.problems()[-1]
    assert watched.account.probes[0].received == 20
    released.set()

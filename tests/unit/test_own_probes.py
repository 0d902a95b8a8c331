"""An agent whose probes have no kernel half runs, tells of those that cannot, and takes another configuration."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from agents import agent, ingrain
from serving import free_port, until

from ingrain import config
from ingrain.agent import Agent, AgentError
from ingrain.own import probe
from ingrain.own.trial import Trial
from ingrain.telemetry import Telemetry

PROBE = '[[probe]]\npipelines = ["{}"]\n[probe.config]\ntype = "{}"\n{}\n'
TIMES = """\
[[probe.config.queries]]
name = "times"
measurement = "user_time"
measurement_type = "count"
query = "SELECT name, user_time FROM processes"
"""
ABSENT = PROBE.format("out", "Osquery", 'osqueryi = "/nowhere/osqueryi"\n' + TIMES)
CONSOLE = '[pipeline.out.config]\nbackend = "Console"\nformat = "json"\n'
STAND_IN = Path(__file__).with_name("osqueryi.py")


@pytest.fixture
def toml(tmp_path: Path) -> str:
    return f'[agent]\nsocket = "{tmp_path / "status.sock"}"\n'


def test_those_that_can_run_do_and_those_that_cannot_are_told(tmp_path: Path, toml: str) -> None:
    port = free_port(socket.SOCK_DGRAM)
    toml += PROBE.format("out", "StatsD", f'bind_address = "127.0.0.1:{port}"\nflush_interval = 50')
    toml += PROBE.format("out", "Test", 'name = "trial"\nmessage_len = 7\nrate = 70')
    toml += PROBE.format("out", "Osquery", f'osqueryi = "{STAND_IN}"\nrun_at_start = true\n{TIMES}')
    with agent(toml + ABSENT + CONSOLE, tmp_path) as running, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.send(b"a:1|c|#k:v\nwhat?")
        until(
            "all three",
            lambda: (
                {probe["name"] for probe in running.status()[1]["account"]["probes"] if probe["records"]}
                == {"StatsD", "Test", "Osquery"}
            ),
        )
        code, told = running.status()
    assert code == 1
    assert "a line is malformed; others are counted alone. what?: no type of metric" in running.said
    (problem,) = told["problems"]
    assert problem.startswith("probe Osquery: it cannot run: there is no program /nowhere/osqueryi in ")
    records = [json.loads(line) for line in running.printed.splitlines()]
    by_name = {record["measurement"]: record for record in records}
    assert by_name["a"].items() >= {"value": 1, "k": "v"}.items()
    assert by_name["trial"]["value"] == 1
    times = [record["value"] for record in records if record["measurement"] == "osquery.times"]
    assert times[:3] == [17220, 0, (1 << 63) - 1]
    probes = {probe["name"]: probe for probe in running.account["probes"]}
    assert sum(probe["records"] for probe in probes.values()) == len(records)
    assert (probes["StatsD"]["received"], probes["StatsD"]["told"], probes["StatsD"]["malformed"]) == (1, 1, 1)


def test_an_agent_of_which_no_probe_can_run_ends_with_an_error(tmp_path: Path, toml: str) -> None:
    file = tmp_path / "config.toml"
    own = PROBE.format("out", "Agent", "")
    file.write_text(toml + own + ABSENT + CONSOLE)
    done = ingrain("run", file)
    assert done.returncode == 1
    assert "there is no program /nowhere/osqueryi" in done.stderr
    assert "no probe of the configuration can run here" in done.stderr
    with pytest.raises(AgentError):
        Agent(config.load(file)).start()


def test_a_probe_that_does_not_end_or_fails_at_it_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hang(probe: Trial) -> None:
        released.wait()
        wait(probe)

    def fail(_: Telemetry) -> None:
        raise OSError("not now")

    released, wait = threading.Event(), Trial.run
    monkeypatch.setattr(probe, "END_S", 0.01)
    monkeypatch.setattr(Trial, "run", hang)
    monkeypatch.setattr(Telemetry, "close", fail)
    file = tmp_path / "config.toml"
    archive = f'[pipeline.out.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\n'
    trial = PROBE.format("out", "Test", 'name = "trial"\nmessage_len = 7\nrate = 70')
    file.write_text(trial + PROBE.format("out", "Agent", "interval_s = 3600") + archive)
    made = Agent(config.load(file))
    made.start()
    account = made.stop()
    released.set()
    assert "probe Test does not end" in caplog.text
    assert "ending probe Agent failed" in caplog.text
    (station,) = account.pipelines["out"]
    assert station.delivered == station.received > 0


def test_a_reload_into_other_pipelines_loses_nothing_and_keeps_the_server(tmp_path: Path, toml: str) -> None:
    port = free_port(socket.SOCK_DGRAM)
    probe = PROBE.format("{}", "StatsD", f'bind_address = "127.0.0.1:{port}"\nflush_interval = 100')
    second = CONSOLE.replace(".out.", ".other.").replace("json", "text") + "[[pipeline.other.steps]]\n"
    second += 'type = "Whitelist"\nallow = []\n'
    sent = 0
    with (
        agent(toml + probe.format("out") + CONSOLE, tmp_path) as running,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        client.connect(("127.0.0.1", port))

        def send() -> None:
            nonlocal sent
            for _ in range(50):
                client.send(b"a:1|c|#k:v")
                sent += 1

        send()
        for pipelines in (probe.format("other") + second, probe.format("out") + CONSOLE.replace("json", "text")):
            running.reload(toml + pipelines)
            send()
        assert running.said.count(f"listens at 127.0.0.1:{port}") == 1
    values = [
        json.loads(line)["value"] if line[0] == "{" else float(line.split()[2]) for line in running.printed.splitlines()
    ]
    assert sum(values) == sent
    (told,) = running.account["probes"]
    assert (told["received"], told["told"], told["lost"]) == (sent, sent, 0)

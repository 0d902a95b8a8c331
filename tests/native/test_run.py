"""`ingrain run` as an operator starts and ends it: the account adds up, nothing stays behind, no name does harm."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from agents import Running, agent
from conftest import Start, Talker, read
from serving import until

BPFTOOL = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin")
HOSTILE = {  # a process's name, and the text that stands for it
    "x|c\nfoo:1": r"x|c\x0afoo:1",
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "../../../etc": "../../../etc",
    "a,b=c#d@e": "a,b=c#d@e",
    '"}\n{"a":1': r'"}\x0a{"a":1',
    "\u202egnp.exe": r"\u202egnp.exe",
    "\udcff\udcfebad": r"\xff\xfebad",  # two bytes that are no UTF-8
}


Runner = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """`run(TOML)` as a context: the agent runs inside it, and is ended by a signal at its end."""

    def _run(
        toml: str, ended_by: signal.Signals = signal.SIGTERM, expected: int = 0
    ) -> AbstractContextManager[Running]:
        socket = f'[agent]\nsocket = "{tmp_path / "status.sock"}"\n'
        return agent(socket + toml, tmp_path, ended_by, expected)

    return _run


def probe(group: Path, kind: str, *pipelines: str) -> str:
    return f'[[probe]]\npipelines = {json.dumps(pipelines)}\n[probe.config]\ntype = "{kind}"\ncgroup = "{group.name}"\n'


def chatter(talker: Talker, other: Talker, count: int) -> None:
    there = other("bind", "u", family=4, proto="udp")
    talker("storm", count=count, to=there)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_an_account_that_adds_up(
    run: Runner, start: Start, group: Path, tmp_path: Path, number: signal.Signals
) -> None:
    one, other = Talker(start, "one"), Talker(start, "other")
    toml = probe(group, "Network", "archive", "console") + (
        f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\n'
        '[[pipeline.archive.steps]]\ntype = "Whitelist"\nallow = ["process", "d_port"]\n'
        '[[pipeline.archive.steps]]\ntype = "Buffer"\ninterval_s = 3600\n'
        '[pipeline.console.config]\nbackend = "Console"\nformat = "json"\n'
    )
    with run(toml, number) as running:
        chatter(one, other, 500)
    (told,) = running.account["probes"]
    assert told["handed_over"] == told["received"] == 1000  # 500 beginnings, each seen as sent and as received
    assert told["lost"] == told["malformed"] == told["corrupt"] == 0
    for stations in running.account["pipelines"].values():
        assert stations[0]["received"] == told["records"]
        for before, after in itertools.pairwise(stations):
            assert after["received"] == before["delivered"]
        for station in stations:
            assert station["received"] == station["delivered"] + station["merged"]
            assert station["lost"] == station["refused"] == 0
    assert running.account["pipelines"]["archive"][1]["merged"] > 0, "nothing was summed up: the Buffer shows nothing"
    rows = [row for name in ("connection.out", "connection.in", "volume.out", "volume.in")
            for row in read(tmp_path / "archive", name)]  # fmt: skip
    assert len(rows) == running.account["pipelines"]["archive"][-1]["delivered"]
    assert len(running.printed.splitlines()) == running.account["pipelines"]["console"][-1]["delivered"]
    assert sum(row["value"] for row in read(tmp_path / "archive", "connection.out")) == 500


def test_signals_at_once_end_it_as_one_does(run: Runner, group: Path) -> None:
    toml = probe(group, "Network", "out") + '[pipeline.out.config]\nbackend = "Console"\n'
    for _ in range(5):
        with run(toml) as running:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                running.process.send_signal(number)
        assert "handed over" in running.said


@pytest.mark.skipif(not BPFTOOL, reason="bpftool is not installed")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_attached_however_it_ends(run: Runner, group: Path, number: signal.Signals) -> None:
    def attached() -> list[Any]:
        shown = subprocess.run([str(BPFTOOL), "--json", "cgroup", "show", str(group)], capture_output=True, check=True)
        return list(json.loads(shown.stdout.strip() or "[]"))

    toml = probe(group, "DNS", "out") + probe(group, "TLS", "out") + probe(group, "Network", "out")
    with run(toml + '[pipeline.out.config]\nbackend = "Console"\n', number, 0 if number == signal.SIGTERM else -9):
        assert len(attached()) >= 6
    until("the kernel to let go of a killed process's links", lambda: not attached())


def test_two_agents_on_one_cgroup_both_see_it_all(run: Runner, start: Start, group: Path, tmp_path: Path) -> None:
    one, other = Talker(start, "one"), Talker(start, "other")
    toml = probe(group, "Network", "out") + '[pipeline.out.config]\nbackend = "Console"\nformat = "json"\n'
    config, seen = tmp_path / "second.toml", tmp_path / "second.out"
    config.write_text(toml)
    command = [sys.executable, "-m", "ingrain", "run", str(config)]
    with (
        run(toml) as first,
        seen.open("w") as stdout,
        subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True) as second,
    ):
        assert second.stderr
        assert any("running" in line for line in second.stderr)
        chatter(one, other, 50)
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=60)
    for printed in (first.printed, seen.read_text()):
        names = [json.loads(line)["measurement"] for line in printed.splitlines()]
        assert names.count("connection.out") == names.count("connection.in") == 50


def test_a_probe_that_cannot_run_here_is_reported_and_the_rest_runs(
    run: Runner, start: Start, group: Path, tmp_path: Path
) -> None:
    one, other = Talker(start, "one"), Talker(start, "other")
    toml = '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "DNS"\ncgroup = "no/such/cgroup"\n'
    toml += probe(group, "Network", "out") + '[pipeline.out.config]\nbackend = "Console"\nformat = "json"\n'
    with run(toml) as running:
        chatter(one, other, 3)
    assert "probe DNS cannot run: " in running.said
    assert "no/such/cgroup" in running.said
    assert sum("connection.out" in line for line in running.printed.splitlines()) == 3


def test_an_agent_without_a_probe_that_can_run_exits_1(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "DNS"\ncgroup = "there/is/none"\n'
        '[pipeline.out.config]\nbackend = "Console"\n'
    )
    command = [sys.executable, "-m", "ingrain", "run", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "there/is/none is no cgroup v2" in done.stderr
    assert "no probe of the configuration can run here" in done.stderr


def test_hostile_process_names_stay_one_value_everywhere(
    run: Runner, start: Start, group: Path, tmp_path: Path
) -> None:
    talkers, other = [Talker(start, name) for name in HOSTILE], Talker(start, "other")
    archive, lines = tmp_path / "archive", tmp_path / "lines"
    toml = probe(group, "Network", "archive", "lines", "console") + (
        f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{archive}"\n'
        f'[pipeline.lines.config]\nbackend = "Archive"\npath = "{lines}"\nformat = "jsonl"\n'
        '[pipeline.console.config]\nbackend = "Console"\n'
    )
    with run(toml) as running:
        for talker in talkers:
            chatter(talker, other, 1)
    named = {row["process_id"]: row["process"] for row in read(archive, "connection.out")}
    assert named == {talker.pid: HOSTILE[talker.name] for talker in talkers}
    assert all(len(line.split()) > 3 for line in running.printed.splitlines()), "a name made a line of its own"
    assert len(running.printed.splitlines()) == running.account["pipelines"]["console"][-1]["delivered"]
    assert "\x1b" not in running.printed
    inside = [path for folder in (archive, lines) for path in folder.rglob("*") if path.is_file()]
    assert inside
    assert all(os.path.commonpath([path, tmp_path]) == str(tmp_path) for path in inside)
    assert {path.name for path in tmp_path.iterdir()} <= {"archive", "lines", "config.toml", "account.json", "out"}

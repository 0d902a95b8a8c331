"""SIGHUP: what is the same in the new file stays as it is, what is another is replaced and loses nothing."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Running, agent
from conftest import Start, Talker, read
from serving import npm_statsd, until

from ingrain import config
from ingrain.agent import Agent
from ingrain.kernel import reader

BPFTOOL = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin")
WHITELIST = '[[pipeline.archive.steps]]\ntype = "Whitelist"\nallow = ["process", "d_port"]\n'
BUFFER = '[[pipeline.archive.steps]]\ntype = "Buffer"\ninterval_s = 3600\n'


class Toml:
    """Configurations of an agent that sees the test's cgroup."""

    def __init__(self, group: Path, folder: Path) -> None:
        self._group, self._folder = group, folder
        self.head = f'[agent]\nsocket = "{folder / "status.sock"}"\n'

    def probe(self, kind: str = "Network", *pipelines: str, more: str = "") -> str:
        into = json.dumps(pipelines or ["archive"])
        return f'[[probe]]\npipelines = {into}\n[probe.config]\ntype = "{kind}"\ncgroup = "{self._group.name}"\n{more}'

    def archive(self, steps: str = "", name: str = "archive") -> str:
        return f'[pipeline.{name}.config]\nbackend = "Archive"\npath = "{self._folder / "archive"}"\n{steps}'


@pytest.fixture
def toml(group: Path, tmp_path: Path) -> Toml:
    return Toml(group, tmp_path)


class Storm:
    """Connections within the cgroup, so many."""

    def __init__(self, start: Start) -> None:
        self._one, self._other = Talker(start, "one"), Talker(start, "other")
        self._there = self._other("bind", "u", family=4, proto="udp")

    def begin(self, count: int) -> None:
        self._one.begin("storm", count=count, to=self._there)

    def end(self) -> None:
        self._one.answer()

    def __call__(self, count: int) -> None:
        self.begin(count)
        self.end()


@pytest.fixture
def storm(start: Start) -> Storm:
    return Storm(start)


def seen(running: Running, count: int) -> dict[str, Any]:
    """The state, when the Network probe has received so many events."""

    def told() -> dict[str, Any] | None:
        document = running.status()[1]
        (network,) = [one for one in document["account"]["probes"] if one["name"] == "Network"]
        return document if network["received"] >= count else None

    document: dict[str, Any] = until(f"{count} events", told)
    return document


def connections(folder: Path) -> int:
    return sum(row["value"] for row in read(folder / "archive", "connection.out"))


def adds_up(account: dict[str, Any]) -> None:
    for stations in account["pipelines"].values():
        for station in stations:
            assert station["received"] == station["delivered"] + station["merged"]
            assert station["lost"] == station["refused"] == 0


def hung_on(group: Path) -> list[int]:
    shown = subprocess.run([str(BPFTOOL), "--json", "cgroup", "show", str(group)], capture_output=True, check=True)
    return sorted(one["id"] for one in json.loads(shown.stdout.strip() or "[]"))


def test_nothing_is_lost_or_doubled_while_pipelines_change_under_load(toml: Toml, storm: Storm, tmp_path: Path) -> None:
    variants = [toml.head + toml.probe() + toml.archive(steps) for steps in ("", WHITELIST, WHITELIST + BUFFER, BUFFER)]
    with agent(variants[0], tmp_path) as running:
        for variant in (*variants[1:], variants[0], variants[2]):
            storm.begin(2000)
            running.reload(variant)
            storm.end()
    (network,) = running.account["probes"]
    assert network["handed_over"] == network["received"] == 2 * 10_000
    assert connections(tmp_path) == 10_000
    assert {station["name"] for station in running.account["pipelines"]["archive"]} == {
        f"pipeline archive: {kind}" for kind in ("Whitelist", "Buffer", "Archive")
    }
    adds_up(running.account)
    archive = next(one for one in running.account["pipelines"]["archive"] if "Archive" in one["name"])
    rows = sum(len(read(tmp_path / "archive", name)) for name in measurements())
    assert archive["delivered"] == rows


def measurements() -> list[str]:
    return [f"{what}.{way}" for what, way in itertools.product(("connection", "volume"), ("out", "in"))]


@pytest.mark.skipif(not BPFTOOL, reason="bpftool is not installed")
def test_a_probe_that_is_the_same_is_not_detached_and_others_come_and_go_beside_it(
    toml: Toml, group: Path, storm: Storm, tmp_path: Path
) -> None:
    network = toml.head + toml.probe()
    with agent(network + toml.archive(), tmp_path) as running:
        before = hung_on(group)
        storm(50)
        running.reload(network + toml.probe("DNS") + toml.probe("TLS") + toml.archive(WHITELIST))
        assert set(before) < set(hung_on(group))
        storm(50)
        assert {one["name"] for one in seen(running, 200)["account"]["probes"]} == {"Network", "TLS", "DNS"}
        running.reload(network + toml.archive())
        assert hung_on(group) == before
        storm(50)
    assert connections(tmp_path) == 150
    counts = {one["name"]: one["received"] for one in running.account["probes"]}
    assert counts == {"Network": 300, "TLS": 0, "DNS": 0}, "those that are gone stay in the account"
    adds_up(running.account)


@pytest.mark.skipif(not BPFTOOL, reason="bpftool is not installed")
def test_nothing_hangs_on_a_cgroup_that_no_probe_needs_any_more(toml: Toml, group: Path, tmp_path: Path) -> None:
    other = group / "other"
    other.mkdir()
    dns = toml.probe("DNS").replace(group.name, f"{group.name}/other")
    with agent(toml.head + toml.probe() + dns + toml.archive(), tmp_path) as running:
        before = hung_on(group)
        assert hung_on(other)
        running.reload(toml.head + toml.probe() + toml.archive())
        assert hung_on(other) == []
        assert hung_on(group) == before


def test_a_probe_with_other_settings_is_another_and_the_account_goes_on(
    toml: Toml, storm: Storm, tmp_path: Path
) -> None:
    with agent(toml.head + toml.probe() + toml.archive(), tmp_path) as running:
        storm(30)
        running.reload(toml.head + toml.probe(more="buffer_kb = 64\n") + toml.archive())
        storm(20)
    (network,) = running.account["probes"]
    assert network["handed_over"] == network["received"] == 100
    assert connections(tmp_path) == 50


@pytest.mark.parametrize("before", ["Network", "DNS"])
def test_connections_are_not_new_and_their_bytes_not_counted_twice_to_a_probe_that_comes_later(
    toml: Toml, start: Start, tmp_path: Path, before: str
) -> None:
    client, server = Talker(start, "client"), Talker(start, "server")
    later = toml.head + toml.probe("Network", more="buffer_kb = 64\n") + toml.archive()
    with agent(toml.head + toml.probe(before) + toml.archive(), tmp_path) as running:
        udp = server("bind", "u", family=4, proto="udp")
        there = server("listen", "l", family=4, proto="tcp")
        client("connect", "c", family=4, proto="tcp", to=there)
        server("accept", "s", **{"from": "l"})

        def talk(size: int) -> None:
            for one, sender, other, receiver in ((client, "c", server, "s"), (server, "s", client, "c")):
                one("send", sender, size=size)
                assert other("receive", receiver, size=size) == size

        talk(1000)
        client("socket", "d", family=4, proto="udp")
        client("sendto", "d", size=1, to=udp)
        running.reload(later)
        talk(20)
        if before == "Network":
            client("sendto", "d", size=1, to=udp)
        client("connect", "e", family=4, proto="tcp", to=there)
        server("accept", "f", **{"from": "l"})
        client("send", "e", size=3)
        assert server("receive", "f", size=3) == 3
    begun = Counter(row["proto"] for row in read(tmp_path / "archive", "connection.in"))
    assert begun == {"Network": {"tcp": 2, "udp": 1}, "DNS": {"tcp": 1}}[before]
    assert begun == Counter(row["proto"] for row in read(tmp_path / "archive", "connection.out"))
    for way in ("out", "in"):
        rows = [row for row in read(tmp_path / "archive", f"volume.{way}") if row["proto"] == "tcp"]
        assert sum(row["value"] for row in rows) == {"Network": 2 * 1020, "DNS": 2 * 20}[before] + 3


def test_a_file_with_mistakes_is_refused_and_all_goes_on_until_it_is_mended(
    toml: Toml, storm: Storm, tmp_path: Path
) -> None:
    good = toml.head + toml.probe() + toml.archive()
    with agent(good, tmp_path) as running:
        running.reload("colour = 1\n" + good.replace("Archive", "Archiv"), "the configuration is refused")
        assert "there is no Archiv. Did you mean Archive?" in running.said
        assert "colour: unknown key" in running.said
        storm(40)
        until("it to be told", lambda: running.status()[0] == 1)
        assert "configuration refused at" in running.status()[1]["problems"][0]
        running.reload("", "no probe: there must be a [[probe]]")
        running.reload(good)
        until("it to be well", lambda: running.status()[0] == 0)
        storm(10)
    assert connections(tmp_path) == 50
    adds_up(running.account)


def test_a_pipeline_that_cannot_be_is_refused_and_the_one_before_takes_its_place_again(
    toml: Toml, storm: Storm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_S3_BUCKET", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    good = toml.head + toml.probe() + toml.archive(BUFFER)
    without_bucket = toml.head + toml.probe() + toml.probe("DNS") + '[pipeline.archive.config]\nbackend = "S3"\n'
    with agent(good, tmp_path) as running:
        storm(40)
        seen(running, 80)
        running.reload(without_bucket, "the configuration is refused")
        assert "S3 needs a bucket" in running.said
        storm(10)
        document = seen(running, 100)
        assert [one["name"] for one in document["account"]["probes"]] == ["Network"]
        names = [one["name"] for one in document["account"]["pipelines"]["archive"]]
        assert names[:2] == ["pipeline archive: Buffer", "pipeline archive: Archive"]
    assert connections(tmp_path) == 50


def test_pipelines_come_and_go_and_what_is_in_those_that_go_is_delivered(
    toml: Toml, storm: Storm, tmp_path: Path
) -> None:
    first = toml.head + toml.probe() + toml.archive(BUFFER)
    second = toml.head + toml.probe("Network", "other") + toml.archive(name="other")
    with agent(first, tmp_path) as running:
        storm(30)
        seen(running, 60)
        running.reload(second)
        assert connections(tmp_path) == 30, "the Buffer's hour has not passed: what is in it is delivered at once"
        storm(20)
    assert connections(tmp_path) == 50
    assert set(running.account["pipelines"]) == {"archive", "other"}
    adds_up(running.account)


def test_the_agents_own_telemetry_goes_on_and_tells_each_thing_once(toml: Toml, storm: Storm, tmp_path: Path) -> None:
    own = '[[probe]]\npipelines = ["statsd"]\n[probe.config]\ntype = "Agent"\ninterval_s = {}\n'
    name = "ingrain.events.received.Network"
    with npm_statsd(tmp_path) as server:

        def told(**counts: int) -> None:
            """Wait until the server has counted so much under the name, and under the name with a prefix."""
            expected = {f"p.{name}" if way == "prefixed" else name: count for way, count in counts.items()}
            until(f"{expected}", lambda: expected.items() <= server.values("counters").items())

        statsd = f'[pipeline.statsd.config]\nbackend = "StatsD"\naddress = "{server.address}"\n'
        common = toml.head + toml.probe() + toml.archive() + statsd
        with agent(common + own.format(1), tmp_path) as running:
            storm(30)
            told(plain=60)
            running.reload(common + "prefix = 'p'\n" + own.format(1))  # another pipeline, the same probe
            storm(20)
            told(plain=60, prefixed=40)
            running.reload(common + own.format(3600))  # another probe
            storm(10)
        sent = running.account["pipelines"]["statsd"][-1]["detail"]["datagrams"]
        until("all of it", lambda: server.values("counters")["statsd.packets_received"] == sent)
        counters = server.values("counters")
    assert (counters[name], counters[f"p.{name}"]) == (80, 40)
    assert running.account["probes"][0]["received"] == 120


def test_an_agent_whose_reader_hangs_takes_no_other_configuration(
    toml: Toml, storm: Storm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(_: object) -> Iterator[Any]:
        released.wait()
        return iter(())

    monkeypatch.setattr(reader, "STALLED_S", 0.5)
    released, file = threading.Event(), tmp_path / "config.toml"
    file.write_text(toml.probe() + toml.archive())
    made = Agent(config.load(file))
    made.start()
    (probe,) = made.probes
    decode, probe.grain.decode = probe.grain.decode, hang  # type: ignore[assignment, method-assign]
    storm(10)
    until("it to hang", made.stalled)
    for text in (toml.probe() + toml.archive(BUFFER), toml.probe("DNS") + toml.archive()):
        file.write_text(text)
        with pytest.raises(TimeoutError, match="at probe Network"):
            made.reload(config.load(file), lambda: None)
    probe.grain.decode = decode  # type: ignore[method-assign]
    released.set()
    until("it to go on", lambda: not made.stalled())
    storm(5)
    account = made.stop()
    assert made.probes == []
    assert [probe.name for probe in account.probes] == ["Network"]
    assert [station.name for station in account.pipelines["archive"]] == ["pipeline archive: Archive"]
    assert connections(tmp_path) == 5


def test_the_socket_follows_the_file(toml: Toml, tmp_path: Path) -> None:
    body = toml.probe() + toml.archive()
    with agent(toml.head + body, tmp_path) as running:
        running.reload(f'[agent]\nsocket = "{tmp_path / "other.sock"}"\n' + body)
        assert not running.socket.exists()
        running.socket = tmp_path / "other.sock"
        assert running.status()[0] == 0


def test_signals_at_once_are_one_reload_or_more_and_then_the_end(toml: Toml, tmp_path: Path) -> None:
    with agent(toml.head + toml.probe() + toml.archive(), tmp_path) as running:
        for _ in range(20):
            running.process.send_signal(signal.SIGHUP)
    assert "is in force" in running.said
    assert running.account["probes"][0]["name"] == "Network"

"""The original StatsD server, from npm, counts what the account says was sent: the same names, the same sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import statsd  # type: ignore[import-untyped] # it ships no types
from serving import NpmStatsD, batch_of, end, npm_statsd, pipeline, until

from ingrain.backends.statsd import StatsDSettings
from ingrain.batch import Column, Kind, Measurement
from ingrain.grains.common import COMMON
from ingrain.grains.network import CONNECTION, VOLUME
from ingrain.pipeline import Pipeline
from ingrain.steps.regex import Pattern, RegexSettings
from ingrain.steps.whitelist import WhitelistSettings
from ingrain.text import safe

HOSTILE = {  # a name as a process gives it to itself, and the level that it becomes
    b"x|c\nfoo:1": "x_c_x0afoo_1",
    b"a/b c": "a_b_c",
    b"\xff\xfe": "_xff_xfe",
    b"a;tag=1": "a_tag_1",
    b"a.b,c#d@e": "a_b_c_d_e",
    b"": "_",
    "naïve".encode(): "na_ve",
}
STEPS: list[tuple[str, Any]] = [
    ("Whitelist", WhitelistSettings(allow=["process", "d_port", "direction"])),
    ("Regex", RegexSettings(patterns=[Pattern(key="process", regex=r"^conn\d+$", replace_with="conn")])),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NpmStatsD]:
    with npm_statsd(tmp_path) as made:
        yield made


def received(server: NpmStatsD, made: Pipeline, before: int) -> dict[str, int]:
    """The server's counters, when it has as many datagrams as were sent since `before`."""
    sent = made.stations[-1].detail["datagrams"]

    def told() -> dict[str, int] | None:
        counters = server.values("counters")
        return counters if counters["statsd.packets_received"] - before >= sent else None

    counters: dict[str, int] = until("the datagrams", told)
    assert counters["statsd.packets_received"] - before == sent
    return counters


def test_it_counts_exactly_what_the_account_says_was_sent_under_the_same_names(server: NpmStatsD) -> None:
    before = server.values("counters")
    expected: Counter[str] = Counter()
    with pipeline("StatsD", StatsDSettings(address=server.address), *STEPS) as made:
        for round_ in range(20):
            rows = []
            for n in range(200):
                name, port = f"conn{n}" if n % 2 else f"worker-{n % 40}", 443 + round_ % 3
                rows.append({"value": n, "packets": 2, "process": name, "d_port": port, "direction": "out"})
                level = f"{'conn' if n % 2 else name}.{port}.out"
                expected[f"volume.out.{level}"] += n
                expected[f"volume.out.packets.{level}"] += 2
            assert made.offer(batch_of(VOLUME[0], [{**row, "timestamp": round_} for row in rows]))
        assert end(made)
        counters = received(server, made, before["statsd.packets_received"])
        station = made.stations[-1]
    assert (station.received, station.delivered, station.lost) == (4000, 4000, 0)
    assert {name: value for name, value in counters.items() if name.startswith("volume")} == expected
    assert counters["statsd.bad_lines_seen"] == 0
    sent = counters["statsd.metrics_received"] - before["statsd.metrics_received"]
    assert sent == 2 * station.detail["series"], "two value columns, a line each"


def test_tags_that_run_away_make_no_more_series_than_are_allowed_and_their_sum_stays(server: NpmStatsD) -> None:
    before = server.values("counters")["statsd.packets_received"]
    with pipeline("StatsD", StatsDSettings(address=server.address, max_series=100), *STEPS) as made:
        for round_ in range(5):
            rows = [{"timestamp": 0, "value": 3, "process": f"job-{round_}-{n}", "d_port": 1} for n in range(1000)]
            made.offer(batch_of(CONNECTION[0], rows))
        assert end(made)
        counters = {name: value for name, value in received(server, made, before).items() if "connection" in name}
        station = made.stations[-1]
    assert len(counters) == 101
    assert sum(counters.values()) == 15_000
    assert counters["connection.out.overflow.overflow.overflow"] == 3 * station.detail["overflow"] == 3 * 4900
    assert (station.delivered, station.lost) == (5000, 0)


def test_a_hostile_name_is_recorded_as_the_one_name_that_was_sent(server: NpmStatsD) -> None:
    before = server.values("counters")["statsd.packets_received"]
    rows = [
        {"timestamp": 0, "value": at, "process": safe(name), "d_port": 53, "direction": "out"}
        for at, name in enumerate(HOSTILE, start=1)
    ]
    with pipeline("StatsD", StatsDSettings(address=server.address), *STEPS) as made:
        made.offer(batch_of(CONNECTION[0], rows))
        assert end(made)
        counters = received(server, made, before)
    found = {name: value for name, value in counters.items() if not name.startswith("statsd.")}
    assert found == {f"connection.out.{level}.53.out": at for at, level in enumerate(HOSTILE.values(), start=1)}
    assert counters["statsd.bad_lines_seen"] == 0


def test_a_gauge_is_what_was_last_measured_also_below_zero(server: NpmStatsD) -> None:
    measurement = Measurement(
        "load", "", COMMON[:1], Kind.GAUGE, values=(Column("value", VOLUME[0].values[0].type, ""),)
    )
    with pipeline("StatsD", StatsDSettings(address=server.address)) as made:
        for value in (5, 70, -3):
            row = {"timestamp": 0, "value": value, "process": "p"}
            made.offer(batch_of(measurement, [row, {**row, "process": "q", "value": 2 * value}]))
        assert end(made)
    until("the last gauge", lambda: server.values("gauges").get("load.q") == -6)
    assert {name: value for name, value in server.values("gauges").items() if name.startswith("load")} == {
        "load.p": -3,
        "load.q": -6,
    }


def test_it_counts_the_same_as_when_the_statsd_client_of_pypi_sends(server: NpmStatsD, tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "value": n, "process": f"worker-{n % 7}", "d_port": n % 3, "direction": "in"}
        for n in range(500)
    ]
    before = server.values("counters")["statsd.packets_received"]
    with pipeline("StatsD", StatsDSettings(address=server.address, prefix="web-1"), *STEPS) as made:
        made.offer(batch_of(CONNECTION[1], rows))
        assert end(made)
        ours = received(server, made, before)
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    with npm_statsd(other_folder) as other:
        host, _, port = other.address.partition(":")
        with statsd.StatsClient(host, int(port), prefix="web-1").pipeline() as client:
            for row in rows:
                client.incr(f"connection.in.{row['process']}.{row['d_port']}.in", row["value"])

        def theirs() -> dict[str, int]:
            return {name: value for name, value in other.values("counters").items() if name.startswith("web-1")}

        until("all that the client sent", lambda: sum(theirs().values()) == sum(range(500)))
        assert {name: value for name, value in ours.items() if name.startswith("web-1")} == theirs()

"""Prometheus's statsd_exporter reads the DogStatsD tags back, whatever a process calls itself, over both sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Exporter, Row, batch_of, end, pipeline, statsd_exporter, until

from ingrain.backends.statsd import StatsDSettings
from ingrain.grains.network import VOLUME
from ingrain.grains.tls import TLS
from ingrain.steps.whitelist import WhitelistSettings
from ingrain.text import safe

HOSTILE = {  # a name as a process gives it to itself, and the tag that it becomes
    b"x|c\nfoo:1": r"x_c\x0afoo:1",
    b"a,b=c#d@e": "a_b=c_d_e",
    b"\xff\x1b[0m": r"\xff\x1b[0m",
    b'"quoted" \\': '"quoted" \\\\',
    "naïve 日本".encode(): "naïve 日本",
    b"{}[];": "{}[];",
}
KEEP = ("Whitelist", WhitelistSettings(allow=["process", "s_ip", "d_port"]))

Labels = tuple[tuple[str, str], ...]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Exporter]:
    with statsd_exporter(tmp_path) as made:
        yield made


def counted(server: Exporter, name: str) -> Counter[tuple[Labels, float]]:
    return Counter((tuple(sorted(labels.items())), value) for one, labels, value in server.samples() if one == name)


@pytest.mark.parametrize("way", ["address", "unix"])
def test_tags_are_read_back_with_the_sums_of_each_series(server: Exporter, way: str) -> None:
    names = {safe(name): tag for name, tag in HOSTILE.items()} | {f"worker-{n}": f"worker-{n}" for n in range(30)}
    rows: list[Row] = []
    sums: Counter[Labels] = Counter()
    for number in range(3):
        for at, (name, tag) in enumerate(names.items()):
            row: Row = {"timestamp": 0, "value": at * 10**9 + number, "packets": at, "process": name, "d_port": 443}
            rows.append({**row, "s_ip": "2001:db8::1"})
            sums[("d_port", "443"), ("process", tag), ("s_ip", "2001:db8::1")] += row["value"]
        rows.append({"timestamp": 0, "value": 1, "packets": 0, "s_ip": "192.0.2.1"})  # no owner was found
        sums[(("s_ip", "192.0.2.1"),)] += 1
    with pipeline("StatsD", StatsDSettings(address=getattr(server, way), use_tags=True), KEEP) as made:
        for start in range(0, len(rows), 20):
            made.offer(batch_of(VOLUME[0], rows[start : start + 20]))
        assert end(made)
        station = made.stations[-1]
    assert (station.delivered, station.lost) == (len(rows), 0)
    lines = 2 * station.detail["series"]
    until("all lines", lambda: server.total("statsd_exporter_lines_total") >= lines)
    assert server.total("statsd_exporter_lines_total") == lines
    kind = "udp" if way == "address" else "unixgram"
    assert server.total(f"statsd_exporter_{kind}_packets_total") == station.detail["datagrams"]
    for errors in ("sample_errors", "tag_errors", "events_error", "events_conflict"):
        assert server.total(f"statsd_exporter_{errors}_total") == 0
    until("all sums", lambda: sum(value for _, value in counted(server, "volume_out")) == sum(sums.values()))
    assert counted(server, "volume_out") == Counter((labels, float(value)) for labels, value in sums.items())


def test_a_list_is_one_tag(server: Exporter) -> None:
    (hello,) = (one for one in TLS.measurements if one.name == "tls.handshake.clienthello")
    keep = ("Whitelist", WhitelistSettings(allow=["alpn", "sni"]))
    with pipeline("StatsD", StatsDSettings(address=server.address, use_tags=True), keep) as made:
        made.offer(
            batch_of(hello, [{"timestamp": 0, "value": 1, "sni": "example.org", "alpn": ["h2", "http/1.1"]}] * 3)
        )
        assert end(made)
    found = until("the series", lambda: counted(server, "tls_handshake_clienthello"))
    assert found == Counter({((("alpn", "h2 http/1.1"), ("sni", "example.org")), 3.0): 1})

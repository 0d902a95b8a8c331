"""Each example of `config/` runs: what its network probes see arrives where it says, and the account adds up."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from agents import agent
from bucket import environ, objects, rows_of
from conftest import Start, read
from examples import CONFIG, EVERYTHING, adapted
from serving import statsd_exporter, until, versitygw

ELSEWHERE = {"files.toml", "datadog.toml"}  # the one only traces, the other is run in test_dashboards_live.py
EXAMPLES = sorted({path.name for path in CONFIG.glob("*.toml")} - ELSEWHERE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_an_example_sees_arrives(name: str, start: Start, group: Path, tmp_path: Path) -> None:
    with statsd_exporter(tmp_path) as exporter, versitygw(tmp_path) as server:
        host, _, port = exporter.address.partition(":")
        environment = os.environ | environ(tmp_path) | {
            "STATSD_HOST": host, "STATSD_PORT": port,
            "AWS_S3_BUCKET": "logs", "AWS_ENDPOINT_URL_S3": server.url, "AWS_REGION": "us-east-1",
        }  # fmt: skip
        worked = start(sys.executable, EVERYTHING, tmp_path)
        toml = adapted(name, group, tmp_path).replace("127.0.0.1:8125", exporter.address)
        with agent(toml, tmp_path, env=environment) as running:
            worked.communicate("\n", timeout=60)
        account = running.account
        sent = 0
        for *_, station in account["pipelines"].values():
            if station["name"].endswith("StatsD"):
                sent += station["detail"]["datagrams"]
            elif station["name"].endswith("S3"):
                stored = objects(server)
                assert sum(len(rows_of(key, body)) for key, body in stored.items()) == station["delivered"] > 0
            elif station["name"].endswith("Archive"):
                folders = (tmp_path / "state/archive").glob("measurement=*")
                measured = [one.name.partition("=")[2] for one in folders]
                assert sum(len(read(tmp_path / "state/archive", one)) for one in measured) == station["delivered"] > 0
            else:
                assert len(running.printed.splitlines()) == station["delivered"] > 0
        until("all that StatsD sent", lambda: exporter.total("statsd_exporter_udp_packets_total") == sent)
        assert exporter.total("statsd_exporter_sample_errors_total") == 0
    assert (sent > 0) == ('backend = "StatsD"' in toml)
    fed = re.findall(r'"(\w+)"', " ".join(re.findall(r"^pipelines = (.*)$", toml, re.MULTILINE)))
    assert account["pipelines"].keys() == set(fed)
    kinds = re.findall(r'^\[probe\.config\]\ntype = "(\w+)"', toml, re.MULTILINE)
    assert sorted(probe["name"] for probe in account["probes"]) == sorted({*kinds} - {"Agent"})
    for probe in account["probes"]:
        assert probe["handed_over"] == probe["received"]
        assert (probe["lost"], probe["malformed"], probe["corrupt"]) == (0, 0, 0)
    for stations in account["pipelines"].values():
        for station in stations:
            assert (station["lost"], station["refused"]) == (0, 0)
            assert station["received"] == station["delivered"] + station["merged"], station
    assert "ERROR" not in running.said

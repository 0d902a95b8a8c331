"""What the agent tells of itself arrives at a real StatsD server, and is what its account says in the end."""

from __future__ import annotations

import json
from pathlib import Path

from agents import agent
from conftest import Start, Talker
from serving import npm_statsd, until

PROBE = '[[probe]]\npipelines = {}\n[probe.config]\ntype = "{}"\n{}\n'


def test_statsd_has_counted_what_the_account_says(start: Start, group: Path, tmp_path: Path) -> None:
    one, other = Talker(start, "one"), Talker(start, "other")
    with npm_statsd(tmp_path) as server:
        toml = f'[agent]\nsocket = "{tmp_path / "status.sock"}"\n'
        for kind in ("Network", "DNS"):
            toml += PROBE.format('["archive"]', kind, f'cgroup = "{group.name}"')
        toml += PROBE.format('["statsd"]', "Agent", "interval_s = 1")
        toml += f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\nroll_s = 1\n'
        toml += f'[pipeline.statsd.config]\nbackend = "StatsD"\naddress = "{server.address}"\n'
        with agent(toml, tmp_path) as running:
            there = other("bind", "u", family=4, proto="udp")
            one("storm", count=300, to=there)
            until(
                "the archive's latency", lambda: server.values("gauges").get("ingrain.delivery.latency.archive.Archive")
            )
            document = running.status()[1]
        sent = running.account["pipelines"]["statsd"][-1]["detail"]["datagrams"]
        until("all datagrams", lambda: server.values("counters")["statsd.packets_received"] == sent)
        counters, gauges = server.values("counters"), server.values("gauges")
    network, dns = running.account["probes"]
    assert network["handed_over"] == network["received"] == 600
    for probe in (network, dns):
        for name, value in probe.items():
            if name != "name":
                assert counters[f"ingrain.events.{name}.{probe['name']}"] == value
    archive = running.account["pipelines"]["archive"][0]
    assert archive["received"] == network["records"] + dns["records"]
    assert 0 < counters["ingrain.records.received.archive.Archive"] <= archive["received"]  # it is told before it ends
    assert archive["lost"] == archive["refused"] == counters["ingrain.records.lost.archive.Archive"] == 0
    assert gauges["ingrain.inbox.depth.archive.Archive"] == 0
    assert 0 < gauges["ingrain.delivery.latency.archive.Archive"] < 60e9
    assert document["healthy"], json.dumps(document["problems"])
    assert {probe["name"] for probe in document["account"]["probes"]} == {"Network", "DNS"}

"""What real clients send to the agent goes on as if they had sent it to a server themselves: same names, same numbers.

The clients are PyPI's statsd and datadog; npm's statsd and Prometheus's statsd_exporter are the servers.
"""

from __future__ import annotations

import random
import socket
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import statsd  # type: ignore[import-untyped] # it ships no types
from agents import Running, agent
from datadog.dogstatsd.base import DogStatsd
from serving import free_port, npm_statsd, statsd_exporter, until

NEVER_MS = 3_600_000
"""An interval that ends with the agent."""

TOML = """\
[agent]
socket = "{socket}"
[[probe]]
pipelines = ["statsd"]
[probe.config]
type = "StatsD"
bind_address = "{bound}"
flush_interval = {interval_ms}
[pipeline.statsd.config]
backend = "StatsD"
address = "{address}"
use_tags = {use_tags}
"""


def nothing() -> None:
    """Between the halves of what a client sends."""


def of_statsd(host: str, port: int, between: Callable[[], object] = nothing) -> None:
    """What a program would measure with PyPI's statsd: the same each time, in two halves."""
    random.seed(7)  # the client throws dice for its samples
    with statsd.StatsClient(host, port, prefix="shop").pipeline() as client:  # in large datagrams: no server drops any
        for n in range(500):
            client.incr("page.views", rate=0.5)
            client.incr(f"orders.{n % 7}", n)
            client.gauge("queue", n)
            client.timing("load", n % 50)
            if n == 250:
                client.send()
                between()
        client.decr("stock", 3)
        client.gauge("queue", -100, delta=True)
        client.gauge("queue", 7, delta=True)
        client.set("users", 5)
        client.set("users", "a")


def account_of(running: Running, kind: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (probe for probe in running.account["probes"] if probe["name"] == kind)
    assert found["handed_over"] == found["received"]
    ended = sum(found[name] for name in ("told", "malformed", "ignored", "cut", "parts", "failed"))
    assert found["received"] + found["further"] == ended
    stations = [one for stations in running.account["pipelines"].values() for one in stations]
    assert all(one["received"] == one["delivered"] + one["merged"] + one["lost"] for one in stations)
    return found


@pytest.mark.parametrize("interval_ms", [20, NEVER_MS], ids=["several intervals", "one interval"])
def test_a_server_behind_the_agent_has_what_one_has_that_the_client_sends_to(tmp_path: Path, interval_ms: int) -> None:
    folders = {name: tmp_path / name for name in ("direct", "behind")}
    for folder in folders.values():
        folder.mkdir()
    bound = free_port(socket.SOCK_DGRAM)
    with npm_statsd(folders["direct"]) as direct, npm_statsd(folders["behind"]) as behind:
        toml = TOML.format(
            socket=tmp_path / "status.sock", bound=f"127.0.0.1:{bound}", address=behind.address, use_tags="false",
            interval_ms=interval_ms,
        )  # fmt: skip
        host, _, port = direct.address.partition(":")
        of_statsd(host, int(port))
        with agent(toml, tmp_path) as running:

            def flushed() -> bool:
                return interval_ms == NEVER_MS or "shop.page.views" in behind.values("counters")

            of_statsd("127.0.0.1", bound, lambda: until("a flush", flushed))
        sent = running.account["pipelines"]["statsd"][-1]["detail"]["datagrams"]
        until("all datagrams", lambda: behind.values("counters")["statsd.packets_received"] == sent)
        theirs, ours = ({n: v for n, v in one.values("counters").items() if "shop" in n} for one in (direct, behind))
        expected = {**theirs, "shop.load.count": 500, "shop.load.sum": sum(n % 50 for n in range(500))}
        assert ours == expected
        assert direct.values("gauges")["shop.queue"] == behind.values("gauges")["shop.queue"] == 499 - 100 + 7
        if interval_ms == NEVER_MS:
            gauges = behind.values("gauges")
            load = {"lower": 0, "p50": 24, "p95": 47, "upper": 49}
            assert {name: gauges[f"shop.load.{name}"] for name in load} == load
            assert gauges["shop.users"] == 2
    assert account_of(running, "StatsD")["malformed"] == 0


@pytest.mark.parametrize("place", ["udp", "unix"])
def test_dogstatsd_s_tags_come_out_as_its_client_gave_them(tmp_path: Path, place: str) -> None:
    port, path = free_port(socket.SOCK_DGRAM), tmp_path / "dogstatsd.sock"
    with statsd_exporter(tmp_path) as server:
        bound = f"unix://{path}.in" if place == "unix" else f"127.0.0.1:{port}"
        toml = TOML.format(
            socket=tmp_path / "status.sock", bound=bound, address=server.address, use_tags="true", interval_ms=200
        )
        with agent(toml, tmp_path) as running:
            options: dict[str, Any] = (
                {"socket_path": f"{path}.in"} if place == "unix" else {"host": "127.0.0.1", "port": port}
            )
            client = DogStatsd(**options, disable_telemetry=True, constant_tags=["env:test"])
            with client:  # it packs several metrics into a datagram
                for n in range(200):
                    client.increment("orders", 2, tags=[f"shop:{n % 3}", "paid"])
                    client.gauge("level", 0.25 * n, tags=["tank:a_b"])
                    client.histogram("size", n)
                    client.distribution("weight", n / 8, sample_rate=1)
                    client.set("buyers", n % 11)
                client.event("deployed", "all of it\nand more", tags=["a:b"])
                client.service_check("database", 0, tags=["a:b"], message="fine")
        totals = {"orders": 400, "size_count": 200, "weight_count": 200, "size_sum": 19_900, "weight_sum": 2487.5}
        until("all that it was sent", lambda: all(server.total(name) == total for name, total in totals.items()))
        samples = server.samples()
    found: defaultdict[tuple[str, str], float] = defaultdict(float)
    for name, labels, value in samples:
        if labels.get("env") == "test":
            found[name, labels.get("shop", labels.get("tank", ""))] += value
    assert {key: value for key, value in found.items() if key[0] == "orders"} == {
        ("orders", "0"): 134.0, ("orders", "1"): 134.0, ("orders", "2"): 132.0,
    }  # fmt: skip
    assert found["level", "a_b"] == 49.75
    told = account_of(running, "StatsD")
    assert (told["malformed"], told["ignored"], told["told"]) == (0, 2, 1000)

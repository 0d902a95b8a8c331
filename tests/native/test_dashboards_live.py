"""What the dashboards ask for is what a run of the agent with `config/datadog.toml` sends, on live traffic.

It goes by DogStatsD to Prometheus's own statsd_exporter with the mapping of `config/grafana`, and from there to a real
Prometheus, as docker/compose.yaml puts them together.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from agents import agent
from conftest import Start, Talker
from dashboards import grafana
from dashboards.charts import GROUPS, Chart
from examples import EVERYTHING, adapted
from serving import (
    Exporter,
    Prometheus,
    Row,
    accepts,
    batch_of,
    free_port,
    pipeline,
    prometheus,
    statsd_exporter,
    until,
)

from ingrain import config
from ingrain.batch import Column, Measurement
from ingrain.grains import GRAINS, OWN
from ingrain.registry import find_class

ROOT = Path(__file__).parents[2]
SEEN_HERE = ("dns.", "tls.", "connection.", "volume.", "ingrain.")
"""Of what runs natively on any kernel."""

OF_CONTAINERS = {"container", "pod", "namespace", "image"}
"""Tags that only what runs in a container has."""

NOT_HAD = {"encrypted_dns"}
"""And one that only look-ups over TLS have."""


@pytest.fixture
def exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exporter]:
    """Where the agent sends to by itself."""
    with statsd_exporter(tmp_path, f"--statsd.mapping-config={ROOT / 'config/grafana/statsd-mapping.yaml'}") as made:
        host, _, port = made.address.partition(":")
        monkeypatch.setenv("STATSD_HOST", host)
        monkeypatch.setenv("STATSD_PORT", port)
        yield made


@pytest.fixture
def database(exporter: Exporter, tmp_path: Path) -> Iterator[Prometheus]:
    """As compose.yaml configures it, but for the place of the exporter and its own haste."""
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
    settings = compose["configs"]["prometheus"]["content"]
    settings = settings.replace("statsd:9102", exporter.web).replace("_interval: 15s", "_interval: 1s")
    settings = settings.replace("/etc/prometheus/rules.yaml", str(ROOT / "config/grafana/prometheus-rules.yaml"))
    with prometheus(tmp_path, settings) as made:
        yield made


def charts() -> list[Chart]:
    return [chart for group in GROUPS for chart in group.charts]


def told(exporter: Exporter) -> dict[str, set[str]]:
    """StatsD's name of each value -> the tags that it came with."""
    in_statsd = {name: one for one, name in grafana.names().items()}
    found: dict[str, set[str]] = {}
    for name, labels, _ in exporter.samples():
        if name in in_statsd:
            found.setdefault(in_statsd[name], set()).update(labels)
    return found


def test_a_run_sends_every_metric_and_tag_that_is_asked_for(
    start: Start, group: Path, tmp_path: Path, exporter: Exporter, database: Prometheus
) -> None:
    one, other = Talker(start, "one"), Talker(start, "other")
    worked = start(sys.executable, EVERYTHING, tmp_path)
    shown = {
        value.name for chart in charts() for value in [*chart.values.values(), *([chart.over] if chart.over else [])]
    }
    wanted = {name for name in shown if name.startswith(SEEN_HERE)} - {"ingrain.spool.bytes"}  # nothing spools here
    with agent(adapted("datadog.toml", group, tmp_path), tmp_path):
        one("storm", count=20, to=other("bind", "u", family=4, proto="udp"))
        worked.communicate("\n", timeout=60)
        shake_hands(start)
        until(f"{sorted(wanted)}", lambda: wanted <= told(exporter).keys())
    there = told(exporter)
    for chart in charts():
        for value in chart.values.values():
            if value.name in wanted:
                tags = {*chart.by, *(tag for tag, _ in value.where)}
                assert tags - there[value.name] <= OF_CONTAINERS | NOT_HAD, (chart.title, value.name)
    for errors in ("sample_errors", "tag_errors", "events_error", "events_conflict", "events_unmapped"):
        assert exporter.total(f"statsd_exporter_{errors}_total") == 0
    send_the_rest()
    ask_all(database)


def shake_hands(start: Start) -> None:
    """A TLS handshake that both sides finish, by a key that they share."""
    port, key = str(free_port()), ["-psk", "0123456789abcdef", "-tls1_3", "-quiet"]
    server = start("openssl", "s_server", "-nocert", "-accept", f"127.0.0.1:{port}", *key)
    until("openssl to listen", lambda: accepts(int(port)))
    client = start("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "www.example.com", *key)
    assert client.stdin
    assert server.stdout
    client.stdin.write("hello\n")
    client.stdin.flush()
    assert server.stdout.readline() == "hello\n"


def send_the_rest() -> None:
    """A record of each measurement, with a value of each tag, through the example's own pipelines.

    Of the probes that this kernel may not have, and with values that the traffic did not have.
    """
    loaded = config.load(ROOT / "config/datadog.toml")
    for probe in loaded.probes:
        (name,) = probe.pipelines
        told = loaded.pipelines[name]
        with pipeline(told.backend, told.settings, *told.steps, name=name) as made:
            for one in find_class((GRAINS | OWN)[probe.type]).measurements:
                assert made.offer(batch_of(one, [record(one)]))
        assert made.stations[-1].lost == 0


def record(one: Measurement) -> Row:
    values = {"rcode": "NXDOMAIN", "query_seen": True, "encrypted_dns": "doh", "abi": "i386"}
    tags = {tag.name: values.get(tag.name, typical(tag)) for tag in one.tags}
    return {"timestamp": 0, **tags, **dict.fromkeys(one.value_names, 7)}


def typical(tag: Column) -> Any:
    if pa.types.is_boolean(tag.type):
        return False
    if pa.types.is_integer(tag.type):
        return 1
    return [] if pa.types.is_list(tag.type) else "some"


def ask_all(database: Prometheus) -> None:
    """Every expression of Grafana's dashboard has an answer."""
    document = json.loads((ROOT / "config/grafana/dashboard.json").read_text())
    expressions = {
        f"{panel['title']}: {target['expr']}": filled_in(target["expr"])
        for panel in document["panels"]
        for target in panel.get("targets", ())
    }
    assert len(expressions) > 50
    until("the last of it", lambda: database.ask("ingrain_process_oom_total"))
    for panel, expression in expressions.items():
        until(f"an answer to {panel}", partial(database.ask, expression))
    new = database.ask(filled_in("sum(ingrain_volume_out_bytes_total)"))
    ((_, counted),) = [one["value"] for one in database.ask(counted_of(document, "Bytes sent"))]
    assert float(counted) == float(new[0]["value"][1]) > 0  # also what came before Prometheus looked first
    until("a rule to raise its alert", lambda: database.ask('ALERTS{alertname="IngrainNewNames", q_name="some"}'))


def filled_in(expression: str) -> str:
    """As Grafana does it, for the last hour and all of everything."""
    expression = re.sub(r'=~"\$\w+"', '=~".*"', expression)
    return expression.replace("$__interval", "1m").replace("$__range", "1h")


def counted_of(document: Any, title: str) -> str:
    panel = next(one for one in document["panels"] if one["title"] == title and one["type"] == "stat")
    return filled_in(panel["targets"][0]["expr"])

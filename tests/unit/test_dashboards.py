"""Dashboards and monitors are what their makers' own models take, and show what the examples have the agent send."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import dashboards
import pytest
from dashboards import datadog, grafana
from dashboards.alerts import ALERTS, Alert
from dashboards.charts import GROUPS, WHOSE, Chart
from datadog_api_client import model_utils
from datadog_api_client.configuration import Configuration
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.monitor import Monitor
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard

from ingrain import config
from ingrain.grains import GRAINS, OWN
from ingrain.registry import find_class

CONFIG = Path(__file__).parents[2] / "config"
MONITORS = sorted((CONFIG / "datadog/monitors").glob("*.json"))
QUERY = re.compile(r"(?:sum|max|min):(?P<name>[a-z_.]+)\{(?P<filters>[^}]*)\}(?: by \{(?P<by>[^}]*)\})?")
SETTINGS = Configuration()  # type: ignore[no-untyped-call] # of Datadog's
OF_DATADOG = {"host"}  # its agent's tag
ALARMING = {chart.title for group in GROUPS for chart in group.charts if chart.alarming}


def document(path: Path) -> Any:
    return json.loads(path.read_text())


def faults(model: Any, where: str = "") -> Iterator[str]:
    """Where Datadog's client found no model for what stands there, or a model without a key of that name."""
    if getattr(model, "_unparsed", False):
        yield f"{where}: no {type(model).__name__}"
    parts: Any = ()
    if isinstance(model, list):
        parts = enumerate(model)
    elif isinstance(model, dict):
        parts = model.items()
    elif hasattr(model, "_data_store"):
        parts = model._data_store.items()
        yield from (fault for one in vars(model).get("_composed_instances", ()) for fault in faults(one, where))
        if isinstance(model, model_utils.ModelNormal):
            yield from (f"{where}: no key {key}" for key in model._data_store.keys() - model.attribute_map.keys())
    for key, value in parts:
        yield from faults(value, f"{where}.{key}")


def read_as(model: type, told: Any) -> Any:
    """As Datadog's client reads what its API answers."""
    client: Any = model_utils  # which is untyped
    how = {"spec_property_naming": True, "check_type": True, "configuration": SETTINGS}
    return client.validate_and_convert_types(told, (model,), ["document"], **how)


@cache
def sent_by(file: str) -> dict[str, set[str]]:
    """By this file of the examples: StatsD's name of each value -> the tags that it is sent with."""
    loaded = config.load(CONFIG / file)
    found: dict[str, set[str]] = {}
    for probe in loaded.probes:
        of_statsd = [loaded.pipelines[name] for name in probe.pipelines if loaded.pipelines[name].backend == "StatsD"]
        for one in find_class((GRAINS | OWN)[probe.type]).measurements:
            for pipeline in of_statsd:
                tags = {column.name for column in one.tags}
                for _, settings in pipeline.steps:
                    tags &= set(getattr(settings, "allow", tags))
                for column in one.value_names:
                    found[one.name if column == "value" else f"{one.name}.{column}"] = tags
    return found


def asked(text: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric that a query of Datadog's names, with the tags that it asks for."""
    for found in QUERY.finditer(text):
        narrowed = set(re.findall(r"([a-z_0-9]+)(?::| IN | NOT IN )", found["filters"]))
        narrowed |= set(re.findall(r"\$([a-z_]+)", found["filters"]))
        yield found["name"], (narrowed | {*(found["by"] or "").split(",")}) - {""}


def charts() -> list[Chart]:
    return [chart for group in GROUPS for chart in group.charts]


def test_the_files_are_those_that_make_dashboards_writes() -> None:
    there = {path for folder in ("datadog", "grafana") for path in (CONFIG / folder).rglob("*") if path.is_file()}
    assert {path: path.read_text() for path in there} == dashboards.files()


def test_datadog_s_client_knows_all_that_stands_in_the_dashboard() -> None:
    told = document(CONFIG / "datadog/dashboard.json")
    assert list(faults(read_as(Dashboard, told))) == []
    shown = sum(len(group["definition"].get("widgets", ())) for group in told["widgets"])
    assert shown > 40


@pytest.mark.parametrize("path", MONITORS, ids=lambda path: path.stem)
def test_datadog_s_client_knows_all_that_stands_in_a_monitor(path: Path) -> None:
    told = document(path)
    assert list(faults(read_as(Monitor, told))) == []
    operator, threshold = told["query"].rsplit(" ", 2)[1:]
    assert operator in (">", "<")
    assert told["options"]["thresholds"]["critical"] == float(threshold)  # else Datadog does not take it


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_of_whom_and_what_to_do_and_names_only_tags_that_it_has(alert: Alert) -> None:
    texts = (alert.title, alert.about, *alert.remedy)
    assert {tag for text in texts for tag in re.findall(r"{(\w+)}", text)} <= set(alert.by)
    assert set(re.findall(r"{(\w+)}", alert.title)) == set(alert.by), "what tells alerts apart is in their title"
    message = datadog.monitors()[alert.name]["message"]
    assert f"\n1. {alert.remedy[0].partition('{')[0]}" in message
    assert message.count("{{^is_recovery}}") == message.count("{{#is_recovery}}") == 1


def test_a_host_that_tells_nothing_is_an_alert_and_losses_that_are_not_told_are_none() -> None:
    missing = {name: one["options"]["on_missing_data"] for name, one in datadog.monitors().items()}
    assert missing.pop("agent-silent") == "show_and_notify_no_data"
    assert set(missing.values()) == {"default"}, "of counts, which take nothing for 0"


def test_both_dashboards_can_be_narrowed_down_to_a_host_a_container_and_a_process() -> None:
    in_datadog = [one["name"] for one in document(CONFIG / "datadog/dashboard.json")["template_variables"]]
    in_grafana = [one["name"] for one in document(CONFIG / "grafana/dashboard.json")["templating"]["list"]]
    assert in_datadog == in_grafana[1:] == ["host", *WHOSE]
    assert {"container", "process"} <= set(WHOSE)


def test_only_what_should_be_0_is_ever_red() -> None:
    for panel in document(CONFIG / "grafana/dashboard.json")["panels"]:
        if panel["type"] != "row":
            colours = {step["color"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]}
            assert ("red" in colours) is (panel["title"] in ALARMING), panel["title"]
            if panel["title"] in ALARMING:
                assert "noValue" not in panel["fieldConfig"]["defaults"], "what is not known is not 0"
    groups = document(CONFIG / "datadog/dashboard.json")["widgets"][1:]
    widgets = [widget["definition"] for group in groups for widget in group["definition"]["widgets"]]
    formatted = {one["title"] for one in widgets if "conditional_formats" in one["requests"][0]}
    assert formatted == ALARMING


@pytest.mark.parametrize(
    "harm",
    [
        ('"timeseries"', '"timeserie"'),
        ('"data_source": "metrics"', '"data_source": "metric"'),
        ('"layout_type": "ordered"', '"layout_type": "orderly"'),
        ('"formulas"', '"formulae"'),
    ],
    ids=lambda harm: harm[1],
)
def test_a_mistake_in_the_dashboard_would_be_seen(harm: tuple[str, str]) -> None:
    told = document(CONFIG / "datadog/dashboard.json")
    told["widgets"] = told["widgets"][2:3]  # one group has all that there is to get wrong
    told = json.loads(json.dumps(told).replace(*harm))
    assert list(faults(read_as(Dashboard, told))) != []


@pytest.mark.parametrize("file", ["datadog.toml", "everything.toml"])
@pytest.mark.parametrize("path", [CONFIG / "datadog/dashboard.json", *MONITORS], ids=lambda path: path.stem)
def test_datadog_is_asked_only_for_metrics_and_tags_that_the_agent_sends(path: Path, file: str) -> None:
    sent = sent_by(file)
    queries = list(asked(path.read_text()))
    assert queries
    for name, tags in queries:
        assert name in sent
        lacking = tags - sent[name] - OF_DATADOG
        # Each chart of what is seen can be narrowed down by whose it is, also by a tag that its records have not.
        assert lacking <= set(WHOSE) & tags if path.stem == "dashboard" else not lacking, (name, lacking)


@pytest.mark.parametrize("chart", charts(), ids=lambda chart: chart.title)
def test_a_chart_tells_series_apart_by_tags_that_all_its_values_have(chart: Chart) -> None:
    sent = sent_by("datadog.toml")
    for value in [*chart.values.values(), *([chart.over] if chart.over else [])]:
        assert {*chart.by, *(tag for tag, _ in value.where)} <= sent[value.name]


def test_every_measurement_of_the_example_s_probes_is_on_the_dashboard() -> None:
    shown = {value.name for chart in charts() for value in chart.values.values()}
    seen = {probe.type for probe in config.load(CONFIG / "datadog.toml").probes} & GRAINS.keys()
    known = {one.name for kind in seen for one in find_class(GRAINS[kind]).measurements}
    assert known - shown == set()


def test_both_examples_send_the_same_metrics() -> None:
    one, other = (tomllib.loads((CONFIG / name).read_text()) for name in ("datadog.toml", "everything.toml"))
    del other["pipeline"]["s3"]
    assert one["pipeline"] == other["pipeline"]


def test_grafana_s_models_know_all_that_stands_in_its_dashboard() -> None:
    told = document(CONFIG / "grafana/dashboard.json")
    again = json.loads(JSONEncoder(sort_keys=True).encode(GrafanaDashboard.from_json(told)))

    def lost(one: Any, other: Any, where: str = "") -> Iterator[str]:
        if isinstance(one, dict):
            for key in one:
                yield from lost(one[key], other[key], f"{where}.{key}") if key in other else [f"{where}.{key}"]
        elif isinstance(one, list):
            assert len(one) == len(other)
            for at, value in enumerate(one):
                yield from lost(value, other[at], f"{where}[{at}]")
        elif one != other:
            yield where

    assert list(lost(told, again)) == []


def test_panels_of_grafana_s_dashboard_lie_beside_each_other_and_have_numbers_of_their_own() -> None:
    panels = document(CONFIG / "grafana/dashboard.json")["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        places = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in places) < 24
        assert not places & taken, panel["title"]
        taken |= places


def test_each_value_has_a_name_of_its_own_in_prometheus_with_its_unit() -> None:
    names = grafana.names()
    assert len(set(names.values())) == len(names)
    assert all(re.fullmatch(r"ingrain(_[a-z0-9]+)+", name) for name in names.values())
    assert names["volume.out"] == "ingrain_volume_out_bytes_total"
    assert names["dns.answer.latency_ns"] == "ingrain_dns_answer_latency_seconds_total"
    assert names["ingrain.delivery.latency"] == "ingrain_delivery_latency_seconds"


def test_a_name_is_new_when_none_of_the_seven_days_before_has_it() -> None:
    query = datadog.monitors()["new-names"]["query"]
    assert re.findall(r", -(\d+)\)", query) == [str(day * 86_400) for day in range(1, 8)]
    assert query.startswith("sum(last_1d):")

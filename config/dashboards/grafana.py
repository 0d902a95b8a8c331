"""The charts as a Grafana dashboard over Prometheus, and the names that Prometheus's statsd_exporter gives them there.

The forms: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model and
https://github.com/prometheus/statsd_exporter#metric-mapping-and-configuration. Names are Prometheus's: units are
seconds and bytes, counters end in `_total`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from dashboards.charts import GROUPS, WHOSE, Chart, Form, Group, Unit, Value
from ingrain.batch import Kind, Measurement
from ingrain.grains import GRAINS, OWN
from ingrain.registry import find_class

Json = dict[str, Any]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_UNITS = {Unit.EVENTS: "short", Unit.BYTES: "bytes", Unit.NS: "s"}
_WIDTH, _HEIGHT, _SHOWN = 24, 8, 10
_ALARM = {"mode": "absolute", "steps": [{"color": "green", "value": None}, {"color": "red", "value": 1}]}

HOST = 'instance=~"$host"'
"""Narrows a panel down to the chosen hosts."""

_FORGOTTEN = "168h"  # a series that got nothing for a week: so new names are new for that long


def measurements() -> list[Measurement]:
    """All that this build measures itself: what others measured goes on under their names."""
    made = [one for place in (GRAINS | OWN).values() for one in find_class(place).measurements]
    return [one for one in made if not one.named_by]


def names() -> dict[str, str]:
    """Name in StatsD -> name in Prometheus."""
    found = {}
    for one in measurements():
        for column in one.value_names:
            name = one.name if column == "value" else f"{one.name}.{column}"
            found[name] = _name(name, one.unit if column == "value" else "", one.kind)
    return found


def _name(name: str, unit: str, kind: Kind) -> str:
    words = re.split(r"[._]", name.removeprefix("ingrain."))
    unit = {"ns": "seconds"}.get(unit, unit)
    words = ["seconds" if word == "ns" else word for word in words]
    if unit not in ("events", "", *words):
        words.append(unit)
    return "_".join(["ingrain", *words, *(["total"] if kind is Kind.COUNTER else [])])


def mapping() -> str:
    """statsd_exporter's file of mappings, YAML."""
    lines = [
        "# Names and units of what ingrain sends, for Prometheus's statsd_exporter (--statsd.mapping-config).",
        "# Made by `make dashboards`.",
        "defaults:",
        f"  ttl: {_FORGOTTEN} # a series that gets nothing for so long is forgotten",
        "mappings:",
    ]
    about = {one.name: one for one in measurements()}
    for name, called in names().items():
        one = about.get(name) or about[name.rpartition(".")[0]]
        lines += [
            f"  - match: {name}",
            f"    match_metric_type: {one.kind}",
            f"    name: {called}",
            f"    help: {json.dumps(one.about)}",
            *(["    scale: 1e-9"] if "_seconds" in called else []),
        ]
    return "\n".join([*lines, ""])


def dashboard() -> Json:
    """The dashboard."""
    return {
        "uid": "ingrain",
        "title": "ingrain",
        "description": "What processes and containers do, as ingrain sees it, by way of Prometheus's statsd_exporter",
        "tags": ["ingrain"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "refresh": "30s",
        "templating": {"list": [_source(), *_variables()]},
        "annotations": {"list": []},
        "panels": list(_panels()),
    }


def _source() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}


def _variables() -> Iterator[Json]:
    """The host, by the label that Prometheus gives what it scrapes, and whose it is; each within those before it."""
    chosen = ['__name__=~"ingrain_.+"']
    for name, label in (("host", "instance"), *((tag, tag) for tag in WHOSE)):
        yield {
            "name": name,
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": f"label_values({{{', '.join(chosen)}}}, {label})", "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }
        chosen.append(f'{label}=~"${name}"')


def _panels() -> Iterator[Json]:
    number, top = 1, 0
    for group in GROUPS:
        at = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": group.title, "collapsed": False, "gridPos": at, "panels": []}
        number, top, left, height = number + 1, top + 1, 0, 0
        for chart in group.charts:
            small = chart.form is Form.NUMBER
            width, tall = (_WIDTH // 6, _HEIGHT // 2) if small else (_WIDTH // 3, _HEIGHT)
            if left + width > _WIDTH or (left and tall != height):
                left, top = 0, top + height
            at, height = {"h": tall, "w": width, "x": left, "y": top}, tall
            yield {"id": number, "title": chart.title, "gridPos": at, "datasource": SOURCE, **_panel(chart, group)}
            number, left = number + 1, left + width
        top += height


def _panel(chart: Chart, group: Group) -> Json:
    filters = [HOST, *(f'{tag}=~"${tag}"' for tag in WHOSE if group.narrowed)]
    now = chart.form is not Form.BARS
    targets = [
        {
            "refId": chr(ord("A") + at),
            "datasource": SOURCE,
            "expr": _expression(chart, value, filters),
            "legendFormat": " ".join(f"{{{{{tag}}}}}" for tag in chart.by) or (called if called != "value" else "all"),
            "instant": now,
            "range": not now,
        }
        for at, (called, value) in enumerate(chart.values.items())
    ]
    # Grafana's own thresholds paint all that is above 80 red.
    one_colour = {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}
    defaults: Json = {"unit": _UNITS[chart.unit], "min": 0, "thresholds": one_colour}
    panel: Json = {"targets": targets, "fieldConfig": {"defaults": defaults, "overrides": []}}
    if chart.about:
        panel["description"] = chart.about
    values = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match chart.form:
        case Form.BARS:
            drawn = chart.gauge or chart.over is not None
            defaults["color"] = {"mode": "palette-classic"}
            defaults["custom"] = (
                {"drawStyle": "line", "showPoints": "never", "fillOpacity": 10}
                if drawn
                else {"drawStyle": "bars", "fillOpacity": 60, "stacking": {"mode": "normal", "group": "A"}}
            )
            return panel | {
                "type": "timeseries",
                "interval": "1m",
                "options": {
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                },
            }
        case Form.TOP:
            defaults["color"] = {"mode": "fixed", "fixedColor": "blue"}
            shown = {"displayMode": "basic", "orientation": "horizontal", "reduceOptions": values, "showUnfilled": True}
            return panel | {"type": "bargauge", "options": shown}
        case Form.NUMBER:
            shown = {"reduceOptions": values, "graphMode": "none", "colorMode": "none"}
            if chart.alarming:  # without a value it is not known, and not 0
                defaults["thresholds"] = _ALARM
                shown["colorMode"] = "background"
            else:
                defaults["noValue"] = "0"
            return panel | {"type": "stat", "options": shown}
        case Form.NEW:
            for target in targets:
                target["format"] = "table"
            tidy = {"excludeByName": {"Time": True}, "renameByName": {"Value": "count"}}
            shown = {"showHeader": True, "sortBy": [{"displayName": "count", "desc": True}]}
            return panel | {
                "type": "table",
                "options": shown,
                "transformations": [{"id": "organize", "options": tidy}],
            }


def _expression(chart: Chart, value: Value, filters: list[str]) -> str:
    match chart.form:
        case Form.BARS if chart.gauge:
            return f"max by ({', '.join(chart.by)}) ({_selected(value, filters)})"
        case Form.BARS:
            shown = counted(value, chart.by, filters, "$__interval")
            if chart.over:
                shown = f"{shown} / {counted(chart.over, chart.by, filters, '$__interval')}"
            if not chart.by:
                return shown
            most = counted(chart.over or value, chart.by, filters, "$__range", at=" @ end()")
            return f"{shown} and on ({', '.join(chart.by)}) topk({_SHOWN}, {most})"
        case Form.TOP:
            return f"topk({_SHOWN}, {counted(value, chart.by, filters, '$__range')} > 0)"
        case Form.NUMBER:
            return counted(value, chart.by, filters, "$__range")
        case Form.NEW:
            return f"{summed(value, chart.by, filters)} unless {summed(value, chart.by, filters, '$__range')}"


def counted(value: Value, by: tuple[str, ...], filters: list[str], span: str, at: str = "") -> str:
    """What was added within the span, by PromQL. at: when that ends, where it is not the moment that is asked for.

    Not `increase`: most series of this kind begin with their first event, of which Prometheus saw no 0 before, and
    which `increase` would leave out. A series that is forgotten or begins anew makes the sum less, and no negative bar.
    """
    now = summed(value, by, filters, at=at)
    return f"clamp_min({now} - ({summed(value, by, filters, span, at)} or 0 * {now}), 0)"


def summed(value: Value, by: tuple[str, ...], filters: list[str], before: str = "", at: str = "") -> str:
    """What it is, or was so long before."""
    ago = f" offset {before}" if before else ""
    return f"sum by ({', '.join(by)}) ({_selected(value, filters)}{at}{ago})"


def _selected(value: Value, filters: list[str]) -> str:
    wanted = ", ".join(filters + [_filter(tag, asked) for tag, asked in value.where])
    return f"{names()[value.name]}{{{wanted}}}" if wanted else names()[value.name]


def _filter(tag: str, wanted: str) -> str:
    if wanted == "*":
        return f'{tag}!=""'
    none_of, values = wanted.startswith("!"), wanted.removeprefix("!")
    if not re.search(r"[|*]", values):
        return f'{tag}{"!=" if none_of else "="}"{values}"'
    pattern = re.escape(values).replace(r"\|", "|").replace(r"\*", ".*").replace("\\", "\\\\")
    return f'{tag}{"!~" if none_of else "=~"}"{pattern}"'

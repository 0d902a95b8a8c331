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
        "templating": {"list": [_source(), *(_variable(tag) for tag in WHOSE)]},
        "annotations": {"list": []},
        "panels": list(_panels()),
    }


def _source() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}


def _variable(tag: str) -> Json:
    query = f'label_values({{__name__=~"ingrain_.+"}}, {tag})'
    return {
        "name": tag,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": tag},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


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
    filters = [f'{tag}=~"${tag}"' for tag in WHOSE] if group.narrowed else []
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
    defaults: Json = {"unit": _UNITS[chart.unit], "min": 0}
    panel: Json = {"targets": targets, "fieldConfig": {"defaults": defaults, "overrides": []}}
    values = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match chart.form:
        case Form.BARS:
            drawn = chart.gauge or chart.over is not None
            defaults["custom"] = (
                {"drawStyle": "line"}
                if drawn
                else {"drawStyle": "bars", "fillOpacity": 60, "stacking": {"mode": "normal", "group": "A"}}
            )
            return panel | {
                "type": "timeseries",
                "interval": "1m",
                "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
            }
        case Form.TOP:
            shown = {"displayMode": "basic", "orientation": "horizontal", "reduceOptions": values, "showUnfilled": True}
            return panel | {"type": "bargauge", "options": shown}
        case Form.NUMBER:
            return panel | {"type": "stat", "options": {"reduceOptions": values, "graphMode": "none"}}
        case Form.NEW:
            for target in targets:
                target["format"] = "table"
            hidden = {"id": "organize", "options": {"excludeByName": {"Time": True}}}
            return panel | {"type": "table", "options": {"showHeader": True}, "transformations": [hidden]}


def _expression(chart: Chart, value: Value, filters: list[str]) -> str:
    match chart.form:
        case Form.BARS if chart.gauge:
            return f"max by ({', '.join(chart.by)}) ({_selected(value, filters)})"
        case Form.BARS:
            counted = _counted(value, chart.by, filters, "$__interval")
            return f"{counted} / {_counted(chart.over, chart.by, filters, '$__interval')}" if chart.over else counted
        case Form.TOP:
            return f"topk({_SHOWN}, {_counted(value, chart.by, filters, '$__range')} > 0)"
        case Form.NUMBER:
            return _counted(value, chart.by, filters, "$__range")
        case Form.NEW:
            return f"{_summed(value, chart.by, filters)} unless {_summed(value, chart.by, filters, '$__range')}"


def _counted(value: Value, by: tuple[str, ...], filters: list[str], span: str) -> str:
    """What was added within the span.

    Not `increase`: most series of this kind begin with their first event, of which Prometheus saw no 0 before, and
    which `increase` would leave out. A series that is forgotten or begins anew makes the sum less, and no negative bar.
    """
    now = _summed(value, by, filters)
    return f"clamp_min({now} - ({_summed(value, by, filters, span)} or 0 * {now}), 0)"


def _summed(value: Value, by: tuple[str, ...], filters: list[str], before: str = "") -> str:
    ago = f" offset {before}" if before else ""
    return f"sum by ({', '.join(by)}) ({_selected(value, filters)}{ago})"


def _selected(value: Value, filters: list[str]) -> str:
    wanted = [_filter(tag, asked) for tag, asked in value.where]
    return f"{names()[value.name]}{{{', '.join(filters + wanted)}}}"


def _filter(tag: str, wanted: str) -> str:
    if wanted == "*":
        return f'{tag}!=""'
    return f'{tag}!="{wanted[1:]}"' if wanted.startswith("!") else f'{tag}="{wanted}"'

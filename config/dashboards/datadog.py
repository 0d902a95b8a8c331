"""The charts as a Datadog dashboard, and the monitors, as JSON that its web pages and its API take.

The forms: https://docs.datadoghq.com/dashboards/graphing_json and https://docs.datadoghq.com/api/latest/monitors.
Datadog's tags are in lower case, its counts are asked for with `as_count()`.
"""

from __future__ import annotations

import re
from typing import Any

from dashboards.alerts import ALERTS, Alert, Severity, When
from dashboards.charts import GROUPS, WHOSE, Chart, Form, Group, Unit, Value

Json = dict[str, Any]

_UNITS = {Unit.BYTES: "byte", Unit.NS: "nanosecond"}
_SHOWN = 10
_DAY_S = 86_400
_DAYS = 7
_NEVER = 1_000_000
"""Times so many what was seen before outweighs all of now, but for nothing at all."""

_PRIORITIES = {Severity.CRITICAL: 1, Severity.WARNING: 3, Severity.INFO: 5}
_OVER = {
    When.COUNTED: "It has not happened again.",
    When.STALLED: "Records are delivered again.",
    When.SILENT: "The agent reports again.",
    When.NEW: "It is known by now.",
}
_AGAIN_MIN = 240
"""After so long a problem that goes on is told again."""

_ABOUT = (
    "What processes and containers do, as ingrain sees it. Narrow it down by the variables above. What is sent is in "
    "`config/datadog.toml`; `ingrain ask` and `ingrain report` know the records behind the numbers."
)


def dashboard() -> Json:
    """The dashboard."""
    return {
        "title": "ingrain",
        "description": "What processes and containers do, as ingrain with config/datadog.toml sees it",
        "layout_type": "ordered",
        "template_variables": [
            {"name": tag, "prefix": tag, "available_values": [], "defaults": ["*"]} for tag in ("host", *WHOSE)
        ],
        "tags": [],
        "widgets": [_note(), *(_group(group) for group in GROUPS)],
    }


def _note() -> Json:
    return {"definition": {"type": "note", "content": _ABOUT, "background_color": "transparent", "show_tick": False}}


def _group(group: Group) -> Json:
    scope = [f"${tag}" for tag in (("host", *WHOSE) if group.narrowed else ("host",))]
    charts = [{"definition": _widget(chart, scope)} for chart in group.charts if chart.form is not Form.NEW]
    return {"definition": {"type": "group", "layout_type": "ordered", "title": group.title, "widgets": charts}}


def _widget(chart: Chart, scope: list[str]) -> Json:
    queries, formulas = [], []
    parts = list(chart.values.items()) + ([("", chart.over)] if chart.over else [])
    for at, (called, value) in enumerate(parts):
        name = f"q{at}"
        query = {"data_source": "metrics", "name": name, "query": query_of(value, scope, chart.by, gauge=chart.gauge)}
        if chart.form is not Form.BARS:
            query["aggregator"] = "sum"
        queries.append(query)
        if value is not chart.over:
            formulas.append(_formula(chart, f"q{at} / q{len(chart.values)}" if chart.over else name, called))
    request: Json = {"queries": queries, "formulas": formulas}
    if chart.form is Form.BARS:
        shape = "line" if chart.gauge or chart.over else "bars"
        request |= {"response_format": "timeseries", "display_type": shape}
        drawn: Json = {"type": "timeseries", "title": chart.title, "requests": [request]}
        return drawn | {"show_legend": True, "legend_layout": "auto", "yaxis": {"include_zero": True}}
    request["response_format"] = "scalar"
    if chart.form is Form.TOP:
        return {"type": "toplist", "title": chart.title, "requests": [request]}
    if chart.alarming:
        well, ill = ("<=", "white_on_green"), (">", "white_on_red")
        request["conditional_formats"] = [
            {"comparator": comparator, "value": 0, "palette": palette} for comparator, palette in (well, ill)
        ]
    digits = 0 if chart.unit is Unit.EVENTS else 1
    return {
        "type": "query_value",
        "title": chart.title,
        "requests": [request],
        "autoscale": True,
        "precision": digits,
    }


def _formula(chart: Chart, formula: str, called: str) -> Json:
    made: Json = {"formula": formula}
    if called not in ("", "value"):
        made["alias"] = called
    if chart.form is Form.TOP or (chart.form is Form.BARS and chart.by):
        made["limit"] = {"count": _SHOWN, "order": "desc"}
    if chart.unit in _UNITS:
        made["number_format"] = {"unit": {"type": "canonical_unit", "unit_name": _UNITS[chart.unit]}}
    return made


def query_of(value: Value, scope: list[str], by: tuple[str, ...], *, gauge: bool = False) -> str:
    """The sum of its series by these tags; of a gauge the highest."""
    parts = scope + [_filter(tag, wanted) for tag, wanted in value.where]
    filters = (" AND " if any(" " in part for part in parts) else ",").join(parts) or "*"
    apart = f" by {{{','.join(by)}}}" if by else ""
    return f"{'max' if gauge else 'sum'}:{value.name}{{{filters}}}{apart}{'' if gauge else '.as_count()'}"


def _filter(tag: str, wanted: str) -> str:
    none_of = wanted.startswith("!")
    values = wanted.lower().removeprefix("!").split("|")
    if len(values) == 1:
        return f"{'!' if none_of else ''}{tag}:{values[0]}"
    if none_of:
        return f"{tag} NOT IN ({','.join(values)})"
    return f"({' OR '.join(f'{tag}:{value}' for value in values)})"


def monitors() -> dict[str, Json]:
    """The monitors, by the name of each one's file."""
    return {alert.name: _monitor(alert) for alert in ALERTS}


def _monitor(alert: Alert) -> Json:
    silent = alert.when is When.SILENT
    goes_on = alert.when in (When.STALLED, When.SILENT)
    return {
        "name": _named(alert.title),
        "type": "query alert",
        "query": _query(alert),
        "message": _message(alert),
        "tags": ["service:ingrain"],
        "priority": _PRIORITIES[alert.severity],
        "options": {
            "thresholds": {"critical": 1.0 if silent else 0.0},
            "include_tags": True,
            "new_group_delay": 300 if silent else 0,
            "notify_audit": False,
            # "default" takes counts that are not there for 0, so an alert ends by itself.
            "on_missing_data": "show_and_notify_no_data" if silent else "default",
            "require_full_window": False,
            **({"renotify_interval": _AGAIN_MIN, "renotify_statuses": ["alert", "no data"]} if goes_on else {}),
        },
    }


def _query(alert: Alert) -> str:
    counted = query_of(alert.value, [], alert.by)
    window = f"last_{alert.minutes // 1440}d" if alert.minutes >= 1440 else f"last_{alert.minutes}m"  # noqa: PLR2004 a day
    match alert.when:
        case When.COUNTED:
            return f"sum({window}):{counted} > 0"
        case When.STALLED:
            went_out = query_of(Value("ingrain.records.delivered"), [], alert.by)
            return f"sum({window}):{counted} - {_NEVER} * {went_out} > 0"
        case When.SILENT:
            return f"sum({window}):{counted} < 1"
        case When.NEW:  # more than 0 only for series that no day before had: counts that are not there are 0
            before = " + ".join(f"timeshift({counted}, -{day * _DAY_S})" for day in range(1, _DAYS + 1))
            return f"sum({window}):{counted} - {_NEVER} * ({before}) > 0"


def _message(alert: Alert) -> str:
    told = _named(f"{alert.about}\n\n{alert.steps}")
    over = f"{{{{#is_recovery}}}}{_OVER[alert.when]}{{{{/is_recovery}}}}"
    return f"{{{{^is_recovery}}}}\n{told}\n{{{{/is_recovery}}}}\n{over}"


def _named(text: str) -> str:
    """Tags in braces as Datadog's variables."""
    return re.sub(r"{(\w+)}", r"{{\1.name}}", text)

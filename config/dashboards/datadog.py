"""The charts as a Datadog dashboard, and the monitors, as JSON that its web pages and its API take.

The forms: https://docs.datadoghq.com/dashboards/graphing_json and https://docs.datadoghq.com/api/latest/monitors.
Datadog's tags are in lower case, its counts are asked for with `as_count()`.
"""

from __future__ import annotations

from typing import Any

from dashboards.charts import GROUPS, HELLO, WHOSE, Chart, Form, Group, Unit, Value

Json = dict[str, Any]

_UNITS = {Unit.BYTES: "byte", Unit.NS: "nanosecond"}
_SHOWN = 10
_DAY_S = 86_400
_DAYS = 7
_NEVER = 1_000_000
"""Times so many what was seen before outweighs all of now, but for nothing at all."""

SECRETS = ("/etc/shadow", "/etc/gshadow", "/root/.ssh/*")
"""What few programs have to open."""

READERS = ("sshd", "su", "sudo", "login", "cron", "systemd", "passwd", "unix_chkpwd")
"""Those few."""


def dashboard() -> Json:
    """The dashboard."""
    return {
        "title": "ingrain",
        "description": "What processes and containers do, as ingrain with config/datadog.toml sees it",
        "layout_type": "ordered",
        "template_variables": [
            {"name": tag, "prefix": tag, "available_values": [], "default": "*"} for tag in ("host", *WHOSE)
        ],
        "widgets": [_group(group) for group in GROUPS],
    }


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
        return {"type": "timeseries", "title": chart.title, "requests": [request]}
    request["response_format"] = "scalar"
    if chart.form is Form.TOP:
        return {"type": "toplist", "title": chart.title, "requests": [request]}
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
    if chart.form is Form.TOP:
        made["limit"] = {"count": _SHOWN, "order": "desc"}
    if chart.unit in _UNITS:
        made["number_format"] = {"unit": {"type": "canonical_unit", "unit_name": _UNITS[chart.unit]}}
    return made


def query_of(value: Value, scope: list[str], by: tuple[str, ...], *, gauge: bool = False) -> str:
    """The sum of its series by these tags; of a gauge the highest."""
    filters = ",".join(scope + [_filter(tag, wanted) for tag, wanted in value.where]) or "*"
    apart = f" by {{{','.join(by)}}}" if by else ""
    return f"{'max' if gauge else 'sum'}:{value.name}{{{filters}}}{apart}{'' if gauge else '.as_count()'}"


def _filter(tag: str, wanted: str) -> str:
    wanted = wanted.lower()
    return f"!{tag}:{wanted[1:]}" if wanted.startswith("!") else f"{tag}:{wanted}"


def monitors() -> dict[str, Json]:
    """The monitors, by the name of each one's file."""
    return {
        "events-lost": _monitor(
            "ingrain loses events of {{probe.name}} on {{host.name}}",
            f"sum(last_5m):{_sum('ingrain.events.lost', 'host', 'probe')} > 0",
            "The kernel's buffers of this probe are full: something happens faster than the agent takes it out. A "
            "larger `buffer_kb`, or fewer of the probe's measurements and tags, mends it.",
        ),
        "records-lost": _monitor(
            "ingrain loses records of pipeline {{pipeline.name}} on {{host.name}}",
            f"sum(last_5m):{_sum('ingrain.records.lost', 'host', 'pipeline', 'stage')} > 0",
            "Stage {{stage.name}} could not pass records on. `ingrain status` and the agent's log on the host say why.",
        ),
        "records-refused": _monitor(
            "ingrain turns records away from pipeline {{pipeline.name}} on {{host.name}}",
            f"sum(last_5m):{_sum('ingrain.records.refused', 'host', 'pipeline')} > 0",
            "The pipeline is full: what is at its end is slower than what comes in. A Whitelist with fewer tags and a "
            "Buffer before the backend make less of it.",
        ),
        "delivery-stalled": _monitor(
            "ingrain delivers nothing from stage {{stage.name}} of pipeline {{pipeline.name}} on {{host.name}}",
            f"sum(last_15m):{_sum('ingrain.records.received', 'host', 'pipeline', 'stage')} - "
            f"{_NEVER} * {_sum('ingrain.records.delivered', 'host', 'pipeline', 'stage')} > 0",
            "For a quarter of an hour records came in and none went on. What is for S3 waits in the spool, up to "
            "`spool_max_mb`; `ingrain status` says which server fails, and why. A Buffer with an interval of more than "
            "some minutes needs a longer window here.",
        ),
        "agent-silent": _monitor(
            "ingrain on {{host.name}} is silent",
            f"sum(last_10m):{_sum('ingrain.records.delivered', 'host')} < 1",
            "The agent tells its own account also where nothing happens: so it has ended, or what it sends does not "
            "arrive.",
            on_missing_data="show_and_notify_no_data",
        ),
        "new-names": _monitor(
            "{{process.name}} asks for {{q_name.name}}, a name not seen in a week",
            f"sum(last_1d):{_new('dns.query', 'q_name', 'process')} > 0",
            "Asked for within the last day, and on none of the seven days before it, by a process of this name.",
        ),
        "new-fingerprints": _monitor(
            "{{process.name}} begins TLS with the fingerprint {{ja4.name}}, not seen in a week",
            f"sum(last_1d):{_new(HELLO, 'ja4', 'process')} > 0",
            "Another TLS library or other settings of one, for the first time in a week, in a process of this name.",
        ),
        "watched-files-opened": _monitor(
            "{{process.name}} has opened {{path.name}} on {{host.name}}",
            f"sum(last_5m):sum:file.open{{({' OR '.join(f'path:{path}' for path in SECRETS)}) AND "
            f"process NOT IN ({','.join(READERS)})}} by {{host,process,path,container}}.as_count() > 0",
            "A file that holds secrets was opened by a program that usually does not. Container: {{container.name}}.",
        ),
        **{
            f"watched-files-{done}": _monitor(
                f"{{{{process.name}}}} {told} {{{{path.name}}}} on {{{{host.name}}}}",
                f"sum(last_5m):{_sum(name, 'host', 'process', 'path', 'container')} > 0",
                "A watched file is not what it was. Container: {{container.name}}. Package managers do so, too: mute "
                "them by their names.",
            )
            for done, told, name in (
                ("written", "has written to", "file.write.calls"),
                ("renamed", "has renamed", "file.rename"),
                ("deleted", "has deleted", "file.delete"),
                ("mode-changed", "has changed the mode of", "file.chmod"),
                ("owner-changed", "has changed the owner of", "file.chown"),
            )
        },
    }


def _sum(name: str, *by: str) -> str:
    return query_of(Value(name), [], by)


def _new(name: str, *by: str) -> str:
    """More than 0 for series of the window that none of the days before it had. Counts that are not there are 0."""
    now = _sum(name, *by)
    before = " + ".join(f"timeshift({now}, -{day * _DAY_S})" for day in range(1, _DAYS + 1))
    return f"{now} - {_NEVER} * ({before})"


def _monitor(name: str, query: str, message: str, on_missing_data: str = "default") -> Json:
    threshold = float(query.rpartition(" ")[2])
    return {
        "name": name,
        "type": "query alert",
        "query": query,
        "message": message,
        "tags": ["service:ingrain"],
        "options": {
            "thresholds": {"critical": threshold},
            "include_tags": True,
            "new_group_delay": 0,
            "notify_audit": False,
            "on_missing_data": on_missing_data,
            "require_full_window": False,
        },
    }

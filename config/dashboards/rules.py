"""The alerts as rules of Prometheus, YAML that it takes by `rule_files`; an Alertmanager tells people.

The form: https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules. Metrics are those of
`config/grafana/statsd-mapping.yaml`; a host is an `instance`, a statsd_exporter that is scraped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from dashboards.alerts import ALERTS, HOST, Alert, When
from dashboards.charts import Value
from dashboards.grafana import counted, names, summed

_DAY_MIN = 1440


def rules() -> str:
    """The file."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# What somebody should be told of, for Prometheus (rule_files). Made by `make dashboards`."
    yield "groups:"
    yield "  - name: ingrain"
    yield "    rules:"
    for alert in ALERTS:
        yield f"      - alert: Ingrain{''.join(word.title() for word in alert.name.split('-'))}"
        yield f"        expr: {json.dumps(_expression(alert))}"
        yield "        labels:"
        yield f"          severity: {alert.severity.value}"
        yield "        annotations:"
        yield f"          summary: {json.dumps(_named(alert.title))}"
        yield f"          description: {json.dumps(_named(alert.about))}"
        yield f"          action: {json.dumps(_named(alert.steps))}"


def _expression(alert: Alert) -> str:
    by = tuple("instance" if tag == HOST else tag for tag in alert.by)
    span = f"{alert.minutes // _DAY_MIN}d" if alert.minutes >= _DAY_MIN else f"{alert.minutes}m"
    match alert.when:
        case When.COUNTED:
            return f"{counted(alert.value, by, [], span)} > 0"
        case When.STALLED:
            went_out = counted(Value("ingrain.records.delivered"), by, [], span)
            return f"{counted(alert.value, by, [], span)} > 0 and {went_out} == 0"
        case When.SILENT:  # statsd_exporter goes on telling what it heard last
            now = summed(alert.value, by, [])
            return f"{now} - {summed(alert.value, by, [], span)} == 0 or {_heard(alert, by)} unless {now}"
        case When.NEW:  # it forgets what nothing came for in a week
            return f"{summed(alert.value, by, [])} unless {summed(alert.value, by, [], span)}"


def _heard(alert: Alert, by: tuple[str, ...]) -> str:
    """Those that told anything within a day, also where their statsd_exporter is gone, and its series with it."""
    return f"sum by ({', '.join(by)}) (last_over_time({names()[alert.value.name]}[1d]))"


def _named(text: str) -> str:
    """Tags in braces as labels in Prometheus's templates."""
    return re.sub(r"{(\w+)}", lambda tag: f"{{{{ $labels.{'instance' if tag[1] == HOST else tag[1]} }}}}", text)

"""The dashboards, monitors and mapping of `config/`, made of one description: `make dashboards` writes them.

They stand in the repository as they are imported; a test holds them to what is made here.
"""

from __future__ import annotations

import json
from pathlib import Path

from dashboards import datadog, grafana, rules

FOLDER = Path(__file__).resolve().parents[1]


def files() -> dict[Path, str]:
    """Every file, with what is in it."""
    documents = {
        "datadog/dashboard.json": datadog.dashboard(),
        "grafana/dashboard.json": grafana.dashboard(),
        **{f"datadog/monitors/{name}.json": monitor for name, monitor in datadog.monitors().items()},
    }
    texts = {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents.items()}
    texts["grafana/statsd-mapping.yaml"] = grafana.mapping()
    texts["grafana/prometheus-rules.yaml"] = rules.rules()
    return {FOLDER / name: text for name, text in texts.items()}

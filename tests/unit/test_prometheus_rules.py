"""The rules for Prometheus, by its own promtool: what raises an alert, of whom, and what does not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from dashboards.alerts import ALERTS
from serving import CACHE

RULES = Path(__file__).parents[2] / "config/grafana/prometheus-rules.yaml"
PROMTOOL = CACHE / "prometheus/usr/bin/promtool"
DAY = 1440  # minutes, each of which has a sample

OPENED, LOST, QUERIES = "ingrain_file_open_total", "ingrain_events_lost_total", "ingrain_dns_query_total"
CAME, WENT = "ingrain_records_received_total", "ingrain_records_delivered_total"
STAGE = 'instance="a", pipeline="s3", stage="S3"'

Raises = Callable[..., None]


@pytest.fixture
def raises(tmp_path: Path) -> Raises:
    """Checks that an alert is raised, with these labels, at a minute; or that none is."""
    severity = {name(one.name): one.severity.value for one in ALERTS}

    def _raises(alert: str, *labels: str, at: int, **series: str) -> None:
        of_all = f'alertname="{alert}", alertstate="firing"'
        test = {
            "interval": "1m",
            "input_series": [{"series": one, "values": values} for one, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f"ALERTS{{{of_all}}}",
                    "eval_time": f"{at}m",
                    "exp_samples": [
                        {"labels": f'ALERTS{{{of_all}, {one}, severity="{severity[alert]}"}}', "value": 1}
                        for one in labels
                    ],
                }
            ],
        }
        file = tmp_path / "test.yaml"
        file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
        done = subprocess.run([PROMTOOL, "test", "rules", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return _raises


def name(slug: str) -> str:
    return "Ingrain" + "".join(word.title() for word in slug.split("-"))


def test_there_is_a_rule_for_each_alert_and_prometheus_takes_them() -> None:
    done = subprocess.run([PROMTOOL, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [name(alert.name) for alert in ALERTS]
    for rule in group["rules"]:
        assert rule["annotations"].keys() == {"summary", "description", "action"}


def test_a_loss_is_told_of_its_host_and_probe_and_no_longer_than_it_is_news(raises: Raises) -> None:
    series = {
        f'{LOST}{{instance="a", probe="DNS"}}': "0x9 7x20",
        f'{LOST}{{instance="b", probe="DNS"}}': "0x30",
    }
    raises("IngrainEventsLost", at=9, **series)
    raises("IngrainEventsLost", 'instance="a", probe="DNS"', at=12, **series)
    raises("IngrainEventsLost", at=20, **series)


def test_a_secret_that_is_opened_for_the_first_time_is_told_and_what_opens_it_daily_is_not(raises: Raises) -> None:
    series = {
        f'{OPENED}{{instance="a", process="cat", path="/etc/shadow"}}': "_x9 1x9",
        f'{OPENED}{{instance="a", process="vi", path="/root/.ssh/config"}}': "_x9 1x9",
        f'{OPENED}{{instance="a", process="sshd", path="/etc/shadow"}}': "_x9 1x9",
        f'{OPENED}{{instance="a", process="cat", path="/etc/hosts"}}': "_x9 1x9",
    }
    raises(
        "IngrainWatchedFilesOpened",
        'instance="a", process="cat", path="/etc/shadow"',
        'instance="a", process="vi", path="/root/.ssh/config"',
        at=10,
        **series,
    )


def test_a_stage_that_takes_records_in_and_delivers_none_is_stalled(raises: Raises) -> None:
    raises("IngrainDeliveryStalled", STAGE, at=30, **{f"{CAME}{{{STAGE}}}": "0+5x30", f"{WENT}{{{STAGE}}}": "9x30"})
    raises("IngrainDeliveryStalled", at=30, **{f"{CAME}{{{STAGE}}}": "0+5x30", f"{WENT}{{{STAGE}}}": "0+5x30"})
    raises("IngrainDeliveryStalled", at=30, **{f"{CAME}{{{STAGE}}}": "9x30", f"{WENT}{{{STAGE}}}": "9x30"})


def test_an_agent_is_silent_when_its_counts_stand_still_and_when_they_are_gone(raises: Raises) -> None:
    series = {
        f'{WENT}{{instance="stopped", pipeline="p", stage="S3"}}': "0+1x10 10x30",
        f'{WENT}{{instance="gone", pipeline="p", stage="S3"}}': "0+1x10 stale",
        f'{WENT}{{instance="well", pipeline="p", stage="S3"}}': "0+1x40",
        f'{WENT}{{instance="new", pipeline="p", stage="S3"}}': "_x35 1x5",
    }
    raises("IngrainAgentSilent", 'instance="gone"', 'instance="stopped"', at=38, **series)


def test_a_name_is_new_for_a_day_and_not_because_it_is_asked_for_again(raises: Raises) -> None:
    series = {
        f'{QUERIES}{{process="curl", q_name="old.example"}}': f"1+1x{DAY + 60}",
        f'{QUERIES}{{process="curl", q_name="new.example"}}': f"_x{DAY} 1x60",
    }
    raises("IngrainNewNames", 'process="curl", q_name="new.example"', at=DAY + 30, **series)

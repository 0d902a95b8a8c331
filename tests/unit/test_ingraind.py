"""A file with every section of ingraind's own configuration is taken, and each part of it is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from agents import ingrain

from ingrain import config
from ingrain.config import Config

REFERENCE = Path(__file__).with_name("ingraind-reference.toml")


@pytest.fixture(scope="module")
def loaded() -> Config:
    return config.load(REFERENCE)


def test_check_takes_the_reference_configuration_and_doubts_only_its_pipelines_that_nothing_feeds() -> None:
    done = ingrain("check", REFERENCE)
    assert done.returncode == 0, done.stderr
    doubts = [line.split(": ", 1)[1] for line in done.stderr.splitlines()]
    unfed = "pipeline.{}: no probe feeds this pipeline (warning)"
    assert doubts == [unfed.format(name) for name in ("http", "statsd", "s3")]
    for secret in ("API-Key", "0123456789", "some value", '"token"'):
        assert secret not in done.stdout


def test_every_probe_of_it_is_one_of_this_agent_s(loaded: Config) -> None:
    assert [probe.type for probe in loaded.probes if probe.settings is None] == []
    kinds = {"Files", "TCP4", "UDP", "Network", "DNS", "TLS", "Syscall", "StatsD", "Osquery", "Test"}
    assert {probe.type for probe in loaded.probes} == kinds


def test_every_step_and_backend_of_it_is_there_in_its_order(loaded: Config) -> None:
    pipelines = {name: ([kind for kind, _ in one.steps], one.backend) for name, one in loaded.pipelines.items()}
    assert pipelines == {
        "console": ([], "Console"),
        "http": ([], "HTTP"),
        "statsd": (["Buffer"], "StatsD"),
        "s3": (["AddSystemDetails", "Exec", "Whitelist", "Regex", "Container"], "S3"),
        "prod": (["Container", "AddSystemDetails", "Regex", "Buffer"], "HTTP"),
        "staging": (["Container", "Buffer"], "Console"),
        "sources": (["Buffer"], "HTTP"),
    }


def test_its_log_and_its_headers_say_what_they_say(loaded: Config) -> None:
    assert (loaded.log.type, loaded.log.log_level) == ("Syslog", "INFO")
    http = loaded.pipelines["http"].settings
    assert (http.uri, http.encoding) == ("http://example.redsift.com/insert", "JSON")
    assert http.headers == {"authorization": "token", "custom-header": "some value"}

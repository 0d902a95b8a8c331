"""What holds of all example configurations: those of `config/`, the README's, and the one in docker/kubernetes.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chain import batch_of, chain

from ingrain import config
from ingrain.config.model import Config
from ingrain.grains import GRAINS, OWN
from ingrain.registry import find_class
from ingrain.steps import STEPS

ROOT = Path(__file__).parents[2]
AS_IT_STOOD = "ingraind-announcement.toml"
"""Another project's file, which is not ours to improve."""


def texts() -> Iterator[tuple[str, str]]:
    """Name and TOML of each."""
    for path in sorted((ROOT / "config").glob("*.toml")):
        yield path.name, path.read_text()
    (readme,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    yield "README.md", readme
    manifests = yaml.safe_load_all((ROOT / "docker/kubernetes.yaml").read_text())
    yield from (("kubernetes.yaml", one["data"]["ingrain.toml"]) for one in manifests if one["kind"] == "ConfigMap")


@pytest.fixture(params=list(texts()), ids=lambda one: one[0])
def example(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Config]:
    name, text = request.param
    file = tmp_path / "config.toml"
    file.write_text(text)
    return name, config.load(file)


def fed(loaded: Config, backends: set[str]) -> Iterator[tuple[str, str]]:
    """Probe and pipeline, of those that end in such a backend."""
    for probe in loaded.probes:
        yield from ((probe.type, name) for name in probe.pipelines if loaded.pipelines[name].backend in backends)


def test_a_thousand_clients_of_a_server_are_no_thousand_series(example: tuple[str, Config]) -> None:
    _, loaded = example
    for kind, name in fed(loaded, {"StatsD"}):
        for one in find_class((GRAINS | OWN)[kind]).measurements:
            tags = [tag.name for tag in one.tags]
            if "d_port" not in tags:
                continue
            rows = [
                {"value": 1, "process": "nginx", "proto": "tcp", "direction": "out", "s_port": port, "d_port": port}
                | dict.fromkeys(one.value_names, 1)
                for port in range(32_768, 60_999, 29)  # net.ipv4.ip_local_port_range
            ]
            steps = [(find_class(STEPS[step]), settings) for step, settings in loaded.pipelines[name].steps]
            with chain(*steps) as made:
                made.tell(
                    batch_of(
                        one, [{key: value for key, value in row.items() if key in one.schema.names} for row in rows]
                    )
                )
                made.flush()
                assert len(made.rows) == 1, (kind, name, one.name)


def test_what_is_archived_is_archived_with_the_agent_s_own_account(example: tuple[str, Config]) -> None:
    name, loaded = example
    if name in (AS_IT_STOOD, "README.md"):  # the README's shows the form
        return
    archives = {pipeline for _, pipeline in fed(loaded, {"Archive", "S3"})}
    assert archives <= {pipeline for kind, pipeline in fed(loaded, {"Archive", "S3"}) if kind == "Agent"}

"""The README says what there is: probes, measurements, steps, backends and commands, and a configuration that loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingrain import config
from ingrain.backends import BACKENDS
from ingrain.cli import _parser
from ingrain.grains import GRAINS, OWN
from ingrain.registry import find_class
from ingrain.steps import STEPS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", [*GRAINS, *OWN, *STEPS, *BACKENDS])
def test_every_probe_step_and_backend_has_a_row(name: str) -> None:
    assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", README, re.MULTILINE)


@pytest.mark.parametrize("kind", GRAINS)
def test_every_measurement_of_a_probe_is_named(kind: str) -> None:
    lacking = [one.name for one in find_class(GRAINS[kind]).measurements if f"`{one.name}`" not in README]
    assert lacking == []


def test_every_setting_that_it_names_is_one_and_its_configuration_loads_without_a_doubt(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "config.toml").write_text(example)
    assert config.load(tmp_path / "config.toml").warnings == []


def test_every_command_that_it_shows_is_one() -> None:
    shown = set(re.findall(r"^ingrain (\w+)", README, re.MULTILINE))
    (commands,) = (action.choices for action in _parser()._subparsers._group_actions)  # type: ignore[union-attr]
    assert commands
    assert shown <= set(commands)
    assert {"run", "check", "doctor", "status", "top", "ask"} <= shown


def test_every_page_that_it_leads_to_is_there() -> None:
    for path, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)]*)\)", README)):
        if path.startswith("http"):
            continue
        page = ROOT / (path or "README.md")
        assert page.exists(), path
        if anchor:
            titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, anchor

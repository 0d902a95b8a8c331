"""The README's walk-through: each command is one, they go together, and its configuration loads."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from pathlib import Path

import pytest

from ingrain import config
from ingrain.cli import _parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SHOWN = [
    line
    for block in re.findall(r"^```\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith(("ingrain ", "make "))
]


def parsed(command: str) -> Namespace:
    return _parser().parse_args(shlex.split(command, comments=True)[1:])


@pytest.mark.parametrize("line", [line for line in SHOWN if line.startswith("ingrain ")])
def test_every_command_that_it_shows_is_one(line: str) -> None:
    assert parsed(line).command == line.split()[1]


@pytest.mark.parametrize("line", [line for line in SHOWN if line.startswith("make ")])
def test_every_target_that_it_shows_is_one(line: str) -> None:
    assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_it_shows_a_whole_walk_through() -> None:
    commands = [line.split()[1] for line in SHOWN]
    assert commands[:2] == ["demo", "test"]
    assert {"setup", "doctor", "check", "run", "status", "ask", "top", "report", "replay"} <= set(commands)


def test_what_it_asks_is_in_the_archive_that_what_it_runs_writes() -> None:
    options = {one.command: one for one in map(parsed, (line for line in SHOWN if line.startswith("ingrain ")))}
    assert options["ask"].question == "who-accessed"
    assert options["run"].file == options["check"].file == options["ask"].file == options["report"].file
    loaded = config.load(ROOT / options["run"].file)
    (files,) = (probe for probe in loaded.probes if probe.type == "Files")
    assert any(Path(options["ask"].what).is_relative_to(folder) for folder in files.settings.monitor_dirs)
    assert [loaded.pipelines[name].backend for name in files.pipelines] == ["Archive"]


def test_its_configuration_loads_without_a_warning(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "config.toml").write_text(example)
    assert config.load(tmp_path / "config.toml").warnings == []

"""What the commands print, and their exit codes, as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BAD = """\
[[probe]]
pipelines = ["nowhere"]
[probe.config]
type = "DNS"
colour = "red"

[pipeline.out.config]
backend = "Consol"
[[pipeline.out.steps]]
type = "Regex"
patterns = [ { key = "process", regex = "(?=x)", replace_with = "y" } ]
"""

GRAPH = """\
pipeline statsd
  probe    Network
  step     Whitelist  allow = ["process", "d_port", "direction"]
  step     Regex      patterns = [
                        { key = "process", regex = "^kworker/", replace_with = "kworker" },
                        { key = "process", regex = "^postgres", replace_with = "postgres" },
                        { key = "d_port", regex = "^\\\\d{5}$", replace_with = "10000_and_up" },
                      ]
  step     Buffer     interval_s = 10
  backend  StatsD     address = "127.0.0.1:8125"
                      use_tags = true
"""


def ingrain(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingrain", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("check", "--help"), ("doctor", "--help")])
def test_help_teaches_and_is_no_failure(arguments: tuple[str, ...]) -> None:
    done = ingrain(*arguments)
    assert done.returncode == 0
    assert "usage: ingrain" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("arguments", [(), ("fly",), ("check",), ("run", "a", "b")])
def test_a_wrong_command_exits_2_and_says_how_it_goes(arguments: tuple[str, ...]) -> None:
    done = ingrain(*arguments)
    assert done.returncode == 2
    assert "usage: ingrain" in done.stderr


def test_check_prints_the_graph_of_a_file_without_mistakes() -> None:
    done = ingrain("check", ROOT / "config" / "network-to-statsd.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout == GRAPH


def test_check_finds_nothing_to_warn_of_in_the_announcement_s_file() -> None:
    done = ingrain("check", ROOT / "config" / "ingraind-announcement.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "probe    Files" in done.stdout


def test_check_prints_every_mistake_with_its_line_and_exits_2(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(BAD)
    done = ingrain("check", file)
    assert done.returncode == 2
    assert not done.stdout
    told = [line.split(":")[1] for line in done.stderr.splitlines()]
    assert told == ["2", "5", "8", "11"]


def test_run_of_a_file_with_mistakes_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(BAD)
    done = ingrain("run", file)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 4


def test_a_file_that_is_not_there_is_a_mistake_too(tmp_path: Path) -> None:
    done = ingrain("check", tmp_path / "none.toml")
    assert done.returncode == 2
    assert "there is no such file" in done.stderr


def test_doctor_tells_machines_the_same_as_people() -> None:
    network = ["DNS", "TLS", "Network"]
    document = json.loads(ingrain("doctor", "--json", *network).stdout)
    people = ingrain("doctor", *network).stdout
    assert [probe["probe"] for probe in document["probes"]] == network
    for probe in document["probes"]:
        (line,) = [line for line in people.splitlines() if line.startswith(f"{probe['probe']} ")]
        assert line.split(None, 1)[1] == ("runs" if probe["runs"] else "CANNOT RUN")
        assert bool(probe["hooks"]) == probe["runs"]
        assert bool(probe["reason"]) == bool(probe["mend"]) == (not probe["runs"])
    assert document["host"]["kernel"] in people
    assert document["host"]["lockdown"] in people

"""What the commands print, and their exit codes, as a user meets them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BINARY = {".pyc", ".png", ".o", ".so", ".1"}
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


LACKING = """\
[[probe]]
pipelines = ["s3", "http", "statsd"]
[probe.config]
type = "Agent"
[pipeline.s3.config]
backend = "S3"
spool = "{0}/spool"
[[pipeline.s3.steps]]
type = "Exec"
command = ["no-such-program"]
[pipeline.http.config]
backend = "HTTP"
uri = "https://h/${{NOT_THERE}}"
[pipeline.statsd.config]
backend = "StatsD"
[pipeline.unfed.config]
backend = "S3"
"""


def ingrain(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingrain", *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if name != "AWS_S3_BUCKET"} | environment
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)


COMMANDS = ("run", "check", "replay", "status", "top", "doctor", "query", "ask", "report", "schema")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(command: str) -> None:
    done = ingrain(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: ingrain {command} ")
    assert re.search(rf"^  (.*\| )?ingrain {command}\b", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [("--help",), ("help",)])
def test_help_lists_all_commands(arguments: tuple[str, ...]) -> None:
    done = ingrain(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ingrain [-h]")
    assert {*COMMANDS, "help"} == set(re.findall(r"^    (\w+) ", done.stdout, re.MULTILINE))


def test_help_explains_a_command_by_its_name() -> None:
    assert ingrain("help", "ask").stdout == ingrain("ask", "--help").stdout
    assert ingrain("help", "fly").returncode == 2


def test_an_until_has_the_default_that_its_help_says() -> None:
    assert "default: to the last" in " ".join(ingrain("query", "--help").stdout.split())
    assert "--until WHEN only records before then; default: now" in " ".join(ingrain("ask", "--help").stdout.split())


TEXTS = ("README.md", "docs", "ingrain", "config", "docker", "bench", "probes", "Makefile", "pyproject.toml", ".ci")


def test_nobody_is_told_to_install_ingrain_from_an_index() -> None:
    paths = [path for name in TEXTS for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    texts = {path: path.read_text(errors="replace") for path in paths if path.is_file() and path.suffix not in _BINARY}
    assert len(texts) > 200
    installs = re.compile(r"""\bpip[3x]?\b[^\n]*\binstall\b[^\n]*[\s'"]ingrain(?![-/*.\w])""")
    assert not {str(path): found[0] for path, text in texts.items() if (found := installs.search(text))}
    assert installs.search("pip install --user 'ingrain[top]'")
    assert installs.search("pip3 install ingrain")
    assert not installs.search("pip install './ingrain-0.1.whl[query]'")


@pytest.mark.parametrize(("command", "package", "extra"), [("query", "duckdb", "query"), ("top", "textual", "top")])
def test_what_lacks_a_package_says_how_ours_is_installed_with_it(command: str, package: str, extra: str) -> None:
    words = {"query": ["query", "SELECT 1", "--archive", "/"], "top": ["top"]}[command]
    code = f"import sys; sys.modules[{package!r}] = None; from ingrain import cli; sys.exit(cli.main({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{package} is not installed. Install ingrain with its extra `{extra}`, from the wheel" in done.stderr
    assert f"pip install './ingrain-VERSION-PLATFORM.whl[{extra}]'" in done.stderr


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
    done = ingrain("check", ROOT / "config" / "ingraind-announcement.toml", AWS_S3_BUCKET="logs")
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


def test_what_this_host_lacks_is_a_warning_of_check_and_ends_the_start_of_run_and_replay(tmp_path: Path) -> None:
    file = tmp_path / "whole.toml"
    (tmp_path / "spool").write_text("no folder")
    file.write_text(LACKING.format(tmp_path))
    environment = {"STATSD_PORT": "many", "STATE_DIRECTORY": str(tmp_path / "state")}
    checked = ingrain("check", file, **environment)
    assert checked.returncode == 0, "it may be for another host"
    warnings = [line for line in checked.stderr.splitlines() if "`run` would refuse" in line]
    assert [line.split(":")[1] for line in warnings] == ["5", "7", "10", "13", "14"]
    ran = ingrain("run", file, **environment)
    assert ran.returncode == 2
    mistakes = [line for line in ran.stderr.splitlines() if "(warning)" not in line]
    assert mistakes == [line.partition(" (warning: here")[0] for line in warnings]
    (tmp_path / "empty.pcap").write_bytes(
        b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + bytes(8) + b"\xff\xff\x00\x00\x01\x00\x00\x00"
    )
    file.write_text(LACKING.format(tmp_path).replace("Agent", "DNS"))
    replayed = ingrain("replay", tmp_path / "empty.pcap", "--config", file, **environment)
    assert (replayed.returncode, replayed.stderr) == (2, ran.stderr)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty.pcap", "spool", "whole.toml"]


def test_a_fault_of_the_agent_is_not_reported_as_one_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    console = '[pipeline.out.config]\nbackend = "Console"\n'
    file.write_text(f'[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "Agent"\n{console}')
    code = (
        "import sys\nfrom ingrain import cli, service\n"
        "def fault(*_): raise ValueError('of the agent')\nservice.Service._work = fault\n"
        f"sys.exit(cli.main(['run', {str(file)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: of the agent"


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

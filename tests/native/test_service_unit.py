"""What the systemd unit takes from the agent is what the agent does without."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import agent
from conftest import Start, Talker
from serving import until

from ingrain.kernel.host import CAPABILITIES
from ingrain.onefile import deb

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "config" / "ingrain.service"
PROGRAM = "/usr/local/bin/ingrain"
TRACED = """
import os, sys
os.execvp("strace", ["strace", "-D", "-f", "-q", "-o", {!r}, sys.executable, "-m", "ingrain", *sys.argv[1:]])
"""


def setting(name: str) -> list[str]:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return str(value).split()


def groups() -> dict[str, list[str]]:
    """systemd's own groups of system calls."""
    shown = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if line.startswith("@"):
            members = found.setdefault(line.strip(), [])
        elif line.strip() and not line.strip().startswith("#"):
            members.append(line.strip())
    return found


def calls(names: list[str], of: dict[str, list[str]]) -> Iterator[str]:
    for name in names:
        if name.startswith("@"):
            yield from calls(of[name], of)
        else:
            yield name


def test_systemd_finds_no_mistake_in_it(tmp_path: Path) -> None:
    made = tmp_path / UNIT.name
    made.write_text(UNIT.read_text().replace(PROGRAM, str(shutil.which("true"))))
    done = subprocess.run(["systemd-analyze", "verify", made], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_runs_the_program_that_is_documented_and_the_package_s_unit_runs_the_package_s() -> None:
    run = [*setting("ExecStartPre")[:1], *setting("ExecStart")[:1]]
    assert run == [PROGRAM, PROGRAM]
    assert deb.unit().replace("/usr/bin/ingrain", PROGRAM) == UNIT.read_text() != deb.unit()
    for page in ("docs/deploy.md", "docs/install.md"):
        assert PROGRAM in (ROOT / page).read_text()


def test_all_that_it_reads_is_there_by_the_documented_steps_before_it_is_enabled() -> None:
    section = (ROOT / "docs/deploy.md").read_text().partition("\n## systemd\n")[2].partition("\n## ")[0]
    before, enable, _ = section.partition("systemctl enable --now ingrain")
    assert enable
    wanted = [PROGRAM, setting("ExecStart")[-1], setting("EnvironmentFile")[0].removeprefix("-")]
    assert [one for one in [*wanted, "/etc/systemd/system/ingrain.service", "daemon-reload"] if one not in before] == []


def test_systemd_rates_its_exposure_at_no_more_than_3_8() -> None:
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=38", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    assert "Overall exposure level" in done.stdout


def test_it_leaves_the_agent_the_capabilities_that_it_says_it_needs() -> None:
    assert set(setting("CapabilityBoundingSet")) == {*CAPABILITIES, "CAP_SYS_ADMIN"}  # it gives that up where it can


@pytest.mark.timeout(900)  # strace stops every thread twice a call
def test_the_agent_makes_no_system_call_and_no_socket_that_it_forbids(
    start: Start, group: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    trace = tmp_path / "trace"
    toml = f'[agent]\nsocket = "{tmp_path / "status.sock"}"\n'
    for kind, more in (
        ("Network", f'cgroup = "{group.name}"'),
        ("TLS", f'cgroup = "{group.name}"'),
        ("Agent", "interval_s = 1"),
    ):
        toml += f'[[probe]]\npipelines = ["archive", "statsd", "s3"]\n[probe.config]\ntype = "{kind}"\n{more}\n'
    toml += f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\nroll_s = 1\n'
    toml += '[pipeline.statsd.config]\nbackend = "StatsD"\naddress = "localhost:9"\n'
    toml += '[pipeline.s3.config]\nbackend = "S3"\nbucket = "logs"\nendpoint_url = "http://localhost:9"\nroll_s = 1\n'
    one, other = Talker(start, "one"), Talker(start, "other")
    with agent(toml, tmp_path, program=("-c", TRACED.format(str(trace))), patience_s=200) as running:
        one("storm", count=10, to=other("bind", "u", family=4, proto="udp"))
        running.wait_for("EndpointConnectionError")
        assert running.status()[1]["account"]["probes"]
        running.reload(toml.replace('"localhost:9"\n', '"localhost:9"\nuse_tags = true\n'))
    ended = re.compile(rf"^{running.process.pid} +\+\+\+ exited with 0", re.MULTILINE)
    until("the trace", lambda: ended.search(trace.read_text(errors="replace")))
    told = trace.read_text(errors="replace")
    of = groups()
    made = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", told, re.MULTILINE))
    assert {"bpf", "perf_event_open", "connect", "accept4", "capset"} <= made
    assert made - set(calls([*setting("SystemCallFilter"), "@default"], of)) == set()
    families = set(re.findall(r"\bsocket\((AF_[A-Z0-9]+)", told))
    assert "AF_INET" in families
    assert families <= set(setting("RestrictAddressFamilies"))
    assert "CLONE_NEW" not in told

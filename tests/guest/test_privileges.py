"""Every probe runs in an agent that has given up all capabilities but those that it says it needs, and sees all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import agent
from conftest import read

from ingrain import privileges
from ingrain.grains import GRAINS
from ingrain.kernel.host import CAPABILITIES, SYS_ADMIN

LEVEL = Path("/proc/sys/kernel/perf_event_paranoid")

pytestmark = pytest.mark.timeout(900)  # Files alone loads 40 programs, and an emulated processor verifies them slowly


@pytest.fixture(params=["2", "3"])
def _paranoid(request: pytest.FixtureRequest) -> Iterator[None]:
    """The kernel's own highest level, and Debian's, at which CAP_PERFMON is not enough there."""
    before = LEVEL.read_text()
    LEVEL.write_text(request.param)
    yield
    LEVEL.write_text(before)


@pytest.mark.usefixtures("_paranoid")
def test_an_agent_with_what_it_needs_alone_runs_every_probe(tmp_path: Path) -> None:
    archive, file = tmp_path / "archive", tmp_path / "file"
    file.write_text("sent by the kernel itself\n")
    toml = f'[agent]\nsocket = "{tmp_path / "status.sock"}"\n'
    toml += f'[pipeline.out.config]\nbackend = "Archive"\npath = "{archive}"\n'
    for kind in GRAINS:
        toml += f'[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "{kind}"\nbuffer_kb = 4096\n'
    with agent(toml, tmp_path, patience_s=600) as running:
        (held,) = [
            int(line.split()[1], 16)
            for line in Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
            if line.startswith("CapEff")
        ]
        sending = f"import os; os.sendfile(1, os.open({str(file)!r}, os.O_RDONLY), 0, 100)"
        contained = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-ISc", sending]
        assert subprocess.run(contained, check=True, capture_output=True, text=True).stdout == file.read_text()
    needed = sum(1 << bit for bit, _about in CAPABILITIES.values())
    assert held == needed | (1 << SYS_ADMIN if privileges.withheld() else 0)
    assert ("CAP_SYS_ADMIN is kept" in running.said) == privileges.withheld()
    assert "hides its" not in running.said, "addresses without which what sendfile writes cannot be read"
    assert [row["line"] for row in read(archive, "container.stdout")] == ["sent by the kernel itself"]
    assert str(file) in {row["path"] for row in read(archive, "file.open")}
    for kind in GRAINS:
        assert f"probe {kind} sees" in running.said
    assert {probe["name"] for probe in running.account["probes"]} == set(GRAINS)

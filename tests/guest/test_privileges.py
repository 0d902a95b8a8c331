"""Every probe runs in an agent that has given up all capabilities but those that it says it needs, and sees all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agents import Running, agent
from conftest import read

from ingrain import privileges
from ingrain.grains import GRAINS
from ingrain.kernel.host import CAPABILITIES, SYS_ADMIN

LEVEL = Path("/proc/sys/kernel/perf_event_paranoid")

pytestmark = pytest.mark.timeout(900)  # Files alone loads 40 programs, and an emulated processor verifies them slowly


@pytest.fixture
def paranoid() -> Iterator[Callable[[int], None]]:
    """Sets the level, until the end of the test."""
    before = LEVEL.read_text()

    def set_to(level: int) -> None:
        LEVEL.write_text(str(level))

    yield set_to
    LEVEL.write_text(before)


def toml(folder: Path, *kinds: str) -> str:
    text = f'[agent]\nsocket = "{folder / "status.sock"}"\n'
    text += f'[pipeline.out.config]\nbackend = "Archive"\npath = "{folder / "archive"}"\n'
    for kind in kinds:
        text += f'[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "{kind}"\nbuffer_kb = 4096\n'
    return text


def holds_what_it_needs(running: Running) -> None:
    """And no other capability."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    (held,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff")]
    needed = sum(1 << bit for bit, _about in CAPABILITIES.values())
    assert held == needed | (1 << SYS_ADMIN if privileges.withheld() else 0)
    assert ("CAP_SYS_ADMIN is kept" in running.said) == privileges.withheld()


@pytest.mark.parametrize("level", [2, pytest.param(3, marks=pytest.mark.matrix)])
def test_an_agent_with_what_it_needs_alone_runs_every_probe(
    paranoid: Callable[[int], None], tmp_path: Path, level: int
) -> None:
    """At the kernel's own highest level, and at Debian's, at which CAP_PERFMON is not enough there."""
    paranoid(level)
    archive, file = tmp_path / "archive", tmp_path / "file"
    file.write_text("sent by the kernel itself\n")
    with agent(toml(tmp_path, *GRAINS), tmp_path, patience_s=600) as running:
        holds_what_it_needs(running)
        sending = f"import os; os.sendfile(1, os.open({str(file)!r}, os.O_RDONLY), 0, 100)"
        contained = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-ISc", sending]
        assert subprocess.run(contained, check=True, capture_output=True, text=True).stdout == file.read_text()
    assert "hides its" not in running.said, "addresses without which what sendfile writes cannot be read"
    assert [row["line"] for row in read(archive, "container.stdout")] == ["sent by the kernel itself"]
    assert str(file) in {row["path"] for row in read(archive, "file.open")}
    for kind in GRAINS:
        assert f"probe {kind} sees" in running.said
    assert {probe["name"] for probe in running.account["probes"]} == set(GRAINS)


def test_where_debian_s_level_takes_more_that_is_kept_and_said(paranoid: Callable[[int], None], tmp_path: Path) -> None:
    paranoid(3)
    with agent(toml(tmp_path, "Process"), tmp_path, patience_s=600) as running:
        holds_what_it_needs(running)
        subprocess.run(["/bin/true", "seen"], check=True)
    assert "seen" in {row["args"][-1] for row in read(tmp_path / "archive", "process.exec")}

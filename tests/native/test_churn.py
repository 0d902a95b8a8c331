"""Processes and containers that come and go by the thousand: every record is whose it was, and memory stays bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from agents import PATIENT, agent
from churning import GROWTH_KB, Lived, churn, compiled, highest_kb
from conftest import read
from engines import Host

TOML = """
[agent]
socket = "{socket}"
[pipeline.archive.config]
backend = "Archive"
path = "{archive}"
"""
PROBE = """
[[probe]]
pipelines = ["archive"]
[probe.config]
type = "{kind}"
cgroup = "{group}"
buffer_kb = 4096
"""


@pytest.mark.parametrize(
    ("containers", "each"),
    [(100, 20), pytest.param(5000, 20, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])],
    ids=["2000 processes", "100000 processes"],
)
def test_every_record_is_of_its_process_and_container_however_short_they_lived(
    group: Path, tmp_path: Path, containers: int, each: int
) -> None:
    host, program, archive = Host(tmp_path / "host"), compiled(tmp_path), tmp_path / "archive"
    toml = TOML.format(archive=archive, socket=tmp_path / "status.sock")
    toml += "".join(PROBE.format(kind=kind, group=group.name) for kind in ("Network", "DNS", "TLS"))
    made: set[Lived] = set()
    early = 0
    with agent(toml, tmp_path, program=PATIENT, env={**os.environ, "HOST_ROOT": str(host.root)}) as running:
        for number, lived in enumerate(churn(program, group, host, containers, each)):
            made.update(lived)
            if number == containers // 2:
                early = highest_kb(running.process.pid)
        late = highest_kb(running.process.pid)
    assert len(made) == containers * each
    (network, *_) = running.account["probes"]
    assert (network["lost"], network["missed"], network["uncounted"], network["failed"]) == (0, 0, 0, 0)
    sent = read(archive, "volume.out")
    seen = {
        Lived(*(row[name] for name in ("process", "process_id", "s_port", "container_id", "container"))) for row in sent
    }
    assert seen == made
    assert sum(row["packets"] for row in sent) == len(made)
    assert late < early + GROWTH_KB

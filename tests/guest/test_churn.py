"""The same as in tests/native, of the probes that trace: what is run, opened and printed by what lives for a moment."""

from __future__ import annotations

import os
from collections import Counter
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
[[probe]]
pipelines = ["archive"]
[probe.config]
type = "Process"
cgroup = "{group}"
buffer_kb = 4096
[[probe]]
pipelines = ["archive"]
[probe.config]
type = "Files"
cgroup = "{group}"
monitor_dirs = ["{folder}"]
buffer_kb = 4096
"""


@pytest.mark.parametrize(
    ("containers", "each"),
    [
        pytest.param(10, 20, marks=pytest.mark.timeout(900)),  # an emulated processor verifies 40 programs slowly
        pytest.param(5000, 20, marks=[pytest.mark.faults, pytest.mark.timeout(7200)]),
    ],
    ids=["200 processes", "100000 processes"],
)
def test_what_lives_for_a_moment_is_told_whole_and_leaves_nothing_behind(
    group: Path, tmp_path: Path, containers: int, each: int
) -> None:
    host, program, archive = Host(tmp_path / "host"), compiled(tmp_path), tmp_path / "archive"
    toml = TOML.format(archive=archive, socket=tmp_path / "status.sock", group=group.name, folder=tmp_path)
    made: set[Lived] = set()
    early = 0
    environment = {**os.environ, "HOST_ROOT": str(host.root)}
    with agent(toml, tmp_path, program=PATIENT, patience_s=300, env=environment) as running:
        for number, lived in enumerate(churn(program, group, host, containers, each)):
            made.update(lived)
            if number == containers // 2:
                early = highest_kb(running.process.pid)
        late = highest_kb(running.process.pid)
    for probe in running.account["probes"]:
        assert (probe["lost"], probe["missed"], probe["uncounted"], probe["failed"]) == (0, 0, 0, 0)
    assert len(made) == containers * each
    whose = {(one.pid, one.container_id, one.container) for one in made}
    executed = [row for row in read(archive, "process.exec") if len(row["args"]) == 3]  # not their parents, by four
    assert len(executed) == len(made)
    assert {(row["process_id"], row["container_id"], row["container"]) for row in executed} == whose
    numbers = {(one.pid, one.container_id): one.process.removeprefix("churn-") for one in made}
    assert all(row["args"][1] == numbers[row["process_id"], row["container_id"]] for row in executed)
    uids = {row["process_uid"]: row["process_id"] for row in executed}
    assert len(uids) == len(made)
    ended = Counter(row["process_uid"] for row in read(archive, "process.exit") if row["status"] == 0)
    assert {uid: ended[uid] for uid in uids} == dict.fromkeys(uids, 1)
    opened = {row["process_uid"] for row in read(archive, "file.open") if row["path"] == str(program)}
    assert opened >= uids.keys(), "each opened the program that it ran"
    assert late < early + GROWTH_KB

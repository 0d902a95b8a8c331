"""Processes and containers that come and go by the thousand: every record is whose it was, and memory stays bounded."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections import deque
from functools import partial
from pathlib import Path

import pytest
from agents import agent
from conftest import read

from ingrain.kernel import cgroup

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from engines import Host

HERE = Path(__file__).parent
GROWTH_KB = 32 << 10
"""What caches may hold that were empty at the first tenth, and records under way."""

ALIVE = 50
"""Containers at a time: so each is there for half a second, which is little for an engine to make and remove one."""

TOML = """
[agent]
socket = "{socket}"
[[probe]]
pipelines = ["archive"]
[probe.config]
type = "Network"
cgroup = "{group}"
[[probe]]
pipelines = ["archive"]
[probe.config]
type = "DNS"
cgroup = "{group}"
[[probe]]
pipelines = ["archive"]
[probe.config]
type = "TLS"
cgroup = "{group}"
[pipeline.archive.config]
backend = "Archive"
path = "{archive}"
"""


def resident_kb(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def remove(folder: Path, record: Path) -> None:
    folder.rmdir()
    shutil.rmtree(record)


@pytest.mark.parametrize(
    ("containers", "each"),
    [(100, 20), pytest.param(5000, 20, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])],
    ids=["2000 processes", "100000 processes"],
)
def test_every_record_is_of_its_process_and_container_however_short_they_lived(
    group: Path, tmp_path: Path, containers: int, each: int
) -> None:
    host, churn, archive = Host(tmp_path / "host"), tmp_path / "churn", tmp_path / "archive"
    subprocess.run(["clang", "-O2", "-Wall", "-Werror", HERE / "churn.c", "-o", churn], check=True)
    toml = TOML.format(group=group.name, archive=archive, socket=tmp_path / "status.sock")
    made: dict[tuple[str, int, int], tuple[str, str]] = {}
    alive: deque[tuple[Path, Path]] = deque()
    early = 0
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        agent(toml, tmp_path, env={**os.environ, "HOST_ROOT": str(host.root)}) as running,
    ):
        sink.bind(("127.0.0.1", 0))
        for number in range(containers):
            identifier, name = f"{number:064x}", f"job{number}"
            kept = host.docker(identifier, name).parent
            folder = group / f"docker-{identifier}.scope"
            folder.mkdir()
            command = [str(churn), str(number * each), str(each), str(sink.getsockname()[1])]
            told = subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                preexec_fn=partial(cgroup.enter, folder),
            ).stdout
            alive.append((folder, kept))
            if len(alive) > ALIVE:
                remove(*alive.popleft())
            for process, pid, port in (map(int, line.split()) for line in told.splitlines()):
                made[f"churn-{process}", pid, port] = identifier, name
            if number == containers // 10:
                early = resident_kb(running.process.pid)
        while alive:
            remove(*alive.popleft())
        late = resident_kb(running.process.pid)
    assert len(made) == containers * each
    (network, *_) = running.account["probes"]
    assert (network["lost"], network["missed"], network["uncounted"], network["failed"]) == (0, 0, 0, 0)
    rows = read(archive, "volume.out")
    seen = {(row["process"], row["process_id"], row["s_port"]): (row["container_id"], row["container"]) for row in rows}
    wrong = {key: value for key, value in seen.items() if made.get(key) != value}
    assert not wrong, f"{len(wrong)} of {len(seen)}: {list(wrong.items())[:5]}"
    assert len(seen) == len(made) == sum(row["packets"] for row in rows if row["direction"] == "out")
    assert late < early + GROWTH_KB

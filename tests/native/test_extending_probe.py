"""The probe that docs/extending.md tells to write: compiled, loaded and attached to a cgroup, it sees what is bound."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Start, Talker
from extending import FILES, Copy, copy
from test_bcc import compiling, layouts, opened, programs

from ingrain.kernel import bcc

__all__ = ["compiling"]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    made = copy(tmp_path_factory.mktemp("extended"))
    subprocess.run(["make", "-C", made.folder / "probes"], check=True, capture_output=True)
    return made


def test_doctor_says_that_the_probe_runs(extended: Copy, group: Path) -> None:
    command = [sys.executable, "-m", "ingrain", "doctor", "Bind", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=extended.folder, env=extended.environment
    )
    assert done.returncode == 0, done.stdout


def test_the_probe_tells_who_bound_what_in_its_cgroup(extended: Copy, start: Start, group: Path) -> None:
    binder = Talker(start, "binder")
    toml = FILES["bind.toml"].replace('type = "Bind"', f'type = "Bind"\ncgroup = "{group.name}"')
    with extended.agent(toml) as running:
        bound = {
            (proto, family): binder(
                "listen" if proto == "tcp" else "bind", f"{proto}{family}", family=family, proto=proto
            )
            for proto in ("tcp", "udp")
            for family in (4, 6)
        }
        with socket.socket() as elsewhere:
            elsewhere.bind(("127.0.0.1", 0))  # by a process outside of the cgroup
    records = [json.loads(line) for line in running.printed.splitlines()]
    assert {(one["proto"], one["port"]) for one in records} == {(proto, to[1]) for (proto, _), to in bound.items()}
    for record in records:
        assert record["measurement"] == "socket.bind"
        assert (record["process"], record["process_id"], record["uid"]) == ("binder", binder.pid, os.getuid())
        assert record["cgroup_id"] == group.stat().st_ino
        assert record["process_uid"] is not None
    (probe,) = running.account["probes"]
    assert probe["handed_over"] == probe["received"] == probe["records"] == len(records) == 4
    assert probe["lost"] == 0


def test_bcc_makes_the_same_of_it(extended: Copy, compiling: None, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = extended.folder / "ingrain/kernel"
    monkeypatch.setattr(bcc, "SOURCES", kernel / "sources")
    monkeypatch.setenv("CACHE_DIRECTORY", "/nonexistent")
    bcc.compiled.cache_clear()
    made, shipped = bcc.compiled("bind"), (kernel / "objects/bind.bpf.o").read_bytes()
    with opened("bind", made) as ours, opened("bind", shipped) as theirs:
        assert programs(ours) == programs(theirs)
        assert len(programs(theirs)) == 2
        assert layouts(ours, "bound") == layouts(theirs, "bound")

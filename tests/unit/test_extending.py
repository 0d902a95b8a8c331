"""What docs/extending.md tells to write works as it stands there: a step and a backend, each in a running agent."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from agents import PATIENCE_S
from extending import FILES, ROOT, Copy, copy
from serving import until


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return copy(tmp_path_factory.mktemp("extended"))


def test_the_page_has_a_step_a_backend_and_a_probe_each_with_a_configuration() -> None:
    assert {Path(path).parent.name for path in FILES} == {"steps", "backends", "grains", "probes", ""}
    assert [path for path in FILES if path.endswith(".toml")] == ["ignore.toml", "unix-socket.toml", "bind.toml"]


def test_the_step_leaves_out_what_it_should_and_counts_it(extended: Copy) -> None:
    with extended.agent(FILES["ignore.toml"]) as running:
        until("three records", lambda: (extended.folder / "out").read_text().count("\n") >= 3)
    records = [json.loads(line) for line in running.printed.splitlines()]
    assert {record["host"] for record in records} == {"web1"}
    step, console = running.account["pipelines"]["out"]
    assert step["received"] == step["delivered"] + step["merged"]
    assert step["merged"] > 0
    assert console["delivered"] == step["delivered"] == len(records) >= 3


def test_a_tag_that_no_record_has_is_doubted(extended: Copy) -> None:
    file = extended.folder / "doubtful.toml"
    probe = '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "Network"\n'
    file.write_text(probe + FILES["ignore.toml"].partition("\n\n")[2].partition("\n\n")[2].replace('"host"', '"prces"'))
    command = [sys.executable, "-m", "ingrain", "check", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=extended.folder, env=extended.environment
    )
    assert done.returncode == 0, done.stderr
    assert "prces" in done.stderr


def test_the_backend_delivers_and_counts_what_nobody_takes(extended: Copy) -> None:
    path = extended.folder / "records.sock"
    toml = FILES["unix-socket.toml"].replace("/tmp/records.sock", str(path))
    received = []
    with extended.agent(toml) as running:
        running.wait_for("Records that cannot be sent are counted as lost")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.settimeout(PATIENCE_S)
            receiver.bind(str(path))
            received += [json.loads(receiver.recv(1 << 16)) for _ in range(3)]
            running.wait_for("works again")
            path.unlink()
            running.process.terminate()
            running.process.wait(PATIENCE_S)
            receiver.setblocking(False)  # noqa: FBT003 - what the socket module calls it
            while waiting := _waiting(receiver):
                received.append(json.loads(waiting))
    (station,) = running.account["pipelines"]["out"]
    assert {record["host"] for record in received} == {"web1"}
    assert station["delivered"] == len(received)
    assert station["lost"] > 0
    assert station["received"] == station["delivered"] + station["lost"]


def _waiting(receiver: socket.socket) -> bytes:
    try:
        return receiver.recv(1 << 16)
    except BlockingIOError:
        return b""


def test_the_examples_pass_the_repository_s_own_rules(extended: Copy) -> None:
    files = [path for path in FILES if path.endswith(".py")]
    ruff = [sys.executable, "-m", "ruff"]
    settings = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for command in (["format", "--check", *settings], ["check", *settings]):
        done = subprocess.run(
            [*ruff, *command, *files], capture_output=True, text=True, check=False, cwd=extended.folder
        )
        assert done.returncode == 0, done.stdout + done.stderr

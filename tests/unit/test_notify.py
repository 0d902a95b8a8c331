"""The service manager is told that the agent is ready, how it is, that it lives and that it stops (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGKILL

import pytest
from agents import OWN, agent

from ingrain.notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its name in NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@ingrain-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as bound:
        bound.settimeout(60)
        bound.bind(name.replace("@", "\0"))
        yield bound, name


def test_a_service_is_ready_alive_and_stopping(manager: tuple[socket.socket, str], tmp_path: Path) -> None:
    bound, name = manager
    environment = {**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "300000"}
    toml = OWN.format(socket=tmp_path / "status.sock") + '[pipeline.out.config]\nbackend = "Console"\n'
    with agent(toml, tmp_path, env=environment):
        told = [bound.recv(4096).decode()]
        while told[-1] != "READY=1":
            told.append(bound.recv(4096).decode())
        while told.count("WATCHDOG=1") < 6:
            told.append(bound.recv(4096).decode())
    assert "STATUS=healthy" in told
    rest = []
    while "STOPPING=1" not in rest:
        rest.append(bound.recv(4096).decode())
    assert set(rest) <= {"WATCHDOG=1", "STOPPING=1"}


def test_an_agent_whose_probes_are_not_read_any_more_lets_the_watchdog_bite(
    manager: tuple[socket.socket, str], tmp_path: Path
) -> None:
    bound, name = manager
    environment = {**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "300000"}
    toml = OWN.format(socket=tmp_path / "status.sock") + '[pipeline.out.config]\nbackend = "Console"\n'
    program = (
        "import ingrain.kernel.reader as r\nr.TICK = 3600\nr.STALLED_S = 1\n"
        "import ingrain.service as s\ns.HEALTH_S = 0.2\nfrom ingrain.__main__ import main\nmain()"
    )
    with agent(toml, tmp_path, SIGKILL, -SIGKILL, ("-c", program), env=environment) as running:
        told = ""
        while "STATUS=no probe is read" not in told:
            told = bound.recv(4096).decode()
        rest = [bound.recv(4096).decode() for _ in range(2)]  # for how long it has been so is told every second
        assert all(one.startswith("STATUS=no probe is read") for one in rest)
        assert running.status()[0] == 1


def test_where_nobody_waits_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().ready()
    assert not caplog.messages


def test_a_manager_that_has_gone_is_logged_once_until_it_is_there_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    told = ServiceManager()
    told.ready()
    for _ in range(3):
        told.alive()
    (warning,) = caplog.messages
    assert warning.startswith(f"the service manager at {tmp_path / 'gone'} cannot be told READY=1")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as bound:
        bound.bind(str(tmp_path / "gone"))
        told.alive()
        assert bound.recv(4096) == b"WATCHDOG=1"
    for _ in range(3):
        told.alive()
    assert len(caplog.messages) == 3


@pytest.mark.parametrize(
    ("micros", "process", "expected"),
    [
        ("3000000", "", 3.0),
        ("3000000", "self", 3.0),
        ("3000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("x", "", None),
    ],
)
def test_the_watchdog_is_served_where_it_is_for_this_process(
    monkeypatch: pytest.MonkeyPatch, micros: str, process: str, expected: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", micros)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if process == "self" else process)
    assert ServiceManager().watchdog_s == expected


def test_a_status_is_one_line_and_said_once(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, name = manager
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    told = ServiceManager()
    for text in ("bad\nREADY=1", "bad\nREADY=1", "healthy", "\nREADY=1"):
        told.status(text)
    told.alive()
    assert [bound.recv(4096) for _ in range(4)] == [b"STATUS=bad", b"STATUS=healthy", b"STATUS=", b"WATCHDOG=1"]

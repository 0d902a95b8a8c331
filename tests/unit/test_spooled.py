"""What S3 and HTTP share, called directly: what is in the spool is sent, and what goes another way is counted."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from chain import VOLUME, batch_of
from serving import until
from spooling import Server, names

from ingrain.account import Station
from ingrain.backends import backlog, backoff
from ingrain.backends.spooled import Sent, SpoolSettings
from ingrain.batch import Batch

DAY = 86_400_000_000_000


class ToServer(Sent):
    """To a server of these tests."""

    def __init__(self, settings: SpoolSettings, server: Server) -> None:
        self._server_itself = server
        super().__init__(settings, Station("to server"), "the server", "jsonl")

    def put(self, key: str, file: BinaryIO) -> int:
        return self._server_itself.put(key, file)

    def why(self, error: Exception) -> str:
        return str(error)


@contextmanager
def sent(folder: Path, server: Server, **settings: Any) -> Iterator[ToServer]:
    """A backend that is called directly; closed at the end."""
    backend = ToServer(SpoolSettings(spool=str(folder), **settings), server)
    try:
        yield backend
    finally:
        backend.close()


def deliver(backend: ToServer, count: int) -> None:
    """An object with so many records."""
    backend.station.received += count
    backend.deliver(batch_of(VOLUME, [{"value": n, "packets": 1} for n in range(count)]))
    backend.flush()


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def noise(rows: int) -> Batch:
    """Records that no compression makes much smaller than 1 KB each."""
    return batch_of(VOLUME, [{"value": n, "packets": 1, "process": os.urandom(1000).hex()} for n in range(rows)])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "LEAST_S", 0.01)
    monkeypatch.setattr(backoff, "MOST_S", 0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.gate.set()


def test_what_was_finished_under_a_wrong_clock_is_not_too_old_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    server.down = ConnectionRefusedError("nobody there")
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() - 30 * DAY)
    with sent(tmp_path / "spool", server) as backend:
        monkeypatch.undo()  # and the clock is set right
        for _ in range(4):
            deliver(backend, 10)
    assert len(names(tmp_path / "spool")) == 4
    server.down = None
    server.gate.clear()  # what is under way is not dropped
    with sent(tmp_path / "spool", server) as backend:
        server.gate.set()
        backend.flush()
        assert (backend.station.resumed, backend.station.delivered, backend.station.lost) == (40, 40, 0)


def test_only_what_happened_is_told_of_an_object_that_is_sent(tmp_path: Path, server: Server) -> None:
    with sent(tmp_path / "spool", server) as backend:
        deliver(backend, 10)
        assert backend.station.delivered == 10
        assert set(backend.station.detail) == {"objects", "bytes"}


@pytest.mark.parametrize("window", [1024, 2])
@pytest.mark.usefixtures("quick")
def test_no_upload_fails_any_more_when_the_objects_that_were_refused_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, window: int
) -> None:
    monkeypatch.setattr(backlog, "WINDOW", window)
    with sent(tmp_path / "spool", server) as backend:
        server.down = ConnectionRefusedError("nobody there")
        for _ in range(7):
            deliver(backend, 10)
        left = list((tmp_path / "spool").iterdir())
        server.refused = {path.name.split("-", 3)[3].replace(",", "/") for path in left}
        server.down = None
        while not some_fail(backend):
            deliver(backend, 1)
        for path in left:  # the operator's remedy
            path.unlink()
        until("all of them to be missed", lambda: ticked(backend).lost == 70)
        until("nothing to fail", lambda: not some_fail(backend))


def some_fail(backend: ToServer) -> bool:
    return "uploading some objects to the server" in ticked(backend).failing


def ticked(backend: ToServer) -> Station:
    """Its station, up to date."""
    backend.tick()
    return backend.station


def test_objects_are_small_where_the_spool_is(tmp_path: Path, caplog: pytest.LogCaptureFixture, server: Server) -> None:
    with disk(tmp_path / "disk", "8m") as small, sent(small / "spool", server) as backend:
        for _ in range(16):
            backend.station.received += 200
            backend.deliver(noise(200))
            until("the spool to be empty", lambda: ticked(backend).spooled == 0)
        backend.flush()
        assert backend.station.delivered == 3200
        assert len(server.got) > 3
        assert "objects are complete at 419430, which is less than roll_mb" in caplog.text


def test_a_spool_is_never_larger_than_it_may_be_whatever_is_being_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, server: Server
) -> None:
    monkeypatch.setattr("ingrain.backends.spooled.FLUSH_S", 0.0)
    server.gate.clear()
    folder = tmp_path / "spool"
    with sent(folder, server, roll_mb=1, spool_max_mb=2, concurrency=16) as backend:
        station = backend.station
        for _ in range(4):
            station.received += 800
            backend.deliver(noise(800))
            backend.flush()
            until("it to be sent", lambda: server.at_once == len(names(folder)))
            assert station.spooled_bytes == sum(path.stat().st_size for path in folder.iterdir()) <= 2 << 20
        assert (station.spooled, station.lost, station.detail["spool full"]) == (1600, 1600, 1600)
        assert "it is full (2,097,152 bytes)" in station.failing[f"keeping everything in the spool {folder}"]
        server.gate.set()
        until("all to be sent", lambda: ticked(backend).delivered == 1600)
        deliver(backend, 10)
        until("a new one to be sent", lambda: ticked(backend).delivered == 1610)
        assert not station.failing

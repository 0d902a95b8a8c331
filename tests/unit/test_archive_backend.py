"""Archive: no reader sees half an object; a disk that is full or missing costs records, counted, not the agent."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archived import NOON, archive, objects, rows
from chain import VOLUME, batch_of
from spooling import fail_to_sync_folders

from ingrain.account import Station
from ingrain.backends import objects as module
from ingrain.backends.archive import Archive, ArchiveSettings
from ingrain.batch import Batch

DAY = 86_400_000_000_000


def batch(first: int, count: int, **more: Any) -> Batch:
    return batch_of(
        VOLUME,
        [{"timestamp": first + n, "value": n, "packets": 1, "process": f"p{first + n}", **more} for n in range(count)],
    )


def visible(folder: Path) -> list[Path]:
    return [path for path in objects(folder) if not path.name.startswith(".")]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_an_object_that_is_not_complete_has_no_name_that_readers_look_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 10)
    monkeypatch.setattr(module, "KEEP_ROWS", 0)
    with archive(tmp_path) as backend:
        backend.deliver(batch(NOON, 20))
        (hidden,) = objects(tmp_path)
        assert hidden.name.startswith(".")
        assert hidden.name.endswith(".parquet.tmp")
        assert backend.station.delivered == 0
    (path,) = objects(tmp_path)
    assert f".{path.name}.tmp" == hidden.name
    assert len(rows(path)) == backend.station.delivered == 20


def test_a_full_disk_costs_its_objects_and_writing_goes_on_when_there_is_room(
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 1000)
    monkeypatch.setattr(module, "KEEP_ROWS", 0)
    filler = tiny_disk / "filler"
    filler.write_bytes(bytes(200 << 10))
    with archive(tiny_disk) as backend:
        for start in range(40):
            backend.deliver(batch(NOON + start * 1000, 1000))
        backend.flush()
        station = backend.station
        assert station.lost > 0
        assert station.delivered + station.lost == 40_000
        assert station.detail["not written"] == station.lost
        assert objects(tiny_disk) == [filler, *visible(tiny_disk / "measurement=volume.out")]
        filler.unlink()
        before = station.lost
        backend.deliver(batch(NOON, 10))
        backend.flush()
        assert station.lost == before
    assert "No space left on device" in caplog.messages[0]
    assert "works again" in caplog.messages[-1]
    assert sum(len(rows(path)) for path in visible(tiny_disk)) == backend.station.delivered


def test_a_folder_that_cannot_be_made_is_told_at_the_start_and_used_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with archive(tmp_path / "file" / "archive") as backend:
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert "Not a directory" in caplog.text
        backend.deliver(batch(NOON, 5))
        backend.flush()
        assert (backend.station.delivered, backend.station.lost) == (0, 5)
        (tmp_path / "file").unlink()
        backend.deliver(batch(NOON, 7))
    assert (backend.station.delivered, backend.station.lost) == (7, 5)
    assert len(caplog.records) == 2


def test_a_folder_that_goes_away_under_an_open_object_costs_that_object(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    with archive(folder, roll_mb=1) as backend:
        backend.deliver(batch(NOON, 100_000))
        assert objects(folder)
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        backend.flush()
        assert (backend.station.delivered, backend.station.lost) == (0, 100_000)
        backend.deliver(batch(NOON, 3))
    assert backend.station.delivered == 3


def test_what_a_crash_left_is_removed_and_told_and_what_another_agent_writes_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with archive(tmp_path) as backend:
        for day in range(3):
            backend.deliver(batch(NOON + day * DAY, 1))
    kept = objects(tmp_path)
    left, written = (kept[-1].with_name(f".h-{n}-000000.parquet.tmp") for n in (1, 2))
    left.write_bytes(b"PAR1 and no footer")
    with written.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        caplog.clear()
        with archive(tmp_path):
            assert not left.exists()
            assert written.exists()
    assert [f"removed {left}, 18 bytes" in message for message in caplog.messages] == [True]
    assert objects(tmp_path) == sorted([*kept, written])


def test_without_locks_nothing_is_removed_as_somebody_may_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(module, "GROUP_ROWS", 10)
    monkeypatch.setattr(module, "KEEP_ROWS", 0)
    with archive(tmp_path) as backend:
        backend.deliver(batch(NOON, 20))
        (hidden,) = objects(tmp_path)
        with archive(tmp_path):
            assert objects(tmp_path) == [hidden]
        backend.flush()
        assert (backend.station.delivered, backend.station.lost) == (20, 0)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_on_a_disk_that_fails_what_is_lost_is_not_found_and_what_is_found_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    with archive(tmp_path) as backend:
        backend.deliver(batch(NOON - DAY, 1))
        backend.flush()
        station = backend.station
        backend.deliver(batch(NOON - DAY, 10))
        fail_to_sync_folders(monkeypatch, renames=renames)
        backend.flush()
        monkeypatch.undo()
        assert (station.delivered, station.lost) == ((11, 0) if renames == 1 else (1, 10))
    assert sum(len(rows(path)) for path in objects(tmp_path)) == station.delivered


def test_agents_that_write_into_the_same_folder_do_not_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):  # three processes that each begin to count at 0
        monkeypatch.setattr("ingrain.backends.layout._sequence", iter(range(100)))
        with archive(tmp_path) as backend:
            backend.deliver(batch(NOON, 4))
        assert backend.station.delivered == 4
    assert [len(rows(path)) for path in objects(tmp_path)] == [4, 4, 4]


def test_a_path_is_required_and_is_one() -> None:
    for path in ("", "a\0b"):
        with pytest.raises(ValueError, match=r"^path: "):
            ArchiveSettings(path=path)


def test_a_folder_without_rights_is_told_and_costs_the_records(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        subprocess.run(["chattr", "+i", str(tmp_path)], check=False, capture_output=True)
    else:
        tmp_path.chmod(0o500)
    try:
        backend = Archive(ArchiveSettings(path=str(tmp_path)), Station("archive"))
        try:
            (tmp_path / "probe").write_text("")
        except OSError:
            pass
        else:
            pytest.skip("no folder can be closed to this user here")
        backend.deliver(batch(NOON, 2))
        backend.flush()
        assert (backend.station.delivered, backend.station.lost) == (0, 2)
    finally:
        subprocess.run(["chattr", "-i", str(tmp_path)], check=False, capture_output=True)

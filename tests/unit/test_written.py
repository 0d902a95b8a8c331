"""Where `--output` goes: a file has its name only when it is whole; what is none stays what it is."""

from __future__ import annotations

import fcntl
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from known import WHEN, write

from ingrain import cli

ROOM = 1 << 20
BEFORE = "what was there before"
WAYS = {
    "query": ["query", "SELECT q_name FROM dns_query ORDER BY ALL"],
    "ask": ["ask", "top-talkers", *WHEN],
    "report": ["report", *WHEN],
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("archive"))


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest, archive: Path) -> list[str]:
    return [*request.param, "--archive", str(archive), "--output"]


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """One that holds all that is written to it, and a descriptor to read that."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, ROOM)
    yield path, descriptor
    os.close(descriptor)


def test_a_fifo_is_written_to(way: list[str], fifo: tuple[Path, int]) -> None:
    path, descriptor = fifo
    assert cli.main([*way, str(path)]) == 0
    assert os.read(descriptor, ROOM).endswith(b"\n")
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_parquet_comes_whole_out_of_a_fifo(archive: Path, fifo: tuple[Path, int]) -> None:
    path, descriptor = fifo
    words = [*WAYS["query"], "--format", "parquet", "--archive", str(archive), "--output", str(path)]
    assert cli.main(words) == 0
    table = pq.read_table(io.BytesIO(os.read(descriptor, ROOM)))
    assert table.column("q_name").to_pylist() == ["old.test", "old.test", "www.Example.test"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_stays_one(way: list[str], tmp_path: Path) -> None:
    null = tmp_path / "null"
    os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    assert cli.main([*way, str(null)]) == 0
    assert stat.S_ISCHR(null.stat().st_mode)
    assert list(tmp_path.iterdir()) == [null]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(way: list[str], tmp_path: Path, there: bool) -> None:  # noqa: FBT001 - a parameter
    (tmp_path / "folder").mkdir()
    file, link = tmp_path / "folder" / "file", tmp_path / "link"
    if there:
        file.write_text(BEFORE)
    link.symlink_to("folder/file")
    assert cli.main([*way, str(link)]) == 0
    assert link.is_symlink()
    assert BEFORE not in file.read_text()
    assert list((tmp_path / "folder").iterdir()) == [file]


@pytest.mark.parametrize(
    ("name", "told"),
    [("", "Is a directory"), ("/", "Is a directory"), ("{}/no/x", "No such file"), ("{}/loop", "Too many levels")],
)
def test_what_cannot_be_written_is_told(
    capsys: pytest.CaptureFixture[str], way: list[str], tmp_path: Path, name: str, told: str
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert cli.main([*way, name.format(tmp_path)]) == 1
    assert f"cannot be written: {told}" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["loop"]

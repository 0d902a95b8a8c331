"""What the tests of queries share: archives of objects that are made by hand, and the command line that asks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from known import NOON, Row

from ingrain import cli
from ingrain.query.archive import Folder

FOLDER = "measurement=dns.query/date=2025-03-01/hour=12"


def query(
    capsys: pytest.CaptureFixture[str], archive: Path, sql: str, *options: str, expected: int = 0
) -> tuple[list[Row], str]:
    """The rows of an answer, and what was said to stderr."""
    code = cli.main(["query", sql, "--archive", str(archive), "--format", "json", *options])
    out, err = capsys.readouterr()
    assert code == expected, err
    return [json.loads(line) for line in out.splitlines()], err


def plant(archive: Path, name: str, table: pa.Table | bytes, folder: str = FOLDER) -> Path:
    """An object of an archive."""
    path = archive / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(table, bytes):
        path.write_bytes(table)
    else:
        pq.write_table(table, path)
    return path


def records(count: int = 1, at: int = NOON + 60_000_000_000, **columns: Any) -> pa.Table:
    """So many records of a moment (ns, UTC)."""
    stamps = pa.array([at] * count, pa.timestamp("ns", "UTC"))
    return pa.table({"timestamp": stamps, "value": pa.array([1] * count), **columns})


def damaged(data: bytes) -> bytes:
    """Parquet with a sound footer, and pages of zeros."""
    size = int.from_bytes(data[-8:-4], "little") + 8
    return data[:4] + bytes(len(data) - size - 4) + data[-size:]


class Watched(Folder):
    """A folder that notes what is opened."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.opened: list[str] = []

    def open(self, key: str, size: int) -> Any:
        self.opened.append(key)
        return super().open(key, size)

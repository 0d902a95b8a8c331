"""What the tests of Archive and S3 share: reading objects back, by pyarrow's own reader and by json."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingrain.account import Station
from ingrain.backends.archive import Archive, ArchiveSettings
from ingrain.batch import TIMESTAMP
from ingrain.query.schema import measurements

HOUR = 3_600_000_000_000
NOON = 1_740_830_400_000_000_000
"""2025-03-01 12:00 UTC, in ns."""

Row = dict[str, Any]


def objects(folder: Path) -> list[Path]:
    """The objects below a folder, by name; there is nothing else."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def rows(path: Path) -> list[Row]:
    """The records of one object; timestamps in ns."""
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            read = [json.loads(line) for line in file.read().split("\n")[:-1]]
        stamps = pa.array([row["timestamp"] for row in read]).cast(TIMESTAMP).cast(pa.int64())
        return [{**row, "timestamp": stamp.as_py()} for row, stamp in zip(read, stamps, strict=True)]
    table = pq.ParquetFile(path).read()
    stamps = table.column("timestamp").cast(pa.int64()).to_pylist()
    return [
        {"timestamp": stamp, **row}
        for stamp, row in zip(stamps, table.drop_columns(["timestamp"]).to_pylist(), strict=True)
    ]


def thrice(made: Mapping[str, Sequence[Row]]) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """Records of events that each came three times: as they are told, and as the step Buffer sums them up."""
    told = {name: [row for row in rows for _ in range(3)] for name, rows in made.items()}
    summed = {
        name: [row | {value: 3 * row.get(value, 1) for value in measurements()[name].value_names} for row in rows]
        for name, rows in made.items()
    }
    return told, summed


@contextmanager
def archive(folder: Path, **more: Any) -> Iterator[Archive]:
    """An Archive that is called directly; flushed at the end."""
    backend = Archive(ArchiveSettings(path=str(folder), **more), Station("archive"))
    yield backend
    backend.flush()
    backend.close()

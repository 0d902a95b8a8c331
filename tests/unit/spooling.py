"""What the tests of the spool share: a folder, and objects of any content in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingrain.backends.spool import Spool, Spooled

KEY = "measurement=volume.out/date=2025-03-01/hour=12/host-1740830400000000000-0123abcd-{:06}.parquet"


@contextmanager
def spool(folder: Path, limit: int | None = None) -> Iterator[Spool]:
    """The folder, open; let go of at the end."""
    made = Spool.open(folder, limit)
    try:
        yield made
    finally:
        made.close()


def put(into: Spool, number: int = 0, rows: int = 1, content: bytes = b"PAR1") -> Spooled:
    """One more object in it."""
    file = into.create()
    file.write(content)
    return into.commit(file, KEY.format(number), rows)


def names(folder: Path) -> list[str]:
    """What is in the folder, the oldest object first."""
    return sorted(path.name for path in folder.iterdir())

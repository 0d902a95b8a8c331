"""Archive: the same objects as S3's, in a local folder. No reader ever sees one that is not complete.

An object is written under a hidden name in its own folder, synced, and renamed. What a crash left is removed at the
next start; another agent's hidden files are left alone, for it holds a lock on them. On a file system without locks all
are left alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from ingrain.account import Station
from ingrain.backends.folders import locked, make, opened, publish, really_locked
from ingrain.backends.objects import Format, Object, Objects, ObjectSettings

log = logging.getLogger(__name__)

_HIDDEN = ".{}.tmp"  # readers of such folders pass over names that begin with a dot


def is_path(path: str) -> None:
    """Raise ValueError for what no folder can be called."""
    if not path or "\0" in path:
        raise ValueError("expected the path of a folder")


class ArchiveSettings(ObjectSettings, frozen=True, kw_only=True):
    """The folder, and what is written there.

    path: the folder; created if it does not exist
    format: `parquet` (zstd), or `jsonl`, gzipped JSON lines
    """

    path: Annotated[str, msgspec.Meta(extra={"check": is_path})]
    format: Format = "parquet"


class Archive(Objects):
    """Records are delivered when their object has its name and is on the disk (fsync)."""

    Settings = ArchiveSettings

    def __init__(self, settings: ArchiveSettings, station: Station) -> None:
        super().__init__(settings, station, f"writing to {settings.path}", settings.format)
        self._root = Path(settings.path)
        try:
            make(self._root)
            self._sweep()
        except OSError as error:  # it may be mounted or mended later; until then objects are lost, counted
            self.reach.fails(os.strerror(error.errno or 0), "It is tried again with every object")

    def create(self, key: str) -> BinaryIO:
        """A hidden file beside the object's place, locked as long as it is open."""
        path = self._root / key
        hidden = _hidden(path)
        make(path.parent)
        file = hidden.open("xb")
        if not locked(file.fileno()) or not hidden.exists():  # another agent, just starting, swept it up
            file.close()
            raise FileExistsError(str(hidden))
        if path.exists():  # looked up after the hidden name was taken, so nobody can be about to rename to it
            self.discard(key, file)
            raise FileExistsError(str(path))
        return file

    def store(self, made: Object) -> None:
        """Sync, rename, sync the folder."""
        path = self._root / made.key
        made.file.flush()
        os.fsync(made.file.fileno())
        made.size = made.file.tell()
        with opened(path.parent) as folder:
            publish(folder, _hidden(path).name, path.name)
        made.file.close()
        self.stored(made.rows, made.size, made.first)

    def discard(self, key: str, file: BinaryIO) -> None:
        """Remove the hidden file."""
        with suppress(OSError):  # nothing more can be done about it; the next start sweeps it up
            _hidden(self._root / key).unlink()
        with suppress(OSError):  # what its buffer holds may not fit the disk
            file.close()

    def _sweep(self) -> None:
        """Remove what a crash left: hidden files that nobody has locked.

        Only each measurement's two newest days are looked at, as an archive of years has a hundred thousand folders:
        what was left of a replay of older packets stays.
        """
        for hidden in _leftovers(self._root):
            with suppress(OSError), hidden.open("r+b") as file:  # gone meanwhile, or nobody can lock it
                if not really_locked(file.fileno()):
                    continue
                size = os.fstat(file.fileno()).st_size
                hidden.unlink()
                log.warning(
                    "%s: removed %s, %d bytes of an object that a crash left incomplete; its records are lost",
                    self.station.name,
                    hidden,
                    size,
                )


def _hidden(path: Path) -> Path:
    return path.with_name(_HIDDEN.format(path.name))


def _leftovers(root: Path) -> Iterator[Path]:
    for measurement in root.glob("measurement=*"):
        for day in sorted(measurement.glob("date=*"))[-2:]:
            yield from day.glob("hour=*/" + _HIDDEN.format("*"))

"""Files: files opened, read, written, mapped, truncated, renamed, linked, created, deleted, changed in mode or owner.

In: `struct access` for each, with its paths behind it, and the bytes that are counted in the kernel, read every
`interval_ms` (probes/files.bpf.c). Out: the measurements below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.batch import TEXT, TIMESTAMP, Batch, Column, Measurement
from ingrain.grains import watched
from ingrain.grains.common import PROCESS, TracingSettings, ones, processes, timestamps
from ingrain.grains.grain import Grain, Made
from ingrain.grains.moved import Counted, Known, Moved, Whose, rows_of
from ingrain.grains.opening import device_name, kind_of, open_flags, permissions, protection
from ingrain.grains.paths import path_of
from ingrain.grains.text_columns import texts
from ingrain.grains.watched import Watched
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained, Events, select

_OPENED, _MAPPED, _RENAMED, _LINKED, _CREATED, _DELETED, _MODE, _OWNER, _TRUNCATED, _NAMED = range(10)
_IS_CUT, _IS_DELETED, _IS_NEW, _NEW_IS_CUT = 1, 2, 4, 8
_READ, _WRITTEN = range(2)
# all of these: enums of probes/access.h and probes/moved.h
_SHARED = 1  # MAP_SHARED of mmap(2), and a bit of MAP_SHARED_VALIDATE
_UNCHANGED = 0xFFFFFFFF  # an owner of chown(2)

_FILE = (
    Column("path", TEXT, "path in the mount namespace of the process"),
    Column("inode", pa.uint64(), "inode number"),
    Column("device", TEXT, "major:minor of the file system, as in /proc/PID/mountinfo"),
    Column("path_cut", pa.bool_(), "a path exceeds 4,096 bytes: its beginning is replaced by .../"),
)
_DELETED_TAG = Column(
    "deleted", pa.bool_(), "the file no longer has an entry at that path, or never had one (O_TMPFILE)"
)
_NEW_PATH = Column("new_path", TEXT, "the new path; a file that was there before is replaced")
_VALUES = (
    Column("value", pa.int64(), "bytes"),
    Column("calls", pa.int64(), "number of calls, including those that transfer nothing at the end of the file"),
)

MEASUREMENTS = {
    _OPENED: Measurement(
        "file.open",
        "a process opened a file or directory",
        (
            *PROCESS,
            *_FILE,
            _DELETED_TAG,
            Column(
                "flags", TEXT, "flags of open(2) except O_CLOEXEC, e.g. O_RDWR|O_CREAT; O_EXEC: opened for execution"
            ),
            Column("created", pa.bool_(), "the open created the file"),
        ),
    ),
    _MAPPED: Measurement(
        "file.mmap",
        "a process mapped a file into memory, where it can read or write it without a system call",
        (
            *PROCESS,
            *_FILE,
            _DELETED_TAG,
            Column("protection", TEXT, "e.g. PROT_READ|PROT_WRITE"),
            Column("shared", pa.bool_(), "MAP_SHARED: writes go to the file"),
        ),
    ),
    _RENAMED: Measurement("file.rename", "a process renamed a file or directory", (*PROCESS, *_FILE, _NEW_PATH)),
    _LINKED: Measurement("file.link", "a process created a hard link to a file", (*PROCESS, *_FILE, _NEW_PATH)),
    _CREATED: Measurement(
        "file.create",
        "a process created a directory, symbolic link, named pipe, socket or device",
        (
            *PROCESS,
            *_FILE,
            Column("kind", TEXT, "what was created: directory, symbolic link, pipe, socket, character or block device"),
        ),
    ),
    _DELETED: Measurement("file.delete", "a process deleted a file's path (unlink) or a directory", (*PROCESS, *_FILE)),
    _MODE: Measurement(
        "file.chmod",
        "a process set the mode of a file",
        (*PROCESS, *_FILE, _DELETED_TAG, Column("mode", TEXT, "new mode in octal, e.g. 0644")),
    ),
    _OWNER: Measurement(
        "file.chown",
        "a process set the owner or group of a file",
        (
            *PROCESS,
            *_FILE,
            _DELETED_TAG,
            Column("owner", pa.uint32(), "new user id, as the process sees it; null if unchanged"),
            Column("group", pa.uint32(), "new group id, likewise"),
        ),
    ),
    _TRUNCATED: Measurement(
        "file.truncate",
        "a process set the size of a file, also by opening it with O_TRUNC",
        (*PROCESS, *_FILE, _DELETED_TAG, Column("size", pa.uint64(), "new size in bytes")),
    ),
}
MOVED = {
    _READ: Measurement(
        "file.read",
        "bytes a process read from a file in the interval; the timestamp is that of the first call",
        (*PROCESS, *_FILE, _DELETED_TAG),
        unit="bytes",
        values=_VALUES,
    ),
    _WRITTEN: Measurement(
        "file.write",
        "bytes a process wrote to a file in the interval; the timestamp is that of the first call",
        (*PROCESS, *_FILE, _DELETED_TAG),
        unit="bytes",
        values=_VALUES,
    ),
}

Directories = Annotated[list[str], msgspec.Meta(extra={"check": watched.check})]


class FilesSettings(TracingSettings, frozen=True):
    """Which directories are watched, and how often counts are read.

    monitor_dirs: directories to watch, with everything below them
    ignore_dirs: directories to ignore; of all listed directories above a file the nearest decides
    interval_ms: how often the bytes read and written are read from the kernel
    """

    monitor_dirs: Directories = msgspec.field(default_factory=lambda: ["/"])
    ignore_dirs: Directories = msgspec.field(default_factory=list)
    interval_ms: Annotated[int, msgspec.Meta(ge=10, le=3_600_000)] = 1000

    def __post_init__(self) -> None:
        """Raise ValueError where a directory is in both lists, or none is watched."""
        super().__post_init__()
        if not self.monitor_dirs:
            raise ValueError("monitor_dirs: no directory is watched; leave it out to watch all")
        both = {watched.names(one) for one in self.monitor_dirs} & {watched.names(one) for one in self.ignore_dirs}
        if both:
            path = "/" + b"/".join(min(both)).decode(errors="replace")
            raise ValueError(f"ignore_dirs: {path} is in monitor_dirs, too; it can be in one of them")


class Files(Grain):
    """What is done with files. Paths are decoded one by one, each that repeats once."""

    Settings = FilesSettings
    measurements = (*MEASUREMENTS.values(), *MOVED.values())
    program = "files"
    event = "access"
    packets = True
    patience = 1.0
    some_of = (("do_filp_open", "do_file_open"), ("do_splice", "splice_file_to_pipe"))

    def __init__(self) -> None:
        super().__init__()
        self._whose = Whose()

    def open(self, program: Program) -> None:
        """Tell the programs which directories to watch."""
        self._watched = Watched(program, self.settings.monitor_dirs, self.settings.ignore_dirs)
        self._moved = Moved(program)
        self._access, self._counts = program.dtype("access"), program.dtype("moved")

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """A batch a measurement."""
        kinds = drained.events["kind"]
        self.malformed += int(np.count_nonzero(kinds > _NAMED))
        self.parts += int(np.count_nonzero(kinds == _NAMED))
        self._learn(drained, np.flatnonzero((kinds == _NAMED) | (kinds == _OPENED)))
        for kind, measurement in MEASUREMENTS.items():
            rows = np.flatnonzero(kinds == kind)
            if not len(rows):
                continue
            events = select(drained.events, kinds == kind)
            behind = [drained.payloads[row] for row in rows.tolist()]
            columns = processes(events["process"], self.containers) | _files(events, _paths(events, behind))
            columns |= _TOLD[kind](events, behind)
            columns |= {"timestamp": timestamps(events["process"], self.clock), "value": ones(len(events))}
            yield self.batch(measurement, columns)

    def poll(self) -> Iterator[Batch]:
        """What was read and written since the last call."""
        counted = self._whose.join(self._moved.take())
        self._watched.refresh()
        moved = np.frombuffer(b"".join(one.moved for one in counted), self._counts)
        for direction, measurement in MOVED.items():
            rows = np.flatnonzero(moved["calls"][:, direction])
            if len(rows):
                whose = self._columns([counted[row] for row in rows.tolist()])
                for name, column in (("value", "bytes"), ("calls", "calls")):
                    whose[name] = pa.array(moved[column][rows, direction].astype(np.int64))
                yield self.batch(measurement, whose)

    def finish(self) -> None:
        """Counts need not wait for their event any more."""
        self._whose.finish()

    def _learn(self, drained: Drained, rows: npt.NDArray[np.intp]) -> None:
        """Whose the counts will be."""
        events, behind = drained.events[rows], [drained.payloads[row] for row in rows.tolist()]
        for key, event, path in zip(rows_of(events["file"]), rows_of(events), _paths(events, behind), strict=True):
            self._whose.learn(key, Known(event, path))

    def _columns(self, counted: Sequence[Counted]) -> dict[str, Made]:
        """Timestamp and tags."""
        nobody = bytes(self._access.itemsize)
        raw = b"".join(one.known.event if one.known else nobody for one in counted)
        events = np.frombuffer(raw, self._access).copy()
        events["file"] = np.frombuffer(b"".join(one.key for one in counted), events.dtype["file"])
        firsts = np.frombuffer(b"".join(one.moved for one in counted), self._counts)["first"]
        paths = [one.known.path if one.known else None for one in counted]
        tags = processes(events["process"], self.containers) | _files(events, paths) | _deleted(events)
        return tags | {"timestamp": pa.array(self.clock(firsts), TIMESTAMP)}


def _paths(events: Events, behind: Sequence[bytes]) -> list[str]:
    cut = (events["marks"] & _IS_CUT).tolist()
    return [path_of(text[:size], end) for text, size, end in zip(behind, events["path"].tolist(), cut, strict=True)]


def _files(events: Events, paths: Sequence[str | None]) -> dict[str, pa.Array]:
    """The columns of `_FILE`."""
    inodes = events["file"]["inode"]
    return {
        "path": texts(paths),
        "inode": pa.array(np.ascontiguousarray(inodes), mask=inodes == 0),
        "device": texts([device_name(one) if one else None for one in events["file"]["device"].tolist()]),
        "path_cut": pa.array((events["marks"] & (_IS_CUT | _NEW_IS_CUT)) != 0),
    }


def _deleted(events: Events) -> dict[str, pa.Array]:
    return {"deleted": pa.array((events["marks"] & _IS_DELETED) != 0)}


def _opened(events: Events, _behind: Sequence[bytes]) -> dict[str, pa.Array]:
    return _deleted(events) | {
        "flags": texts([open_flags(flags) for flags in events["detail"][:, 0].tolist()]),
        "created": pa.array((events["marks"] & _IS_NEW) != 0),
    }


def _mapped(events: Events, _behind: Sequence[bytes]) -> dict[str, pa.Array]:
    return _deleted(events) | {
        "protection": texts([protection(bits) for bits in events["detail"][:, 0].tolist()]),
        "shared": pa.array((events["detail"][:, 1] & _SHARED) != 0),
    }


def _two(events: Events, behind: Sequence[bytes]) -> dict[str, pa.Array]:
    cut = ((events["marks"] & _NEW_IS_CUT) != 0).tolist()
    firsts = events["path"].tolist()
    return {"new_path": texts([path_of(text[size:], end) for text, size, end in zip(behind, firsts, cut, strict=True)])}


def _created(events: Events, _behind: Sequence[bytes]) -> dict[str, pa.Array]:
    return {"kind": texts([kind_of(mode) for mode in events["detail"][:, 0].tolist()])}


def _mode(events: Events, _behind: Sequence[bytes]) -> dict[str, pa.Array]:
    return _deleted(events) | {"mode": texts([permissions(mode) for mode in events["detail"][:, 0].tolist()])}


def _owner(events: Events, _behind: Sequence[bytes]) -> dict[str, pa.Array]:
    ids = [np.ascontiguousarray(events["detail"][:, which]) for which in range(2)]
    owner, group = (pa.array(one, mask=one == _UNCHANGED) for one in ids)
    return _deleted(events) | {"owner": owner, "group": group}


def _truncated(events: Events, _behind: Sequence[bytes]) -> dict[str, pa.Array]:
    return _deleted(events) | {"size": pa.array(np.ascontiguousarray(events["size"]))}


def _nothing_more(_events: Events, _behind: Sequence[bytes]) -> dict[str, pa.Array]:
    return {}


_TOLD: dict[int, Callable[[Events, Sequence[bytes]], dict[str, pa.Array]]] = {
    _OPENED: _opened,
    _MAPPED: _mapped,
    _RENAMED: _two,
    _LINKED: _two,
    _CREATED: _created,
    _DELETED: _nothing_more,
    _MODE: _mode,
    _OWNER: _owner,
    _TRUNCATED: _truncated,
}
"""Kind -> the columns that it has beside those of all."""

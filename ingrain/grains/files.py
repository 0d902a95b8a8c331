"""Files: files opened, read, written, mapped, truncated, renamed, linked, created, deleted, changed in mode or owner.

In: `struct access` for each, with its paths behind it, and the bytes that are counted in the kernel, read every
`interval_ms` (probes/files.bpf.c). Out: the measurements below.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.batch import TEXT, TIMESTAMP, Batch, Column, Measurement
from ingrain.grains import accesses, watched
from ingrain.grains.accesses import (
    CREATED,
    DELETED,
    LINKED,
    MAPPED,
    MODE,
    NAMED,
    OF_KIND,
    OPENED,
    OWNER,
    READ,
    RENAMED,
    TRUNCATED,
    WRITTEN,
)
from ingrain.grains.common import PROCESS, TracingSettings, ones, processes, timestamps
from ingrain.grains.grain import Grain, Made
from ingrain.grains.moved import Counted, Known, Moved, Whose, rows_of
from ingrain.grains.watched import Watched
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained, select

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
    OPENED: Measurement(
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
    MAPPED: Measurement(
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
    RENAMED: Measurement("file.rename", "a process renamed a file or directory", (*PROCESS, *_FILE, _NEW_PATH)),
    LINKED: Measurement("file.link", "a process created a hard link to a file", (*PROCESS, *_FILE, _NEW_PATH)),
    CREATED: Measurement(
        "file.create",
        "a process created a directory, symbolic link, named pipe, socket, device, or, by mknod(2), a regular file",
        (
            *PROCESS,
            *_FILE,
            Column(
                "kind",
                TEXT,
                "what was created: directory, symbolic link, pipe, socket, character or block device, file",
            ),
        ),
    ),
    DELETED: Measurement("file.delete", "a process deleted a file's path (unlink) or a directory", (*PROCESS, *_FILE)),
    MODE: Measurement(
        "file.chmod",
        "a process set the mode of a file",
        (*PROCESS, *_FILE, _DELETED_TAG, Column("mode", TEXT, "new mode in octal, e.g. 0644")),
    ),
    OWNER: Measurement(
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
    TRUNCATED: Measurement(
        "file.truncate",
        "a process set the size of a file, also by opening it with O_TRUNC",
        (*PROCESS, *_FILE, _DELETED_TAG, Column("size", pa.uint64(), "new size in bytes")),
    ),
}
MOVED = {
    READ: Measurement(
        "file.read",
        "bytes a process read from a file in the interval; the timestamp is that of the first call",
        (*PROCESS, *_FILE, _DELETED_TAG),
        unit="bytes",
        values=_VALUES,
    ),
    WRITTEN: Measurement(
        "file.write",
        "bytes a process wrote to a file in the interval; the timestamp is that of the first call",
        (*PROCESS, *_FILE, _DELETED_TAG),
        unit="bytes",
        values=_VALUES,
    ),
}

Name = Literal[
    "file.open",
    "file.mmap",
    "file.rename",
    "file.link",
    "file.create",
    "file.delete",
    "file.chmod",
    "file.chown",
    "file.truncate",
    "file.read",
    "file.write",
]
_URING = ("io_uring_complete", "io_req_rw_complete")
_MOVING = ("do_splice", "do_splice_direct", "splice_file_to_pipe", "vfs_copy_file_range", *_URING)
_FUNCTIONS: Mapping[Name, Collection[str]] = {
    "file.open": ("do_filp_open", "do_file_open", "do_file_open_root", "fd_install"),
    "file.mmap": ("vm_mmap_pgoff",),
    "file.rename": ("security_path_rename", "vfs_rename"),
    "file.link": ("security_path_link", "vfs_link"),
    "file.create": (
        *(f"{begin}_{what}" for begin in ("security_path", "vfs") for what in ("symlink", "mkdir", "mknod")),
        "vfs_create",
    ),
    "file.delete": ("security_path_unlink", "vfs_unlink", "security_path_rmdir", "d_delete"),
    "file.chmod": ("chmod_common",),
    "file.chown": ("chown_common",),
    "file.truncate": ("vfs_truncate", "do_truncate"),
    "file.read": ("vfs_read", "vfs_readv", "io_read", *_MOVING),
    "file.write": ("vfs_write", "vfs_writev", "io_write", *_MOVING),
}
"""Measurement -> the functions that are traced for it."""

Directories = Annotated[list[str], msgspec.Meta(extra={"check": watched.check})]


class FilesSettings(TracingSettings, frozen=True):
    """Which directories are watched, what is reported, and how often counts are read.

    monitor_dirs: directories to watch, with everything below them
    ignore_dirs: directories to ignore; of all listed directories above a file the nearest decides; of links
        only root's are followed
    measurements: what to report, everything by default; hooks that only the others need are not attached
    interval_ms: how often the bytes read and written are read from the kernel
    """

    monitor_dirs: Directories = msgspec.field(default_factory=lambda: ["/"])
    ignore_dirs: Directories = msgspec.field(default_factory=list)
    measurements: Annotated[list[Name], msgspec.Meta(min_length=1)] | None = None
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
    some_of = (
        ("do_filp_open", "do_file_open"),
        ("do_splice", "splice_file_to_pipe"),
        ("vfs_read", "io_read", "io_write", "io_req_rw_complete"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._whose = Whose()
        self._moved: Moved | None = None

    def unused(self) -> Collection[str]:
        """What only measurements need that are not asked for."""
        used = {function for name in self._asked() for function in _FUNCTIONS[name]}
        return {function for functions in _FUNCTIONS.values() for function in functions} - used

    def constants(self) -> Mapping[str, int]:
        """Which directions are counted, as bits."""
        asked = self._asked()
        return {"counted_directions": sum(1 << way for way, measurement in MOVED.items() if measurement.name in asked)}

    def open(self, program: Program) -> None:
        """Tell the programs which directories to watch."""
        self._watched = Watched(program, self.settings.monitor_dirs, self.settings.ignore_dirs)
        self._access, self._counts = program.dtype("access"), program.dtype("moved")
        if self.constants()["counted_directions"]:
            self._moved = Moved(program)

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """A batch a measurement."""
        kinds = drained.events["kind"]
        self.malformed += int(np.count_nonzero(kinds > NAMED))
        self.parts += int(np.count_nonzero(kinds == NAMED))
        if self._moved:
            self._learn(drained, np.flatnonzero((kinds == NAMED) | (kinds == OPENED)))
        for kind, measurement in MEASUREMENTS.items():
            rows = np.flatnonzero(kinds == kind)
            if not len(rows):
                continue
            events = select(drained.events, rows)
            behind = [drained.payloads[row] for row in rows.tolist()]
            columns = processes(events["process"], self.containers) | accesses.files(events, behind)
            columns |= OF_KIND[kind](events, behind)
            columns |= {"timestamp": timestamps(events["process"], self.clock), "value": ones(len(events))}
            yield self.batch(measurement, columns)

    def poll(self) -> Iterator[Batch]:
        """What was read and written since the last call."""
        self._watched.refresh()
        if not self._moved:
            return
        counted = self._whose.join(self._moved.take())
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

    def _asked(self) -> Collection[Name]:
        return self.settings.measurements or get_args(Name)

    def _learn(self, drained: Drained, rows: npt.NDArray[np.intp]) -> None:
        """Whose the counts will be."""
        events = select(drained.events, rows)
        each = zip(rows_of(events["file"]), rows_of(events), rows.tolist(), events["path"].tolist(), strict=True)
        for key, event, row, size in each:
            self._whose.learn(key, Known(event, drained.payloads[row][:size]))

    def _columns(self, counted: Sequence[Counted]) -> dict[str, Made]:
        """Timestamp and tags."""
        nobody = bytes(self._access.itemsize)
        raw = b"".join(one.known.event if one.known else nobody for one in counted)
        events = np.frombuffer(raw, self._access).copy()
        events["file"] = np.frombuffer(b"".join(one.key for one in counted), events.dtype["file"])
        firsts = np.frombuffer(b"".join(one.moved for one in counted), self._counts)["first"]
        names = [one.known.names if one.known else None for one in counted]
        tags = processes(events["process"], self.containers) | accesses.files(events, names)
        return tags | accesses.deleted(events, names) | {"timestamp": pa.array(self.clock(firsts), TIMESTAMP)}

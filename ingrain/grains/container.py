"""Container: what containers write to stdout and stderr, line by line, with the process that wrote it.

In: `struct output` for each piece of a write, with its bytes behind it (probes/container.bpf.c). Out:
`container.stdout`, `container.stderr`. A terminal is both, and is told as `container.stdout`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
import numpy as np
import pyarrow as pa

from ingrain.batch import TEXT, Batch, Column, Measurement
from ingrain.grains.common import PROCESS, TracingSettings, ones, processes, timestamps
from ingrain.grains.grain import Grain
from ingrain.grains.line_text import text_of
from ingrain.grains.lines import Assembler, Lines, Numbers
from ingrain.grains.selection import Chosen, Selection
from ingrain.kernel import cgroup, maps
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained, select

_STDERR = 2
_AT_A_TIME = 1 << 16  # lines in a batch

_TAGS = (
    *PROCESS,
    Column("line", TEXT, "the line without its newline; bytes that are not printable text are escaped, none is lost"),
    Column(
        "partial",
        pa.bool_(),
        "reported without its newline: too long, too late, cut, or the bytes after it are missing",
    ),
)
_VALUES = (
    Column("value", pa.int64(), "1 for each line"),
    Column("bytes", pa.int64(), "length of the line without its newline, also where not all of it was captured"),
)

MEASUREMENTS = (
    Measurement(
        "container.stdout", "a container wrote a line to stdout or to its terminal", _TAGS, unit="lines", values=_VALUES
    ),
    Measurement("container.stderr", "a container wrote a line to stderr", _TAGS, unit="lines", values=_VALUES),
)


class ContainerSettings(TracingSettings, frozen=True):
    """Which containers are observed.

    containers: patterns of container ids or names (`*` and `?` as in a shell); by default all containers
    buffer_kb: size of each CPU's perf buffer; 4096 holds about 25,000 short lines, or 32 of the largest writes
    """

    containers: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    buffer_kb: Annotated[int, msgspec.Meta(ge=8, le=262_144)] = 4096
    interval_ms: ClassVar[int] = 100  # how often lines are looked at that wait for their newline


class Container(Grain):
    """Lines of all streams. They are told when they are whole; see `lines` for those that never are."""

    Settings = ContainerSettings
    measurements = MEASUREMENTS
    program = "container"
    event = "output"
    packets = True
    some_of = (("pipe_write", "anon_pipe_write"), ("do_splice_to", "do_splice_read"))

    def constants(self) -> Mapping[str, int]:
        """Whether containers are muted."""
        return {"selective": int(self.settings.containers is not None)}

    def open(self, program: Program) -> None:
        """Learn what is watched. Raises KernelError where nobody can tell what that is: none is watched by mistake."""
        self._muted = program.maps["muted"]
        self._nothing = np.empty(0, program.dtype(self.event))
        self._assembler = Assembler(program.dtype(self.event))
        self._chosen: Chosen | None = None
        if self.settings.containers is not None:
            if self.containers is None:
                raise KernelError(
                    errno.EOPNOTSUPP, "containers are not known here, so none can be chosen by `containers`"
                )
            self._chosen = Chosen(Selection(self.settings.containers), self.containers, self._mute, self._unmute)
        self._finished = False

    def attached(self) -> None:
        """Find what was there before the programs: those see what comes after."""
        look_at_all()

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """Lines that are whole now."""
        events, texts = drained.events, drained.payloads
        if self._chosen:
            events, texts = self._chosen.choose(events, texts)
        lines = self._assembler.add(events, texts, self.seen_until)
        self.further += max(0, len(lines) - len(drained.events))
        self.parts += max(0, len(drained.events) - len(lines))
        yield from self._told(lines)

    def poll(self) -> Iterator[Batch]:
        """Lines that have waited long enough; after `finish` all."""
        if self._chosen:
            self._chosen.refresh()
            late = self._chosen.end(self._nothing) if self._finished else self._chosen.choose(self._nothing, [])
            yield from self._told(self._assembler.add(*late, self.seen_until))
        for lines in self._assembler.finish() if self._finished else self._assembler.release(self.seen_until):
            yield from self._told(lines)

    def finish(self) -> None:
        """No more events will come."""
        self._finished = True

    def _mute(self, cgroup_id: int) -> None:
        with suppress(KernelError):  # no room: its events come, and are left out here
            maps.put(self._muted, cgroup_id.to_bytes(8, "little"), b"\1")

    def _unmute(self, cgroup_id: int) -> None:
        with suppress(KernelError):  # its cgroup is gone
            maps.remove(self._muted, cgroup_id.to_bytes(8, "little"))

    def _told(self, lines: Lines) -> Iterator[Batch]:
        for start in range(0, len(lines), _AT_A_TIME):
            here = slice(start, start + _AT_A_TIME)
            is_error = lines.events["number"][here] == _STDERR
            for measurement, chosen in zip(MEASUREMENTS, (~is_error, is_error), strict=True):
                rows = np.flatnonzero(chosen) + start
                if len(rows):
                    yield self._batch(measurement, lines, rows)

    def _batch(self, measurement: Measurement, lines: Lines, rows: Numbers) -> Batch:
        events = select(lines.events, rows)
        columns = processes(events["process"], self.containers) | {
            "timestamp": timestamps(events["process"], self.clock),
            "value": ones(len(rows)),
            "bytes": pa.array(lines.sizes[rows]),
            "line": lambda: text_of(lines, rows),
            "partial": pa.array(lines.partial[rows]),
        }
        return self.batch(measurement, columns)


def look_at_all() -> None:
    """Have the kernel asked of every process whether it may be looked at: a program is there when it is.

    What it answers is all the same. The eldest is the first: it is the one that a container began with. A process that
    is gone meanwhile is none that prints.
    """
    processes = []
    for folder in Path("/proc").glob("[1-9]*"):
        with suppress(OSError):
            processes.append((cgroup.began(int(folder.name)), folder))
    for _began, folder in sorted(processes):
        with suppress(OSError):
            (folder / "cwd").readlink()

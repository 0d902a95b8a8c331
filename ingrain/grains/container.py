"""Container: what containers write to stdout and stderr, line by line, with the process that wrote it.

In: `struct output` for each piece of a write, with its bytes behind it (probes/container.bpf.c). Out:
`container.stdout`, `container.stderr`. A terminal is both, and is told as `container.stdout`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.batch import TEXT, Batch, Column, Measurement
from ingrain.grains.common import PROCESS, TracingSettings, ones, processes, timestamps
from ingrain.grains.grain import Grain
from ingrain.grains.lines import Assembler, Lines, Numbers
from ingrain.grains.selection import Names, Selection, container_of
from ingrain.kernel import maps
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained, Events, select
from ingrain.text import safe

_STDERR = 2
_UNPLAIN = np.ones(256, np.bool_)
_UNPLAIN[0x20:0x7F] = False
_UNPLAIN[ord("\\")] = True
_AT_A_TIME = 1 << 16  # lines in a batch
_NAME_S = 0.5  # for a new container's name, where it is asked for by that

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

    def open(self, program: Program) -> None:
        """Learn how streams are laid out, and what is watched."""
        self._program = program
        self._selection = Selection(self.settings.containers, self._names)
        self._stream = program.dtype("stream")
        self._assembler = Assembler(program.dtype(self.event))
        self._finished = False

    def attached(self) -> None:
        """Find what was there before the programs: those see what comes after."""
        if "container_running" in self._program.hooks:
            self._program.iterate("container_running")
        else:
            look_at_all()

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """Lines that are whole now."""
        events, texts = self._of_interest(drained.events, drained.payloads)
        lines = self._assembler.add(events, texts, self.seen_until)
        self.further += max(0, len(lines) - len(drained.events))
        self.parts += max(0, len(drained.events) - len(lines))
        yield from self._told(lines)

    def poll(self) -> Iterator[Batch]:
        """Lines that have waited long enough; after `finish` all."""
        for lines in self._assembler.finish() if self._finished else self._assembler.release(self.seen_until):
            yield from self._told(lines)

    def finish(self) -> None:
        """No more events will come."""
        self._finished = True

    def _names(self, cgroup_id: int) -> Names | None:
        """Id and name of a container; its engine's answer is waited for once, if need be."""
        if self.containers:
            identity = self.containers.columns(np.array([cgroup_id], np.uint64))
            if cgroup_id in self.containers.lacking:
                self.containers.wait(_NAME_S)
                identity = self.containers.columns(np.array([cgroup_id], np.uint64))
            told = [identity[column][0].as_py() for column in ("container_id", "container")]
            if names := tuple(name for name in told if name is not None):
                return names
        return container_of(cgroup_id)

    def _of_interest(self, events: Events, texts: list[bytes]) -> tuple[Events, list[bytes]]:
        """Those of containers that are watched. Of the others' streams the kernel half sees no more."""
        if self._selection.all:
            return events, texts
        watched = np.array([self._selection.watches(cgroup) for cgroup in events["container"].tolist()], np.bool_)
        for key, stream in {(int(e["key"]), int(e["stream"])) for e in events[~watched]}:
            self._forget(key, stream)
        return select(events, watched), [texts[i] for i in np.flatnonzero(watched).tolist()]

    def _forget(self, key: int, stream: int) -> None:
        streams, name = self._program.maps["streams"], key.to_bytes(8, "little")
        try:
            if int(maps.find(streams, name, self._stream)["id"]) == stream:
                maps.remove(streams, name)
        except KernelError:
            return  # it is gone already

    def _told(self, lines: Lines) -> Iterator[Batch]:
        for start in range(0, len(lines), _AT_A_TIME):
            here = slice(start, start + _AT_A_TIME)
            is_error = lines.events["number"][here] == _STDERR
            for measurement, chosen in zip(MEASUREMENTS, (~is_error, is_error), strict=True):
                rows = np.flatnonzero(chosen) + start
                if len(rows):
                    yield self._batch(measurement, lines, rows)

    def _batch(self, measurement: Measurement, lines: Lines, rows: Numbers) -> Batch:
        events = lines.events[rows]
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

    What it answers is all the same; a process that is gone meanwhile is none that prints.
    """
    for process in Path("/proc").glob("[1-9]*"):
        with suppress(OSError):
            (process / "cwd").readlink()


def text_of(lines: Lines, rows: Numbers) -> pa.DictionaryArray:
    """Lines as `TEXT`, escaped as `safe` does."""
    starts, sizes = lines.starts[rows], lines.ends[rows] - lines.starts[rows]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    text = lines.text[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)]
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(text)]
    encoded = pa.Array.from_buffers(pa.binary(), len(rows), buffers).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, _safe(encoded.dictionary))


def _safe(distinct: pa.Array) -> pa.Array:
    """Each as text. Plain ones (printable ASCII without a backslash) are what they are; others are made one by one."""
    _validity, offsets, data = distinct.buffers()
    ends = np.frombuffer(offsets, np.int32, len(distinct) + 1)
    unplain = np.concatenate([np.zeros(1, np.int64), np.cumsum(_UNPLAIN[np.frombuffer(data, np.uint8, ends[-1])])])[
        ends
    ]
    others = unplain[1:] > unplain[:-1]
    texts = pa.Array.from_buffers(pa.string(), len(distinct), [None, offsets, data])
    if others.any():
        mask = pa.array(others)
        texts = pc.replace_with_mask(texts, mask, pa.array(map(safe, distinct.filter(mask).to_pylist()), pa.string()))
    return texts

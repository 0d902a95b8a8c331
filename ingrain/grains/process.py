"""Process: programs that are executed, with arguments and ancestors, exits of processes, and OOM kills.

In: `struct task` for each, with the arguments, paths and ancestors behind it (probes/process.bpf.c). Out:
`process.exec`, `process.exit`, `process.oom`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.batch import TEXT, Batch, Column, Measurement
from ingrain.grains.common import PROCESS, TracingSettings, names, ones, process_name, processes, timestamps, uids
from ingrain.grains.grain import Grain, Made
from ingrain.grains.paths import SHORT, path_of
from ingrain.grains.text_columns import TEXTS, offsets, text_lists, texts
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained, Events, select
from ingrain.text import safe

_EXEC, _EXIT, _OOM = range(3)  # enum kind of probes/process.bpf.c
_SIGNAL, _CORE = 0x7F, 0x80  # of a status: wait(2)

ANCESTORS = pa.list_(pa.struct([("process", TEXT), ("process_id", pa.uint32()), ("process_uid", pa.uint64())]))

_STARTED = (
    Column("parent", TEXT, "name of the parent process"),
    Column("parent_id", pa.uint32(), "process id of the parent"),
    Column("executable", TEXT, "path of the executable; for a script, of its interpreter"),
    Column(
        "executable_deleted",
        pa.bool_(),
        "the executable no longer has an entry at that path, or never had one (memfd_create)",
    ),
    Column("args", TEXTS, "arguments, argv[0] first, up to 4 KiB"),
    Column("args_cut", pa.bool_(), "args is truncated"),
    Column("cwd", TEXT, "working directory"),
    Column("ancestors", ANCESTORS, "parent, grandparent and so on, up to the first process of the container"),
)
_ENDED = (
    Column("status", pa.uint8(), "exit status; null if a signal ended the process"),
    Column("signal", TEXT, "signal that ended the process, e.g. SIGKILL"),
    Column("core_dumped", pa.bool_(), "a core dump was written"),
)
_VALUE = Column("value", pa.int64(), "1 for each event")

MEASUREMENTS = (
    Measurement("process.exec", "a process executed a program", (*PROCESS, *_STARTED)),
    Measurement(
        "process.exit",
        "a process exited, with all its threads",
        (*PROCESS, *_ENDED),
        values=(_VALUE, Column("run_ns", pa.int64(), "nanoseconds since the process was created")),
    ),
    Measurement("process.oom", "the kernel's OOM killer selected a process", PROCESS),
)


class Process(Grain):
    """Programs that run. Records are made one by one: hosts start programs by the hundred a second, not the million."""

    Settings = TracingSettings
    measurements = MEASUREMENTS
    program = "process"
    event = "task"
    packets = True

    def open(self, program: Program) -> None:
        """Learn how ancestors are laid out."""
        self._ancestor = program.dtype("ancestor")

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """A batch a measurement."""
        kinds = drained.events["kind"]
        self.malformed += int(np.count_nonzero(kinds >= len(MEASUREMENTS)))
        for kind, measurement in enumerate(MEASUREMENTS):
            rows = np.flatnonzero(kinds == kind)
            if not len(rows):
                continue
            events = select(drained.events, rows)
            columns = processes(events["process"], self.containers)
            if kind == _EXEC:
                columns |= self._started(events, [drained.payloads[row] for row in rows.tolist()])
            elif kind == _EXIT:
                columns |= _ended(events)
            columns |= {"timestamp": timestamps(events["process"], self.clock), "value": ones(len(events))}
            yield self.batch(measurement, columns)

    def _started(self, events: Events, behind: Sequence[bytes]) -> dict[str, Made]:
        """What stands behind an event, in this order: arguments, executable, working directory, ancestors."""
        ends = np.cumsum([events[name] for name in ("args", "exe", "cwd")], axis=0, dtype=np.int64).T.tolist()

        def paths(part: int, marks: str) -> pa.Array:
            each = zip(behind, ends, events[marks].tolist(), strict=True)
            return texts([path_of(text[at[part - 1] : at[part]], mark) for text, at, mark in each])

        @cache
        def ancestors() -> list[npt.NDArray[np.void]]:
            lines = [text[at[-1] :] for text, at in zip(behind, ends, strict=True)]
            return [np.frombuffer(line, self._ancestor, len(line) // self._ancestor.itemsize) for line in lines]

        return {
            "parent": lambda: texts([process_name(bytes(one["comm"][0])) if len(one) else None for one in ancestors()]),
            "parent_id": lambda: pa.array(
                [int(one["pid"][0]) if len(one) else None for one in ancestors()], pa.uint32()
            ),
            "executable": lambda: paths(1, "exe_end"),
            "executable_deleted": lambda: pa.array(events["exe_deleted"] != 0),
            "args": lambda: text_lists([_args(text[: at[0]]) for text, at in zip(behind, ends, strict=True)]),
            "args_cut": lambda: pa.array(events["args_all"] > events["args"]),
            "cwd": lambda: paths(2, "cwd_end"),
            "ancestors": lambda: _lines_of_descent(ancestors()),
        }


def _lines_of_descent(lines: Sequence[npt.NDArray[np.void]]) -> pa.ListArray:
    all_of_them = np.concatenate(lines)
    columns = [
        names(all_of_them["comm"]),
        pa.array(np.ascontiguousarray(all_of_them["pid"])),
        uids(all_of_them["pid"], all_of_them["start"]),
    ]
    each = pa.StructArray.from_arrays(columns, fields=list(ANCESTORS.value_type))
    return pa.ListArray.from_arrays(offsets([len(line) for line in lines]), each)


def _ended(events: Events) -> dict[str, Made]:
    code = events["code"]
    number = (code & _SIGNAL).astype(np.int64)
    return {
        "status": lambda: pa.array((code >> 8 & 0xFF).astype(np.uint8), mask=number != 0),
        "signal": lambda: texts([_signal(one) for one in number.tolist()]),
        "core_dumped": lambda: pa.array((code & _CORE) != 0),
        "run_ns": pa.array(events["ran"].astype(np.int64)),
    }


def _signal(number: int) -> str | None:
    if not number:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal, or one of the two that the C library keeps for itself (signal(7))
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"SIG{number}"


def _args(raw: bytes) -> Sequence[str]:
    return _short_args(raw) if len(raw) <= SHORT else _split(raw)


def _split(raw: bytes) -> Sequence[str]:
    """Each argument ends with a zero; the last may be cut."""
    return tuple(map(safe, raw.removesuffix(b"\0").split(b"\0"))) if raw else ()


_short_args = lru_cache(maxsize=2048)(_split)

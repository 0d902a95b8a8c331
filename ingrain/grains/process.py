"""Process: programs that are executed, with arguments and ancestors, exits of processes, and OOM kills.

In: `struct task` for each, with the arguments, paths and ancestors behind it (probes/process.bpf.c). Out:
`process.exec`, `process.exit`, `process.oom`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa

from ingrain.batch import TEXT, Batch, Column, Measurement
from ingrain.grains.common import PROCESS, TracingSettings, names, ones, process_name, processes, timestamps, uids
from ingrain.grains.grain import Grain
from ingrain.grains.paths import path_of
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
            events = select(drained.events, kinds == kind)
            columns = processes(events["process"], self.containers)
            if kind == _EXEC:
                columns |= self._started(events, [drained.payloads[row] for row in rows.tolist()])
            elif kind == _EXIT:
                columns |= _ended(events)
            columns |= {"timestamp": timestamps(events["process"], self.clock), "value": ones(len(events))}
            if kind == _EXIT:
                columns["run_ns"] = pa.array(events["ran"].astype(np.int64))
            yield self.batch(measurement, columns)

    def _started(self, events: Events, behind: Sequence[bytes]) -> dict[str, pa.Array]:
        args, executables, cwds, lines = [], [], [], []
        sizes = zip(*(events[name].tolist() for name in ("args", "exe", "exe_end", "cwd", "cwd_end")), strict=True)
        for text, (args_size, exe_size, exe_end, cwd_size, cwd_end) in zip(behind, sizes, strict=True):
            exe_at, cwd_at, rest = args_size, args_size + exe_size, args_size + exe_size + cwd_size
            args.append(_args(text[:exe_at]))
            executables.append(path_of(text[exe_at:cwd_at], exe_end))
            cwds.append(path_of(text[cwd_at:rest], cwd_end))
            line = text[rest:]
            lines.append(np.frombuffer(line, self._ancestor, len(line) // self._ancestor.itemsize))
        ancestors = np.concatenate(lines)
        firsts = offsets([len(line) for line in lines])
        parent_ids = pa.array([int(line["pid"][0]) if len(line) else None for line in lines], pa.uint32())
        return {
            "parent": texts([process_name(bytes(line["comm"][0])) if len(line) else None for line in lines]),
            "parent_id": parent_ids,
            "executable": texts(executables),
            "args": text_lists(args),
            "args_cut": pa.array(events["args_all"] > events["args"]),
            "cwd": texts(cwds),
            "ancestors": pa.ListArray.from_arrays(
                firsts,
                pa.StructArray.from_arrays(
                    [
                        names(ancestors["comm"]),
                        pa.array(np.ascontiguousarray(ancestors["pid"])),
                        uids(ancestors["pid"], ancestors["start"]),
                    ],
                    fields=list(ANCESTORS.value_type),
                ),
            ),
        }


def _ended(events: Events) -> dict[str, pa.Array]:
    code = events["code"]
    number = (code & _SIGNAL).astype(np.int64)
    return {
        "status": pa.array((code >> 8 & 0xFF).astype(np.uint8), mask=number != 0),
        "signal": texts([_signal(one) for one in number.tolist()]),
        "core_dumped": pa.array((code & _CORE) != 0),
    }


def _signal(number: int) -> str | None:
    if not number:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal, or one of the two that the C library keeps for itself (signal(7))
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"SIG{number}"


@lru_cache(maxsize=4096)
def _args(raw: bytes) -> tuple[str, ...]:
    """Each ends with a zero; the last may be cut."""
    return tuple(map(safe, raw.removesuffix(b"\0").split(b"\0"))) if raw else ()

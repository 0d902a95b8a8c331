"""What is in a perf buffer: records, split into an array of event structs (and their packets, where they carry one).

A record is `struct perf_event_header` (type, misc, size), for a sample then the length of its raw data and the data,
padded with up to 7 bytes of garbage. Records of one kind have one size, so they are read as one strided array: the
stride of the first is assumed, verified on the whole column, and where a record differs the reading starts anew.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ingrain.kernel.ring import Bytes

SAMPLE, LOST = 9, 2  # PERF_RECORD_SAMPLE, PERF_RECORD_LOST
_HEADER = struct.Struct("<IHH")
_SAMPLE = struct.Struct("<IHHI")
_LOST = struct.Struct("<IHHQQ")
_TYPE_AND_SIZE = np.frombuffer(_HEADER.pack(0xFFFFFFFF, 0, 0xFFFF), np.uint64)[0]

Events = npt.NDArray[np.void]


@dataclass(slots=True)
class Drained:
    """What one drain of one probe's buffers gave.

    events: structured array of the probe's event struct, one row an event; a view of the memory that was drained.
    payloads: for events that carry a packet, its bytes from the payload on, one an event. lost: what the kernel's
    lost-records say (it under-reports; the programs' own counts are the truth). corrupt: bytes that could not be read
    as records.
    """

    events: Events
    payloads: list[bytes] = field(default_factory=list)
    lost: int = 0
    corrupt: int = 0


def fixed(raw: Bytes, dtype: np.dtype[np.void]) -> Drained:
    """Split records that hold just the event struct."""
    runs: list[Events] = []
    lost = corrupt = at = 0
    while at < len(raw):
        kind, size = _head(raw, at)
        if size < _HEADER.size or at + size > len(raw):
            corrupt += len(raw) - at
            break
        if kind == SAMPLE and size >= _SAMPLE.size + dtype.itemsize:
            count = _alike(np.ndarray(((len(raw) - at) // size,), np.uint64, raw.data, at, (size,)))
            runs.append(np.ndarray((count,), dtype, raw.data, at + _SAMPLE.size, (size,)))
            at += count * size
            continue
        if kind == LOST and size >= _LOST.size:
            lost += _LOST.unpack_from(raw.data, at)[4]
        else:
            corrupt += size
        at += size
    return Drained(_joined(runs, dtype), lost=lost, corrupt=corrupt)


def with_packets(raw: Bytes, dtype: np.dtype[np.void]) -> Drained:
    """Split records that hold the event struct and behind it the packet's bytes (`struct packet` of probes/flow.h)."""
    memory = raw.tobytes()
    structs: list[bytes] = []
    payloads: list[bytes] = []
    lost = corrupt = at = 0
    lengths = struct.Struct("<II")  # captured, payload: neighbours in the struct
    captured_at = dtype.fields["captured"][1] if dtype.fields else 0
    head, width = _SAMPLE.size, dtype.itemsize
    while at + _HEADER.size <= len(memory):
        kind, _misc, size = _HEADER.unpack_from(memory, at)
        if size < _HEADER.size or at + size > len(memory):
            break
        if kind == SAMPLE and size >= head + width:
            event = at + head
            captured, payload = lengths.unpack_from(memory, event + captured_at)
            packet = event + width
            if packet + captured <= at + size and payload <= captured:
                structs.append(memory[event:packet])
                payloads.append(memory[packet + payload : packet + captured])
            else:
                corrupt += size
        elif kind == LOST and size >= _LOST.size:
            lost += _LOST.unpack_from(memory, at)[4]
        else:
            corrupt += size
        at += size
    corrupt += len(memory) - at
    return Drained(np.frombuffer(b"".join(structs), dtype), payloads, lost, corrupt)


def select(events: Events, rows: npt.NDArray[np.bool_]) -> Events:
    """Copies of the events that `rows` (one a row) says, one behind the other.

    As opaque bytes: numpy copies structs four times slower, field by field.
    """
    opaque = np.dtype((np.void, events.dtype.itemsize))
    chosen: Events = events.view(opaque)[rows].view(events.dtype)
    return chosen


def _head(raw: Bytes, at: int) -> tuple[int, int]:
    if at + _HEADER.size > len(raw):
        return 0, 0
    kind, _misc, size = _HEADER.unpack_from(raw.data, at)
    return kind, size


def _alike(heads: npt.NDArray[np.uint64]) -> int:
    """How many headers, from the first on, have its type and size; `misc`, between them, may differ."""
    if not (heads != heads[0]).any():  # one pass over memory in the case that nearly always is
        return len(heads)
    other = (heads & _TYPE_AND_SIZE) != (heads[0] & _TYPE_AND_SIZE)
    return int(other.argmax()) if other.any() else len(heads)


def _joined(runs: list[Events], dtype: np.dtype[np.void]) -> Events:
    if not runs:
        return np.empty(0, dtype)
    return runs[0] if len(runs) == 1 else np.concatenate(runs)

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
_ALIGNMENT = 8  # of records and their sizes: perf_prepare_sample of kernel/events/core.c
_TYPE, _SIZE_SHIFT = np.uint64(0xFFFFFFFF), np.uint64(48)  # where in a header
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
    starts, end = _starts(raw)
    heads = raw[:end].view(np.uint64)[starts]
    kinds, sizes = heads & _TYPE, (heads >> _SIZE_SHIFT).astype(np.int64)
    is_sample = (kinds == SAMPLE) & (sizes >= _SAMPLE.size + dtype.itemsize)
    is_lost = (kinds == LOST) & (sizes >= _LOST.size)
    corrupt = len(raw) - end + int(sizes[~is_sample & ~is_lost].sum())
    lost = sum(_LOST.unpack_from(raw.data, at)[4] for at in (_ALIGNMENT * starts[is_lost]).tolist())

    starts, sizes = starts[is_sample], sizes[is_sample]
    events = _structs(raw, starts, dtype)
    captured, headers = events["captured"].astype(np.int64), events["payload"].astype(np.int64)
    whole = (_SAMPLE.size + dtype.itemsize + captured <= sizes) & (headers <= captured)
    if not whole.all():
        corrupt += int(sizes[~whole].sum())
        starts, captured, headers, events = starts[whole], captured[whole], headers[whole], select(events, whole)
    packets = _ALIGNMENT * starts + _SAMPLE.size + dtype.itemsize
    memory = raw.data
    places = zip((packets + headers).tolist(), (packets + captured).tolist(), strict=True)
    return Drained(events, [memory[begin:end].tobytes() for begin, end in places], lost, corrupt)


def _starts(raw: Bytes) -> tuple[npt.NDArray[np.int64], int]:
    """Where records begin, in words of 8 bytes; and where, in bytes, the last one ends that can be told from the next.

    Only this looks at one record after the other: where one begins, none but the one before it says.
    """
    words = len(raw) // _ALIGNMENT
    sizes = raw[: words * _ALIGNMENT].view(np.uint16).data
    starts: list[int] = []
    at = 0
    while at < words:
        size = sizes[4 * at + 3]
        behind = at + (size >> 3)
        if size < _HEADER.size or size % _ALIGNMENT or behind > words:
            break
        starts.append(at)
        at = behind
    return np.array(starts, np.int64), at * _ALIGNMENT


def _structs(raw: Bytes, starts: npt.NDArray[np.int64], dtype: np.dtype[np.void]) -> Events:
    """Copies of the structs of samples that begin there, one behind the other."""
    if not len(starts):
        return np.empty(0, dtype)
    opaque = np.dtype((np.void, dtype.itemsize))  # as in `select`
    count = (len(raw) - _SAMPLE.size - dtype.itemsize) // _ALIGNMENT + 1
    events: Events = np.ndarray((count,), opaque, raw.data, _SAMPLE.size, (_ALIGNMENT,))[starts].view(dtype)
    return events


def select(events: Events, rows: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> Events:
    """Copies of the events that `rows` (one a row, or their numbers) says, one behind the other.

    As opaque bytes: numpy copies structs four times slower, field by field.
    """
    opaque = np.dtype((np.void, events.dtype.itemsize))
    chosen: Events = events.view(opaque)[rows].view(events.dtype)
    return chosen


def _head(raw: Bytes, at: int) -> tuple[int, int]:
    """Type and size of the record at `at`; a size of 0 where that is none."""
    if at + _HEADER.size > len(raw):
        return 0, 0
    kind, _misc, size = _HEADER.unpack_from(raw.data, at)
    return kind, 0 if size % _ALIGNMENT else size


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

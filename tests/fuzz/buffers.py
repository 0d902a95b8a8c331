"""What the kernel hands over, before it is decoded: perf buffers, their records, and the layouts in an object's BTF."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import numpy as np
from packets import layout, section
from perf import SIZE, Memory, lost, sample

from fuzz.target import Chosen, Target, piece
from ingrain.kernel.btf import Btf, LayoutError
from ingrain.kernel.program import OBJECTS
from ingrain.kernel.records import LOST, SAMPLE, fixed, with_packets
from ingrain.kernel.ring import Ring

_HEADER, _SAMPLE, _LOST = 8, 12, 24  # bytes: of a record's header, of a sample's, of a whole lost-record
_STRUCTS = ("flow", "packet", "task", "access", "output", "ancestor", "counts", "volume")


def records(data: bytes) -> bool:
    """Events come out whole and in order, and every byte that is none of theirs is counted: as if read one by one."""
    flow, packet = layout("network", "flow"), layout("dns", "packet")
    drained = fixed(np.frombuffer(data, np.uint8), flow)
    events, corrupt = [], 0
    for kind, record in _one_by_one(data):
        if kind == SAMPLE and len(record) >= _SAMPLE + flow.itemsize:
            events.append(record[_SAMPLE : _SAMPLE + flow.itemsize])
        elif kind != LOST or len(record) < _LOST:
            corrupt += len(record)
    assert drained.events.tobytes() == b"".join(events)
    assert drained.corrupt == corrupt
    assert drained.lost == _lost(data)
    understood = bool(events)

    drained = with_packets(np.frombuffer(data, np.uint8), packet)
    captured_at = dict(packet.fields or {})["captured"][1]
    events, payloads, corrupt = [], [], 0
    for kind, record in _one_by_one(data):
        behind = record[_SAMPLE + packet.itemsize :]
        if kind == SAMPLE and len(record) >= _SAMPLE + packet.itemsize:
            captured, begin = struct.unpack_from("<II", record, _SAMPLE + captured_at)
            if begin <= captured <= len(behind):
                events.append(record[_SAMPLE : _SAMPLE + packet.itemsize])
                payloads.append(behind[begin:captured])
            else:
                corrupt += len(record)
        elif kind != LOST or len(record) < _LOST:
            corrupt += len(record)
    assert drained.events.tobytes() == b"".join(events)
    assert drained.payloads == payloads
    assert drained.corrupt == corrupt
    assert drained.lost == _lost(data)
    return understood or bool(events)


def _one_by_one(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each record; what cannot be told apart any more has type -1."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 6 : at + _HEADER], "little")
        if at + _HEADER > len(data) or size < _HEADER or size % 8 or at + size > len(data):
            yield -1, data[at:]
            return
        yield int.from_bytes(data[at : at + 4], "little"), data[at : at + size]
        at += size


def _lost(data: bytes) -> int:
    return sum(
        int.from_bytes(record[16:_LOST], "little")
        for kind, record in _one_by_one(data)
        if kind == LOST and len(record) >= _LOST
    )


def ring(data: bytes) -> bool:
    """All bytes come out of a buffer, in order, however they lie in it; and what came after the look waits."""
    chosen = Chosen(data)
    memory = Memory()
    ring = Ring(memory.address)
    written = read = 0
    into = np.zeros(SIZE, np.uint8)
    expected = b""
    while chosen.left:
        more = chosen.piece()[: SIZE - (written - read)]
        memory.write(more)
        written, expected = written + len(more), expected + more
        assert ring.waiting() == len(expected)
        late = chosen.piece()[: SIZE - (written - read)]
        memory.write(late)
        written += len(late)
        ring.move_out(into)
        assert into[: len(expected)].tobytes() == expected
        read += len(expected)
        assert memory.tail == read
        expected = late
    return read > 0


def btf(data: bytes) -> bool:
    """Types of any bytes: layouts, or LayoutError."""
    try:
        types = Btf(data)
        sections = types.variables(".rodata")
    except LayoutError:
        return False
    assert all(isinstance(name, str) for name in sections)
    understood = False
    for name in _STRUCTS:
        try:
            found = types.dtype(name)
        except LayoutError:
            continue
        assert found.fields is not None
        understood = True
    return understood


def _buffers() -> Iterable[bytes]:
    flow, packet = layout("network", "flow"), np.zeros((), layout("dns", "packet"))
    packet["captured"], packet["payload"] = 32, 28
    small = sample(bytes(flow.itemsize))
    carried = sample(packet.tobytes() + bytes(range(32)))
    yield small * 4
    yield small + lost(3) + small + sample(bytes(flow.itemsize + 8)) * 2
    yield carried * 3 + lost(1)
    yield carried + small + b"\0" * 8


def _rings() -> Iterable[bytes]:
    yield b"".join(piece(b"%03d" % number * 8) for number in range(12))
    yield piece(bytes(range(256)) * 15) * 4


def _types() -> Iterable[bytes]:
    for name in ("dns", "process"):
        yield section((OBJECTS / f"{name}.bpf.o").read_bytes(), b".BTF")
    strings = b"\0int\0char\0flow\0time\0name\0.rodata\0"
    types = struct.pack("<4I", 1, 1 << 24, 4, 32) + struct.pack("<4I", 5, 1 << 24, 1, 8)
    types += struct.pack("<6I", 0, 3 << 24, 0, 2, 1, 16)  # char[16]
    types += struct.pack("<9I", 10, 4 << 24 | 2, 20, 15, 1, 0, 20, 3, 32)  # struct flow
    types += struct.pack("<4I", 15, 14 << 24, 1, 1) + struct.pack("<6I", 25, 15 << 24 | 1, 4, 5, 0, 4)
    yield struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


TARGETS = (
    Target("records", records, _buffers, 50),
    Target("ring", ring, _rings, 3, longest=16384),
    Target("btf", btf, _types, 3, longest=12288),
)

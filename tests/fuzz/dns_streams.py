"""DNS over TCP whose segments are lost, late, doubled, out of order: what is told was sent, and nothing twice."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator

from dns_messages import answer, query, stream

from fuzz.target import Chosen, Target, piece
from ingrain.wire.dns_name import HEADER_SIZE
from ingrain.wire.dns_stream import DnsStreams
from ingrain.wire.stream import STREAM_BYTES

_FOREVER = 1 << 63
_OTHER, _LATE, _IDLE = 1, 2, 4  # bits: of the other stream; behind a gap's patience; behind that of an idle stream
_LATE_NS, _IDLE_NS = 600_000_000, 40_000_000_000


def dns_streams(data: bytes) -> bool:
    """Messages are runs of what was sent, one behind the other; nothing is held when all is over."""
    chosen = Chosen(data)
    streams: DnsStreams[tuple[int, int]] = DnsStreams()
    sent: dict[int, list[bytes]] = defaultdict(list)
    told: dict[int, list[bytes]] = defaultdict(list)
    ends: dict[int, int] = defaultdict(int)
    time = 0

    def check(messages: list[tuple[bytes, tuple[int, int]]]) -> None:
        for message, (key, number) in messages:
            assert len(message) >= HEADER_SIZE
            assert number < len(sent[key])
            told[key].append(message)
        assert min(streams.malformed, streams.cut, streams.unfinished) >= 0
        assert streams.held <= STREAM_BYTES * len(streams)

    while chosen.left:
        how = chosen.number()
        time += _IDLE_NS if how & _IDLE else _LATE_NS if how & _LATE else 1
        key, offset, payload = how & _OTHER, chosen.number(2), chosen.piece()
        sent[key].append(payload)
        ends[key] = max(ends[key], offset + len(payload))
        check(streams.add(key, offset, payload, time, (key, len(sent[key]) - 1)))
    check(streams.due(_FOREVER))
    streams.expire(_FOREVER)
    assert len(streams) == streams.held == 0
    for key, messages in told.items():
        assert sum(2 + len(message) for message in messages) <= ends[key]
    return any(told.values())


def _segments() -> Iterable[bytes]:
    messages = [stream(query(f"{number}.test", number=number)) for number in range(4)]
    messages.append(stream(answer("a.test", "A", "192.0.2.1", "192.0.2.2")))

    def placed() -> Iterator[tuple[int, bytes]]:
        at = 0
        for message in messages:
            yield at, message
            at += len(message)

    whole = [(struct.pack("<H", at) + piece(message)) for at, message in placed()]
    yield b"".join(b"\0" + one for one in whole)
    yield b"".join(bytes([_LATE]) + one for one in whole[:1] + whole[2:])  # one is lost
    yield b"".join(bytes([_IDLE]) + one for one in whole)
    yield b"".join(bytes([number & _OTHER]) + one for number, one in enumerate(reversed(whole)))
    yield b"\0" + struct.pack("<H", 0) + piece(messages[0] + b"\0\1") + bytes([_LATE]) + whole[3]


TARGETS = (Target("dns_streams", dns_streams, _segments, 60, longest=1024),)

"""Captures built by hand: packets of chosen ends, sequence numbers and times, in a pcap file of nanoseconds."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

FIN, SYN, ACK = 1, 2, 16
ETHERNET = 1
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND + 123_456_789
BEGIN = (1 << 32) - 20
"""Sequence number at which streams begin: soon before the numbers begin anew."""

Frame = tuple[int, bytes]
"""Nanoseconds since 1970, and an Ethernet frame."""

End = tuple[bytes, int]
"""IPv4 address, and port."""

CLIENT: End = (bytes([192, 0, 2, 9]), 40000)
SERVER: End = (bytes([192, 0, 2, 44]), 443)


def ip(source: End, destination: End, proto: int, transport: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(transport), 1, 0, 64, proto, 0)
    return bytes(12) + b"\x08\x00" + head + source[0] + destination[0] + transport


def udp(source: End, destination: End, payload: bytes) -> bytes:
    head = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0)
    return ip(source, destination, 17, head + payload)


def tcp(source: End, destination: End, payload: bytes, *, seq: int, flags: int = ACK) -> bytes:
    head = struct.pack("!HHIIBBHHH", source[1], destination[1], seq % (1 << 32), 0, 5 << 4, flags, 1000, 0, 0)
    return ip(source, destination, 6, head + payload)


def pcap(frames: Iterable[Frame]) -> bytes:
    parts = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, ETHERNET)]
    for time, frame in frames:
        parts += [struct.pack("<IIII", time // SECOND, time % SECOND, len(frame), len(frame)), frame]
    return b"".join(parts)


@dataclass
class Tape:
    """Frames one after the other, a millisecond apart."""

    frames: list[Frame] = field(default_factory=list)

    def add(self, frame: bytes) -> int:
        """Its time."""
        time = START + len(self.frames) * 1_000_000
        self.frames.append((time, frame))
        return time

    def connection(
        self, payloads: Sequence[tuple[int, bytes]], client: End = CLIENT, server: End = SERVER, begin: int = BEGIN
    ) -> int:
        """A client's stream from its SYN on, its segments at these offsets; the time of the last."""
        self.add(tcp(client, server, b"", seq=begin - 1, flags=SYN))
        self.add(tcp(server, client, b"", seq=6999, flags=SYN | ACK))
        times = [self.add(tcp(client, server, payload, seq=begin + offset)) for offset, payload in payloads]
        return times[-1]


def pieces(stream: bytes, size: int) -> list[tuple[int, bytes]]:
    """The stream in segments of so many bytes."""
    return [(at, stream[at : at + size]) for at in range(0, len(stream), size)]


def query(name: str, number: int = 1) -> bytes:
    """A DNS query for an address: RFC 1035 4.1."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def answer(name: str, address: bytes, number: int = 1) -> bytes:
    """Its answer."""
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, 4) + address
    return struct.pack("!HHHHHH", number, 0x8180, 1, 1, 0, 0) + query(name)[12:] + record


def stream(*messages: bytes) -> bytes:
    """Messages as they follow each other over TCP: RFC 1035 4.2.2."""
    return b"".join(struct.pack("!H", len(message)) + message for message in messages)

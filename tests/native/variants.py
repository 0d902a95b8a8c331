"""The packets of a capture, sent again in other ways that say the same: in small segments, out of order, twice, tagged.

In: a capture file of Ethernet frames. Out: one with the same connections once for each way, each between addresses of
its own, so that every reader has to give every message once for each.
"""

from __future__ import annotations

import ipaddress
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ETHERNET, RAW_IP, COOKED = 1, 101, 113  # link types of captures
_MAGIC = 0xA1B23C4D  # of a pcap file whose times are in nanoseconds
_FILE, _PACKET = struct.Struct("<IHHiIII"), struct.Struct("<IIII")
_IPV4, _IPV6 = 0x0800, 0x86DD
_TCP, _UDP = 6, 17
_SYN, _FIN, _RST = 2, 1, 4
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891")  # begin the random bytes that tell one: RFC 8446 4.1.3
_FLIGHT = 48  # segments that change places with each other; of more than 64 that wait for one nothing is told
SECOND = 1_000_000_000
_SMALL = 80  # segments of a packet that are small; what is behind them, goes in one

Frames = Iterator[tuple[int, bytes]]
"""Times in nanoseconds, and what was captured then."""


@dataclass(frozen=True)
class Packet:
    """A TCP or UDP packet over IPv4 or IPv6: its time in nanoseconds, its EtherType, its headers, its payload."""

    time: int
    ether: int
    ip: bytes
    transport: bytes
    payload: bytes

    @property
    def is_tcp(self) -> bool:
        return len(self.transport) >= 20

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.transport[4:8])

    @property
    def flags(self) -> int:
        return self.transport[13]

    @property
    def ends(self) -> tuple[bytes, bytes]:
        at, size = (12, 4) if self.ether == _IPV4 else (8, 16)
        return (
            self.ip[at : at + size] + self.transport[:2],
            self.ip[at + size : at + 2 * size] + self.transport[2:4],
        )

    def part(self, start: int, end: int) -> Packet:
        """The segment with this part of the payload only; the connection ends behind its last part."""
        sequence = (self.sequence + start) % (1 << 32)
        flags = self.flags & ~_FIN if end < len(self.payload) else self.flags
        transport = (
            self.transport[:4] + sequence.to_bytes(4) + self.transport[8:13] + bytes([flags]) + self.transport[14:]
        )
        return replace(self, transport=transport, payload=self.payload[start:end])

    def between(self, number: int) -> Packet:
        """The packet between other addresses, which this number tells apart from those of other variants."""
        if self.ether == _IPV4:
            at = [place + 2 for place in (12, 16) if self.ip[place] < 224]
        else:
            at = [place + 13 for place in (8, 24) if self.ip[place] != 0xFF]
        ip = bytearray(self.ip)
        for place in at:
            ip[place] += number
        return replace(self, ip=bytes(ip))

    def datagram(self) -> bytes:
        """The packet from its IP header on."""
        behind = self.transport + self.payload
        if self.ether == _IPV4:
            return self.ip[:2] + (len(self.ip) + len(behind)).to_bytes(2) + self.ip[4:] + behind
        return self.ip[:4] + len(behind).to_bytes(2) + self.ip[6:] + behind


Variant = Callable[[list[Packet]], Iterator[Packet]]


def read(file: Path) -> list[Packet]:
    """The TCP and UDP packets of a capture, which editcap may have to write anew first."""
    plain = file.with_suffix(".plain.pcap")
    subprocess.run(["editcap", "-F", "nsecpcap", file, plain], check=True, capture_output=True)
    data = plain.read_bytes()
    magic, _major, _minor, _zone, _figures, _longest, link = _FILE.unpack_from(data)
    assert (magic, link) == (_MAGIC, ETHERNET)
    packets, at = [], _FILE.size
    while at < len(data):
        seconds, nanoseconds, size, whole = _PACKET.unpack_from(data, at)
        assert size == whole
        at += _PACKET.size
        packet = _packet(seconds * 10**9 + nanoseconds, data[at : at + size])
        at += size
        if packet is not None:
            packets.append(packet)
    return packets


def _packet(time: int, frame: bytes) -> Packet | None:
    ether, ip = int.from_bytes(frame[12:14]), frame[14:]
    if ether == _IPV4:
        size, proto, ip = (ip[0] & 15) * 4, ip[9], ip[: int.from_bytes(ip[2:4])]
    elif ether == _IPV6:
        size, proto, ip = 40, ip[6], ip[: 40 + int.from_bytes(ip[4:6])]
    else:
        return None
    if proto not in {_TCP, _UDP}:
        return None
    behind = size + ((ip[size + 12] >> 4) * 4 if proto == _TCP else 8)
    return Packet(time, ether, ip[:size], ip[size:behind], ip[behind:])


def write(file: Path, packets: Iterable[tuple[int, bytes]], link: int) -> Path:
    """A capture file with these packets: time, bytes."""
    with file.open("wb") as out:
        out.write(_FILE.pack(_MAGIC, 2, 4, 0, 0, 1 << 18, link))
        for time, raw in packets:
            out.write(_PACKET.pack(*divmod(time, 10**9), len(raw), len(raw)) + raw)
    return file


def cut(packet: Packet, size: int) -> Iterator[Packet]:
    """Its payload in segments of that size; but what is far behind, in large ones."""
    near = min(len(packet.payload), size * _SMALL)
    for at in range(0, near, size):
        yield packet.part(at, min(at + size, near))
    if len(packet.payload) > near:
        yield packet.part(near, len(packet.payload))


def segments(size: int) -> Variant:
    """All that TCP carries in segments of that size."""

    def variant(packets: list[Packet]) -> Iterator[Packet]:
        for packet in packets:
            yield from cut(packet, size) if packet.is_tcp and packet.payload else [packet]

    return variant


def backwards(packets: list[Packet]) -> Iterator[Packet]:
    """In segments of 100 bytes, the last of each flight first.

    But a HelloRetryRequest stays before what its server sends next: where that comes first, and the next hello's
    segments are out of order as well, nothing tells where that hello begins.
    """
    waiting: dict[frozenset[bytes], list[Packet]] = {}
    for packet in packets:
        if not packet.is_tcp:
            yield packet
            continue
        flight = waiting.setdefault(frozenset(packet.ends), [])
        answers = flight and packet.ends != flight[0].ends
        if flight and ((answers and packet.payload) or packet.flags & (_SYN | _FIN | _RST) or len(flight) > _FLIGHT):
            yield from reversed(flight)
            flight.clear()
        if packet.payload:
            flight += cut(packet, 100)
            if packet.flags & (_FIN | _RST):
                yield from flight
                flight.clear()
            elif _RETRY in packet.payload:
                yield from reversed(flight)
                flight.clear()
        elif not flight:  # else it acknowledges what is not there yet; the next one does
            yield packet
    for flight in waiting.values():
        yield from reversed(flight)


def twice(packets: list[Packet]) -> Iterator[Packet]:
    """Every segment is sent again at once, and again with the next one of its flight, as one."""
    last: dict[frozenset[bytes], Packet] = {}
    for packet in packets:
        yield packet
        if not packet.is_tcp or not packet.payload:
            continue
        yield packet
        before = last.get(frozenset(packet.ends))
        if before and before.ends == packet.ends and before.sequence + len(before.payload) == packet.sequence:
            yield replace(before, payload=before.payload + packet.payload)
        last[frozenset(packet.ends)] = packet


def as_it_is(packets: list[Packet]) -> Iterator[Packet]:
    yield from packets


def untagged(packet: Packet) -> bytes:
    """An Ethernet frame."""
    return bytes(12) + packet.ether.to_bytes(2) + packet.datagram()


def tagged(packet: Packet) -> bytes:
    """An Ethernet frame of a VLAN in a VLAN: IEEE 802.1Q, 802.1ad."""
    return bytes(12) + bytes.fromhex("88a80007 8100002a") + packet.ether.to_bytes(2) + packet.datagram()


def cooked(packet: Packet) -> bytes:
    """As Linux writes what it captures of `any` device: LINKTYPE_LINUX_SLL."""
    return bytes.fromhex("0000 0304 0006") + bytes(8) + packet.ether.to_bytes(2) + packet.datagram()


def fragmented(packet: Packet) -> list[bytes]:
    """Ethernet frames with a packet's fragments, the last one first (RFC 791 3.2, RFC 8200 4.5)."""
    whole = packet.transport + packet.payload
    pieces = [(at, whole[at : at + 64]) for at in range(0, len(whole), 64)]
    frames = []
    for at, piece in reversed(pieces):
        more = at + len(piece) < len(whole)
        if packet.ether == _IPV4:
            told = (len(packet.ip) + len(piece), packet.time & 0xFFFF, at // 8 | more << 13)  # length, id, offset
            raw = packet.ip[:2] + struct.pack("!HHH", *told) + packet.ip[8:] + piece
        else:
            extension = struct.pack("!BxHI", packet.ip[6], at | more, packet.time & 0xFFFFFFFF)
            raw = packet.ip[:4] + (8 + len(piece)).to_bytes(2) + b"\x2c" + packet.ip[7:] + extension + piece
        frames.append(bytes(12) + packet.ether.to_bytes(2) + raw)
    return frames


Way = Callable[[list[Packet]], Frames]


def sent(variant: Variant, frame: Callable[[Packet], bytes] = untagged) -> Way:
    def way(packets: list[Packet]) -> Frames:
        return ((packet.time, frame(packet)) for packet in variant(packets))

    return way


def in_fragments(packets: list[Packet]) -> Frames:
    for packet in packets:
        frames = [untagged(packet)] if packet.is_tcp else fragmented(packet)
        yield from ((packet.time, frame) for frame in frames)


OF_ANY: dict[str, Way] = {
    "as it is": sent(as_it_is), "tagged": sent(as_it_is, tagged), "in fragments": in_fragments,
}  # fmt: skip
TINY = ("in segments of 1 byte", "in segments of 7 bytes")
OF_TCP: dict[str, Way] = {
    TINY[0]: sent(segments(1)), TINY[1]: sent(segments(7)), "in segments of 100 bytes": sent(segments(100)),
    "backwards": sent(backwards), "twice": sent(twice),
}  # fmt: skip
WAYS = {**OF_ANY, **OF_TCP}


def all_ways(packets: list[Packet]) -> tuple[int, Frames]:
    """How many ways there are to send these packets, and the frames of all of them, one way after the other."""
    ways = WAYS if any(packet.is_tcp for packet in packets) else OF_ANY
    lasted = packets[-1].time - packets[0].time + SECOND

    def frames() -> Frames:
        for number, way in enumerate(ways.values()):
            yield from way([replace(one.between(number), time=one.time + number * lasted) for one in packets])

    return len(ways), frames()


def way_of(address: str) -> str:
    """The way whose packets are between this address, which was that of a loopback, and itself."""
    packed = ipaddress.ip_address(address).packed
    return list(WAYS)[packed[2] if len(packed) == 4 else packed[13]]

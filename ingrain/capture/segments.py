"""Long TCP packets as the segments that went over the wire, or could have.

Captures of machines that leave the cutting to the network card (TSO, GRO, BIG TCP) have TCP packets of 64 KiB and more;
BPF_PROG_TEST_RUN takes what fits into a page, some 3,500 bytes. In: such a packet. Out: segments that fit.
"""

from __future__ import annotations

from ingrain.capture import ip

SEGMENT_MAX = 3400
"""Bytes of an IP packet: with every kernel's overhead (skb_shared_info, headroom) it stays below a page of 4 KiB."""

_HEADERS_MAX = 1024
"""Of a packet that is split: every segment repeats the headers, and 64 KiB must not become megabytes."""

_TCP_HEADER = 20
_FIN, _SYN, _RST, _PSH, _URG, _CWR = 0x01, 0x02, 0x04, 0x08, 0x20, 0x80
_FIRST_ONLY = _SYN | _URG | _CWR
_LAST_ONLY = _FIN | _RST | _PSH
_JUMBO = b"\xc2\x04"  # RFC 2675 2, the option and its length
_JUMBO_SIZE = 8


def split(packet: bytes, wire: int) -> list[bytes]:
    """The packet's segments, none longer than SEGMENT_MAX; a packet that is not TCP comes back as it is.

    wire: the packet's length on the wire. Where the capture has less, the last segment's header tells what is missing,
    as that of any packet that was cut. Each sequence number and flag is what the receiver's TCP would make of it: SYN
    (which counts as one), URG and CWR on the first, FIN, RST and PSH on the last. IPv4 identifications count up, as a
    network card has them. The checksums of TCP are left as they are.
    """
    packet, wire = _without_jumbo(packet, wire)
    tcp = _tcp(packet)
    if not tcp:
        return [packet]
    begin = tcp + (packet[tcp + 12] >> 4) * 4
    if not tcp + _TCP_HEADER <= begin <= min(_HEADERS_MAX, len(packet)):
        return [packet]
    room = SEGMENT_MAX - begin
    sequence = int.from_bytes(packet[tcp + 4 : tcp + 8], "big")
    flags = packet[tcp + 13]
    identification = packet[4] << 8 | packet[5]
    segments = []
    for number, at in enumerate(range(begin, len(packet), room)):
        last = at + room >= len(packet)
        header = bytearray(packet[:begin])
        counted = at - begin + (1 if number and flags & _SYN else 0)
        header[tcp + 4 : tcp + 8] = (sequence + counted & 0xFFFFFFFF).to_bytes(4, "big")
        header[tcp + 13] = flags & ~(_FIRST_ONLY if number else 0) & ~(0 if last else _LAST_ONLY)
        if ip.is_ipv4(packet):
            header[4:6] = (identification + number & 0xFFFF).to_bytes(2, "big")
        ip.set_length(header, begin + (wire - at if last else room))
        segments.append(bytes(header) + packet[at : at + room])
    return segments


def _tcp(packet: bytes) -> int:
    """Where the TCP header is; 0 where there is none in full."""
    if ip.is_ipv4(packet):
        kind, at = packet[9], ip.header_size(packet)
    else:
        kind, at, _number_at = ip.behind_extensions(packet)
    return at if kind == ip.TCP and at + _TCP_HEADER <= len(packet) else 0


def _without_jumbo(packet: bytes, wire: int) -> tuple[bytes, int]:
    """The packet without the header that Linux puts in while it is longer than the length field tells (BIG TCP)."""
    at = ip.IPV6_HEADER
    if ip.is_ipv4(packet) or packet[6] != ip.HOP_BY_HOP or packet[at + 1 : at + 4] != b"\0" + _JUMBO:
        return packet, wire
    return packet[:6] + packet[at : at + 1] + packet[7:at] + packet[at + _JUMBO_SIZE :], wire - _JUMBO_SIZE

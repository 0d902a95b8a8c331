"""The IP packet within a frame, without what stands behind it, and the lengths in its header (RFC 791, RFC 8200)."""

from __future__ import annotations

LENGTH_MAX = 65_535
"""What the length fields of IPv4 and IPv6 hold."""

IPV4_HEADER, IPV6_HEADER = 20, 40
TCP = 6
HOP_BY_HOP, ROUTING, FRAGMENT, OPTIONS, NO_NEXT = 0, 43, 44, 60, 59
EXTENSIONS = frozenset({HOP_BY_HOP, ROUTING, OPTIONS})
"""Headers of IPv6 that may stand before the transport's, and tell their own length (RFC 8200 4)."""

_IPV6_FROM = 0x60


def is_ipv4(packet: bytes | bytearray) -> bool:
    """Whether the packet, which is one of IPv4 or IPv6, is of IPv4."""
    return packet[0] < _IPV6_FROM


def packet_in(frame: bytes, at: int, sent: int) -> tuple[bytes, int] | None:
    """The packet at `at`, as far as it was captured, and its length on the wire; None where there is no IP header.

    Ethernet's padding and checksum are left away. A length of 0 is what a sender's capture shows of packets that the
    network card will cut to size (TSO): there the frame's length (`sent`) counts, and is written into the header where
    the field holds it.
    """
    size = len(frame) - at
    first = frame[at] if size > 0 else 0
    if first >> 4 == 4 and size >= IPV4_HEADER:  # noqa: PLR2004 - the version
        header = (first & 15) * 4
        length = frame[at + 2] << 8 | frame[at + 3]
        if not IPV4_HEADER <= header <= size or 0 < length < header:
            return None
        if length:
            return frame[at : at + length], length
    elif first >> 4 == 6 and size >= IPV6_HEADER:  # noqa: PLR2004 - the version
        length = frame[at + 4] << 8 | frame[at + 5]
        if length or frame[at + 6] == NO_NEXT:
            length += IPV6_HEADER
            return frame[at : at + length], length
    else:
        return None
    return _with_length(frame[at:], max(size, sent - at))


def _with_length(packet: bytes, wire: int) -> tuple[bytes, int]:
    length = wire if is_ipv4(packet) else wire - IPV6_HEADER
    if length > LENGTH_MAX:  # BIG TCP of Linux, or a jumbogram: for `segments` to split
        return packet, wire
    header = bytearray(packet[: header_size(packet)])
    set_length(header, wire)
    return bytes(header) + packet[len(header) :], wire


def header_size(packet: bytes | bytearray) -> int:
    """Bytes of the IP header, without IPv6's extensions."""
    return (packet[0] & 15) * 4 if is_ipv4(packet) else IPV6_HEADER


def set_length(header: bytearray, length: int) -> None:
    """Write a packet's length (header included) into its IP header, and with IPv4 the header's checksum."""
    if is_ipv4(header):
        header[2:4] = min(length, LENGTH_MAX).to_bytes(2, "big")
        set_checksum(header)
    else:
        header[4:6] = min(length - IPV6_HEADER, LENGTH_MAX).to_bytes(2, "big")


def set_checksum(header: bytearray) -> None:
    """Write the checksum of an IPv4 header (RFC 791 3.1); what stands behind the header is not looked at."""
    header[10:12] = bytes(2)
    total = int.from_bytes(header[: header_size(header)], "big") % 0xFFFF  # the ones' complement sum, 0xFFFF as 0
    header[10:12] = (0xFFFF - (total or 0xFFFF)).to_bytes(2, "big")


def behind_extensions(packet: bytes) -> tuple[int, int, int]:
    """Of an IPv6 packet: the first header that is none of EXTENSIONS, where it begins, and where its number stands.

    The beginning may lie behind the packet's end, where the packet was cut.
    """
    number_at, at = 6, IPV6_HEADER
    while packet[number_at] in EXTENSIONS and at + 2 <= len(packet):
        number_at, at = at, at + (packet[at + 1] + 1) * 8
    return packet[number_at], at, number_at

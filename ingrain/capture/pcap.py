"""The pcap format (draft-ietf-opsawg-pcap): a header of 24 bytes, then each packet behind a header of its own.

In: a window on the file. Out: records of time, frame, length on the wire, and interface.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ingrain.capture.errors import Unreadable
from ingrain.capture.link import READABLE, Interface, name
from ingrain.capture.source import Window

Record = tuple[int, bytes, int, Interface]
"""Nanoseconds since 1970 UTC; the frame as far as it was captured; its length on the wire; where it was captured."""

PACKET_MAX = 262_144
"""Bytes of a packet at the most: libpcap and Wireshark write no more, and take what claims more for damage."""

_MICRO, _NANO, _MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
_MAGICS = {
    magic.to_bytes(4, "little" if order == "<" else "big"): (order, magic)
    for magic in (_MICRO, _NANO, _MODIFIED)
    for order in "<>"
}
MAGICS = frozenset(_MAGICS)
_HEADER = 24
_VERSION = 2
_SECOND = 1_000_000_000


def records(window: Window) -> Iterator[Record]:
    """The packets of the file. The header is read at once, the packets as they are asked for.

    Raises Unreadable for another version, a link type that cannot be read, and where the file is cut or damaged.
    """
    window.fill(0, _HEADER)
    if len(window.data) < _HEADER:
        raise Unreadable(f"is cut short: it ends at byte {len(window.data)}, within its header", len(window.data))
    order, magic = _MAGICS[window.data[:4]]
    major, minor, snaplen, network = struct.unpack_from(order + "HH8xII", window.data, 4)
    if major != _VERSION:
        raise Unreadable(f"is of version {major}.{minor} of pcap, of which only 2 is known", 4)
    interface = Interface(0, network & 0xFFFF, snaplen)  # above it: the length of the frame's checksum
    if interface.strip is None:
        raise Unreadable(f"has packets of link type {name(interface.link)}; what can be read is {READABLE}", 20)
    # Modified pcap (Kuznetzov's patch): the interface's number, the protocol and the packet's type stand behind
    header = struct.Struct(order + ("IIII8x" if magic == _MODIFIED else "IIII"))
    return _records(window, header, 1 if magic == _NANO else 1000, interface)


def _records(window: Window, header: struct.Struct, unit: int, interface: Interface) -> Iterator[Record]:
    unpack, header_size = header.unpack_from, header.size
    data, at, size = window.data, _HEADER, len(window.data)
    while True:
        begin = at + header_size
        if begin > size:
            window.fill(at, header_size)
            data, at, begin, size = window.data, 0, header_size, len(window.data)
            if size < header_size:
                if size:
                    raise _cut(window)
                return
        seconds, fraction, captured, sent = unpack(data, at)
        end = begin + captured
        if end > size:
            if captured > PACKET_MAX:
                raise _too_long(window.start + at, captured)
            window.fill(at, header_size + captured)
            data, begin, end, size = window.data, header_size, header_size + captured, len(window.data)
            if end > size:
                raise _cut(window)
        yield seconds * _SECOND + fraction * unit, data[begin:end], sent, interface
        at = end


def _cut(window: Window) -> Unreadable:
    end = window.start + len(window.data)
    return Unreadable(f"is cut short: it ends at byte {end}, within a packet that begins at {window.start}", end)


def _too_long(offset: int, captured: int) -> Unreadable:
    return Unreadable(
        f"is damaged at byte {offset}: a packet is said to have {captured} bytes, and none has more than {PACKET_MAX}",
        offset,
    )

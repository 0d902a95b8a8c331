"""The packets of a pcapng file (draft-ietf-opsawg-pcapng 4): sections, their interfaces, and what was captured there.

In: a window on the file. Out: records as `pcap` gives them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ingrain.capture.blocks import (
    INTERFACE,
    OLD_PACKET,
    PACKET,
    SECTION,
    SIMPLE_PACKET,
    Block,
    blocks,
    damaged,
    order_of,
)
from ingrain.capture.counts import Counts
from ingrain.capture.errors import Unreadable
from ingrain.capture.link import Interface
from ingrain.capture.pcap import PACKET_MAX, Record
from ingrain.capture.source import Window

INTERFACES_MAX = 1 << 16
"""Of a section: what describes more is no capture, but would fill the memory."""

_VERSION = 1
_END, _TSRESOL, _TSOFFSET = 0, 9, 14  # options of an interface, and the bytes of their values
_SIZES = {_TSRESOL: 1, _TSOFFSET: 8}
_POWER_OF_TWO = 0x80
_SECOND = 1_000_000_000
_NANO = 9  # digits
_TIME_MAX = (1 << 63) - 1
_PACKET_HEADER, _SIMPLE_HEADER = 20, 4


def records(window: Window, counts: Counts) -> Iterator[Record]:
    """The packets of the file. The first block is read at once, the packets as they are asked for.

    Packets without a time have that of the packet before them in the file, and those whose time 63 bits of nanoseconds
    since 1970 cannot tell are counted here and left out. Raises Unreadable for another version, and where the file is
    cut or damaged.
    """
    found = blocks(window)
    _kind, body, offset = next(found)
    section = _Section(body, offset)
    return _records(found, section, counts)


def _records(found: Iterator[Block], section: _Section, counts: Counts) -> Iterator[Record]:
    before = 0
    for kind, body, offset in found:
        if kind == SECTION:
            section = _Section(body, offset)
        elif kind == INTERFACE:
            section.describe(body, offset)
        else:
            time, frame, sent, interface = section.record(kind, body, offset)
            if kind == SIMPLE_PACKET:
                counts.untimed += 1
                time = before
            elif not 0 <= time <= _TIME_MAX:
                counts.read += 1
                counts.malformed += 1
                continue
            before = time
            yield time, frame, sent, interface


class _Section:
    """A section's byte order, and its interfaces."""

    def __init__(self, body: bytes, offset: int) -> None:
        order = order_of(body[:4], offset)
        self._interfaces: list[Interface] = []
        self._order = order
        self._packet = struct.Struct(order + "IIIII").unpack_from
        self._old_packet = struct.Struct(order + "HHIIII").unpack_from
        major, minor = struct.unpack_from(order + "HH", body, 4)
        if major != _VERSION:
            raise Unreadable(f"is of version {major}.{minor} of pcapng, of which only 1 is known", offset)

    def describe(self, body: bytes, offset: int) -> None:
        """Take in the description of an interface."""
        if len(self._interfaces) == INTERFACES_MAX:
            raise damaged(offset, f"more than {INTERFACES_MAX} interfaces are described")
        link, snaplen = struct.unpack_from(self._order + "HxxI", body)
        interface = Interface(len(self._interfaces), link, snaplen)
        at = 8
        while at + 4 <= len(body):
            code, size = struct.unpack_from(self._order + "HH", body, at)
            if code == _END:
                break
            value = body[at + 4 : at + 4 + size]
            if len(value) < size or size != _SIZES.get(code, size):
                raise damaged(offset, f"option {code} of an interface is said to have {size} bytes")
            if code == _TSRESOL:
                interface.unit, interface.divisor = _resolution(value[0])
            elif code == _TSOFFSET:
                interface.offset = struct.unpack(self._order + "q", value)[0] * _SECOND
            at += 4 + (size + 3 & ~3)
        self._interfaces.append(interface)

    def record(self, kind: int, body: bytes, offset: int) -> Record:
        """The packet of a block; the time of a simple one is of no meaning."""
        begin, number, high, low = _PACKET_HEADER, 0, 0, 0
        if kind == PACKET:
            number, high, low, captured, sent = self._packet(body)
        elif kind == OLD_PACKET:
            number, _drops, high, low, captured, sent = self._old_packet(body)
        else:
            begin = _SIMPLE_HEADER
            captured = sent = int.from_bytes(body[:4], "little" if self._order == "<" else "big")
        if number >= len(self._interfaces):
            raise damaged(offset, f"a packet is of interface {number}, which is not described before it")
        interface = self._interfaces[number]
        if kind == SIMPLE_PACKET and interface.snaplen:
            captured = min(sent, interface.snaplen)
        if captured > len(body) - begin or captured > PACKET_MAX:
            raise damaged(offset, f"a packet of {captured} bytes is said to be in a block of {len(body) + 12}")
        time = (high << 32 | low) * interface.unit // interface.divisor + interface.offset
        return time, body[begin : begin + captured], sent, interface


def _resolution(value: int) -> tuple[int, int]:
    """Of if_tsresol: the factor and the divisor that make nanoseconds of its ticks."""
    if value & _POWER_OF_TWO:
        return _SECOND, 1 << (value & ~_POWER_OF_TWO)
    return 10 ** max(_NANO - value, 0), 10 ** max(value - _NANO, 0)

"""The framing of pcapng (draft-ietf-opsawg-pcapng 3.1): blocks, each with its type, its length, and its length again.

In: a window on the file. Out: the bodies of the blocks that are wanted. The others are passed over, whatever their
length, without being read into memory as a whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ingrain.capture.errors import Unreadable
from ingrain.capture.source import Window

SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, PACKET = 0x0A0D0D0A, 1, 2, 3, 6
MAGIC = SECTION.to_bytes(4, "big")
"""With which a file begins: the type of the section header, the same in both byte orders."""

BLOCK_MAX = 1 << 24
"""Bytes of a block that is read as a whole; libpcap has the same bound."""

_BODIES = {SECTION: 16, INTERFACE: 8, OLD_PACKET: 20, SIMPLE_PACKET: 4, PACKET: 20}  # bytes at the least
_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_HEADS = {order: struct.Struct(order + "II").unpack_from for order in "<>"}
_FRAME, _HEAD, _TAIL = 12, 8, 4


Block = tuple[int, bytes, int]
"""A block of a wanted type: the type, the body, and where in the file it is."""


def blocks(window: Window) -> Iterator[Block]:
    """The section headers, interface descriptions and packets of the file, in its order.

    Raises Unreadable where the file is cut, and where a length or the byte order's mark contradicts the format.
    """
    unpack = _HEADS["<"]
    data, at, size = window.data, 0, len(window.data)
    while True:
        if at + _FRAME > size:
            if not _read_head(window, at):
                return
            data, at, size = window.data, 0, len(window.data)
        kind, length = unpack(data, at)
        if kind == SECTION:
            unpack = _HEADS[order_of(data[at + _HEAD : at + _FRAME], window.start + at)]
            kind, length = unpack(data, at)
        wanted = kind in _BODIES
        if length < _BODIES.get(kind, 0) + _FRAME or length & 3 or (wanted and length > BLOCK_MAX):
            raise damaged(window.start + at, f"a block of type {kind} is said to have {length} bytes")
        if at + length > size:
            (_read_whole if wanted else _pass_over)(window, at, length)
            data, at, size = window.data, 0, len(window.data)
            if not wanted:
                continue
        end = at + length
        if data[end - _TAIL : end] != data[at + 4 : at + _HEAD]:
            raise _two_lengths(window.start + at)
        if wanted:
            yield kind, data[at + _HEAD : end - _TAIL], window.start + at
        at = end


def order_of(mark: bytes, offset: int) -> str:
    """Of the mark at the beginning of a section header's body: its order, as in struct."""
    if mark not in _ORDERS:
        raise damaged(offset, f"a section has no byte order's mark, but {mark.hex(' ')}")
    return _ORDERS[mark]


def _read_head(window: Window, at: int) -> bool:
    """Whether there is another block; the window then begins with it."""
    window.fill(at, _FRAME)
    if 0 < len(window.data) < _FRAME:
        raise _cut(window, window.start)
    return bool(window.data)


def _read_whole(window: Window, at: int, length: int) -> None:
    window.fill(at, length)
    if len(window.data) < length:
        raise _cut(window, window.start)


def _pass_over(window: Window, at: int, length: int) -> None:
    """Move behind a block that may be longer than memory should be."""
    begin = window.start + at
    told = window.data[at + 4 : at + _HEAD]
    window.skip(at, length - _TAIL)
    window.fill(0, _TAIL)
    if len(window.data) < _TAIL:
        raise _cut(window, begin)
    if window.data[:_TAIL] != told:
        raise _two_lengths(begin)
    window.fill(_TAIL, 0)


def damaged(offset: int, what: str) -> Unreadable:
    """The error of a file that contradicts its format."""
    return Unreadable(f"is damaged at byte {offset}: {what}", offset)


def _two_lengths(offset: int) -> Unreadable:
    return damaged(offset, "a block has one length at its beginning and another at its end")


def _cut(window: Window, begin: int) -> Unreadable:
    end = window.start + len(window.data)
    return Unreadable(f"is cut short: it ends at byte {end}, within a block that begins at {begin}", end)

"""Capture files and packets built by hand, each number in view, and what a reader must make of them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from ingrain.capture import Capture, CaptureError, Counts

MICRO, NANO, MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
ETHERNET, RAW = 1, 101
SECOND = 1_000_000_000
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))


def ipv4(
    payload: bytes, *, proto: int = 17, number: int = 1, field: int = 0, length: int | None = None, options: bytes = b""
) -> bytes:
    """field: flags and fragment offset. length: the total length that the header tells, if not the true one."""
    size = 20 + len(options)
    total = size + len(payload) if length is None else length
    ends = socket.inet_aton("10.0.0.1") + socket.inet_aton("10.0.0.2")
    head = struct.pack("!BBHHHBBH", 0x40 + size // 4, 0, total, number, field, 64, proto, 0)
    return head + ends + options + payload


def ipv6(payload: bytes, *, proto: int = 17, length: int | None = None) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    return struct.pack("!IHBB", 6 << 28, len(payload) if length is None else length, proto, 64) + ends + payload


def udp(payload: bytes) -> bytes:
    return struct.pack("!HHHH", 4000, 53, 8 + len(payload), 0) + payload


def tcp(payload: bytes, *, seq: int = 1, flags: int = ACK, options: bytes = b"") -> bytes:
    offset = (20 + len(options)) // 4 << 4
    return struct.pack("!HHIIBBHHH", 4000, 443, seq, 0, offset, flags, 1000, 0, 0) + options + payload


def ethernet(packet: bytes) -> bytes:
    kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
    return bytes(12) + kind + packet


Timed = tuple[int, bytes]
"""Nanoseconds, and a frame."""


def pcap(
    frames: Iterable[Timed | tuple[int, bytes, int]], *, order: str = "<", magic: int = MICRO, link: int = ETHERNET
) -> bytes:
    """A file of frames, which may have their length on the wire behind them."""
    file = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262_144, link)
    for time, frame, *sent in frames:
        fraction = time % SECOND if magic == NANO else time % SECOND // 1000
        file += struct.pack(order + "IIII", time // SECOND, fraction, len(frame), sent[0] if sent else len(frame))
        file += struct.pack(order + "IHBB", 7, 0x800, 4, 0) if magic == MODIFIED else b""
        file += frame
    return file


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<", *, major: int = 1) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, major, 0, -1))


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(order: str = "<", link: int = ETHERNET, *, snaplen: int = 0, options: bytes = b"") -> bytes:
    return block(order, 1, struct.pack(order + "HHI", link, 0, snaplen) + options)


def enhanced(ticks: int, frame: bytes, *, order: str = "<", number: int = 0, sent: int | None = None) -> bytes:
    """A packet block; ticks: its time in its interface's unit."""
    sizes = len(frame), len(frame) if sent is None else sent
    return block(order, 6, struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, *sizes) + frame)


def simple(frame: bytes, *, order: str = "<", sent: int | None = None) -> bytes:
    return block(order, 3, struct.pack(order + "I", len(frame) if sent is None else sent) + frame)


def obsolete(ticks: int, frame: bytes, *, order: str = "<", number: int = 0) -> bytes:
    head = struct.pack(order + "HHIIII", number, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(order, 2, head + frame)


def read(file: bytes, folder: Path) -> tuple[list[Timed], Counts, CaptureError | None]:
    """What is delivered of a file with these bytes; its counts, which must add up; and how it ended."""
    path = folder / "capture"
    path.write_bytes(file)
    return read_path(path)


def read_path(path: Path) -> tuple[list[Timed], Counts, CaptureError | None]:
    """The same of a file that is there."""
    found: list[Timed] = []
    error = None
    with Capture(str(path)) as capture:
        try:
            found.extend(capture)
        except CaptureError as raised:
            error = raised
    check(capture.counts)
    assert capture.counts.delivered == len(found)
    return found, capture.counts, error


def check(counts: Counts) -> None:
    """The account adds up."""
    left_out = counts.not_ip + counts.malformed + counts.unknown_links.total()
    assert counts.read == counts.whole + counts.fragments + left_out
    assert counts.fragments == counts.joined + counts.lost_fragments.total()
    assert counts.delivered == counts.whole + counts.reassembled - counts.split + counts.segments

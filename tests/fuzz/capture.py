"""Captures: files of any bytes, and frames of any bytes in files that are right."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from functools import cache

from captures import (
    ETHERNET,
    MODIFIED,
    NANO,
    RAW,
    SYN,
    check,
    enhanced,
    ethernet,
    interface,
    ipv4,
    ipv6,
    obsolete,
    option,
    pcap,
    section,
    simple,
    tcp,
    udp,
)

from fuzz.promises import check_text
from fuzz.target import Chosen, Target, piece
from ingrain.capture import Capture, CaptureError
from ingrain.capture.link import STRIP
from ingrain.capture.segments import SEGMENT_MAX

_LINKS = (*STRIP, 127)
_FRAMES = 64
_FOREVER = 1 << 63


class _File:
    """A file in memory, the same one for all runs of a process."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("capture")
        self.path = f"/proc/self/fd/{self._descriptor}"

    def hold(self, data: bytes) -> None:
        """These bytes, and no others."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)


@cache
def _file() -> _File:
    return _File()


def capture(data: bytes) -> bool:
    """A file is read as far as it is right; nothing but CaptureError, and the account adds up."""
    return _read(data) > 0


def frames(data: bytes) -> bool:
    """Whatever is in the frames, the file is read to its end, and no packet makes many of it."""
    chosen = Chosen(data)
    link = _LINKS[chosen.number() % len(_LINKS)]
    found: list[tuple[int, bytes, int]] = []
    time = 0
    while chosen.left and len(found) < _FRAMES:
        time += chosen.number() << 28
        missing = chosen.number() << 4
        frame = chosen.piece()
        found.append((time, frame, len(frame) + missing))
    file = pcap(found, link=link, magic=NANO)
    delivered = _read(file, whole=link in STRIP)
    assert delivered <= 2 * len(file) + 4096
    return delivered > 0


def _read(data: bytes, *, whole: bool = False) -> int:
    """Bytes that are delivered of a file."""
    _file().hold(data)
    delivered = packets = 0
    try:
        opened = Capture(_file().path)
    except CaptureError as error:
        check_text(str(error))
        assert not whole
        return 0
    with opened:
        try:
            for time, packet in opened:
                assert 0 <= time < _FOREVER
                assert len(packet) >= {4: 20, 6: 40}[packet[0] >> 4]
                delivered, packets = delivered + len(packet), packets + 1
        except CaptureError as error:
            check_text(str(error))
            assert not whole
    check(opened.counts)
    assert opened.counts.delivered == packets
    return delivered


def _packets() -> list[bytes]:
    data = udp(b"a datagram in three fragments, 24 bytes a piece, the last one shorter")
    parts = [
        ipv4(data[at : at + 24], field=at // 8 | (0x2000 if at + 24 < len(data) else 0), number=7)
        for at in range(0, len(data), 24)
    ]
    fragment = ipv6(b"\x11\0\0\x01\0\0\0\x09" + data[:24], proto=44)
    rest = ipv6(b"\x11\0\0\x18\0\0\0\x09" + data[24:], proto=44)
    long = ipv4(tcp(b"x" * (SEGMENT_MAX + 100), flags=SYN, options=b"\1\1\1\0"), proto=6)
    jumbo = ipv6(b"\x06\0\xc2\x04\0\1\0\0" + tcp(b"y" * 40), proto=0, length=0)
    return [ipv4(udp(b"whole")), *parts, fragment, rest, ipv4(tcp(b"short"), proto=6, options=b"\1\1\1\0"), jumbo, long]


def _files() -> Iterable[bytes]:
    packets = [(10**18 + number, packet) for number, packet in enumerate(_packets()[:-1])]
    yield pcap([(time, ethernet(packet)) for time, packet in packets])
    yield pcap(packets, link=RAW, magic=NANO, order=">")
    yield pcap(packets[:2], link=RAW, magic=MODIFIED)
    yield gzip.compress(pcap(packets, link=RAW), mtime=0)
    options = option("<", 9, b"\x09") + option("<", 14, b"\1" + bytes(7)) + option("<", 0, b"")
    blocks = [enhanced(time, packet, number=1) for time, packet in packets]
    head = section() + interface(link=ETHERNET) + interface(link=RAW, snaplen=100, options=options)
    yield head + b"".join(blocks) + obsolete(5, packets[0][1], number=1)
    yield section(">") + interface(">", RAW) + simple(packets[0][1], order=">") + head + blocks[0]


def _framed() -> Iterable[bytes]:
    def one(*frames: bytes, link: int) -> bytes:
        return bytes([_LINKS.index(link)]) + b"".join(b"\1\0" + piece(frame) for frame in frames)

    packets = _packets()
    yield one(*packets, link=RAW)
    yield one(*map(ethernet, packets[:-1]), link=ETHERNET)
    yield one(bytes(12) + b"\x81\x00\0\1\x88\x64" + bytes(6) + b"\0\x21" + packets[0], link=ETHERNET)
    yield one(bytes(12) + b"\x88\x47\0\0\1\xff" + packets[-3], link=ETHERNET)
    yield one(bytes(14) + b"\x08\0" + packets[0], link=113)
    yield one(b"\2\0\0\0" + packets[0], link=0)
    yield one(b"\xff\x03\0\x21" + packets[0], link=9)


TARGETS = (
    Target("capture", capture, _files, 20),
    Target("frames", frames, _framed, 25, longest=8192),
)

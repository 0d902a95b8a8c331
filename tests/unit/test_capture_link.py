"""The IP packet is found in every kind of frame, and in none that ends anywhere is anything read behind its end."""

from __future__ import annotations

import pytest
from captures import ipv4, ipv6, udp
from hypothesis import given
from hypothesis import strategies as st

from ingrain.capture.link import NOT_IP, STRIP

FOUR, SIX = ipv4(udp(b"four")), ipv6(udp(b"six"))
MACS = bytes(range(12))
V4, V6 = b"\x08\x00", b"\x86\xdd"
ARP = b"\x08\x06"
PPPOE = b"\x88\x64\x11\x00\x00\x01\x00\x20"

IP_FRAMES = [
    (1, MACS + V4, FOUR),
    (1, MACS + V6, SIX),
    (1, MACS + b"\x81\x00\x00\x05" + V4, FOUR),
    (1, MACS + b"\x88\xa8\x00\x05\x81\x00\x00\x06" + V6, SIX),
    (1, MACS + b"\x91\x00\x00\x05\x92\x00\x00\x05\x81\x00\x00\x06" + V6, SIX),
    (1, MACS + PPPOE + b"\x00\x21", FOUR),
    (1, MACS + b"\x81\x00\x00\x05" + PPPOE + b"\x57", SIX),
    (1, MACS + b"\x88\x47\x00\x01\x01\x40", FOUR),
    (1, MACS + b"\x88\x48\x00\x01\x00\x40\x00\x01\x01\x40", SIX),
    (1, MACS + b"\x00\x40\xaa\xaa\x03\x00\x00\x00" + V4, FOUR),
    (12, b"", FOUR),
    (14, b"", SIX),
    (101, b"", FOUR),
    (101, b"", SIX),
    (228, b"", FOUR),
    (229, b"", SIX),
    (113, b"\x00\x00\x00\x01\x00\x06" + bytes(8) + V4, FOUR),
    (113, b"\x00\x00\x00\x01\x00\x06" + bytes(8) + b"\x81\x00\x00\x05" + V6, SIX),
    (276, V6 + b"\0\0\x00\x00\x00\x02\x00\x01\x00\x06" + bytes(8), SIX),
    (276, b"\x81\x00" + b"\0\0\x00\x00\x00\x02\x00\x01\x00\x06" + bytes(8) + b"\x00\x05" + V4, FOUR),
    (0, b"\x02\0\0\0", FOUR),
    (0, b"\0\0\0\x02", FOUR),
    *((0, bytes([family, 0, 0, 0]), SIX) for family in (10, 24, 28, 30)),
    (108, b"\0\0\0\x02", FOUR),
    (108, b"\0\0\0\x18", SIX),
    (9, b"\x00\x21", FOUR),
    (9, b"\xff\x03\x00\x57", SIX),
    (51, b"\x11\x00\x00\x01\x00\x20\x00\x21", FOUR),
]

OTHER_FRAMES = [
    (1, MACS + ARP + bytes(28)),
    (1, MACS + b"\x81\x00\x00\x05" + ARP + bytes(28)),
    (1, MACS + b"\x88\x64\x11\x00\x00\x01\x00\x20\xc0\x21" + bytes(20)),  # LCP
    (1, MACS + b"\x88\x47\x00\x01\x01\x40\x00\x00\x00\x00" + MACS),  # a pseudowire: Ethernet
    (1, MACS + b"\x88\x47" + b"\x00\x01\x00\x40" * 5),  # labels without an end
    (1, MACS + b"\x00\x26\x42\x42\x03" + bytes(35)),  # spanning tree
    (1, MACS + b"\x81\x00\x00\x05" * 20),
    (113, bytes(14) + ARP + bytes(28)),
    (276, ARP + bytes(18)),
    (0, b"\x07\0\0\0" + bytes(20)),
    (9, b"\xc0\x21" + bytes(20)),
    (51, bytes(6) + b"\xc0\x21"),
]


@pytest.mark.parametrize(("link", "header", "packet"), IP_FRAMES)
def test_the_packet_begins_behind_its_header(link: int, header: bytes, packet: bytes) -> None:
    assert STRIP[link](header + packet) == len(header)


@pytest.mark.parametrize(("link", "frame"), OTHER_FRAMES)
def test_what_is_not_ip_is_not_taken_for_it(link: int, frame: bytes) -> None:
    assert STRIP[link](frame) == NOT_IP


@given(st.sampled_from(sorted(STRIP)), st.binary(max_size=80), st.sampled_from([*OTHER_FRAMES, *IP_FRAMES]))
def test_no_frame_however_short_or_wrong_is_an_error(link: int, noise: bytes, good: tuple[int, bytes]) -> None:
    for frame in (noise, good[1][: len(noise)], good[1] + noise):
        assert STRIP[link](frame) >= NOT_IP

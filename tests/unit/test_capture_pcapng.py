"""pcapng files: sections, interfaces and every kind of packet block, by the draft; cut, damaged and hostile ones."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from captures import (
    ETHERNET,
    RAW,
    block,
    enhanced,
    ethernet,
    interface,
    ipv4,
    ipv6,
    obsolete,
    option,
    read,
    section,
    simple,
    udp,
)

from ingrain.capture import Capture, CaptureError, pcapng
from ingrain.capture.source import CHUNK

ONE, TWO = ipv4(udp(b"one")), ipv6(udp(b"two"))
SECONDS = 1_700_000_000
SECOND = 1_000_000_000
TSRESOL, TSOFFSET = 9, 14


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_of_packet_block_gives_its_packet(tmp_path: Path, order: str) -> None:
    ticks = SECONDS * 1_000_000
    file = (
        section(order)
        + interface(order)
        + enhanced(ticks + 1, ethernet(ONE), order=order)
        + obsolete(ticks + 2, ethernet(TWO), order=order)
        + simple(ethernet(ONE), order=order)
    )
    found, counts, error = read(file, tmp_path)
    time = SECONDS * SECOND
    assert found == [(time + 1000, ONE), (time + 2000, TWO), (time + 2000, ONE)]
    assert counts.untimed == 1
    assert error is None


@pytest.mark.parametrize(
    ("resolution", "ticks", "nanoseconds"),
    [
        (0, SECONDS, SECONDS * SECOND),
        (3, SECONDS * 1000 + 7, SECONDS * SECOND + 7_000_000),
        (6, SECONDS * 10**6 + 7, SECONDS * SECOND + 7_000),
        (9, SECONDS * SECOND + 7, SECONDS * SECOND + 7),
        (10, SECONDS * SECOND * 10 + 79, SECONDS * SECOND + 7),
        (12, 1_700_000 * 10**12 + 7_999, 1_700_000 * SECOND + 7),
        (127, 1 << 63, 0),
        (0x80, SECONDS, SECONDS * SECOND),
        (0x80 | 32, (SECONDS << 32) + (1 << 31) + 1, SECONDS * SECOND + 500_000_000),
        (0x80 | 30, (SECONDS << 30) + (1 << 30) - 1, SECONDS * SECOND + 999_999_999),
        (0xFF, (1 << 64) - 1, 0),
    ],
)
def test_times_of_every_resolution_are_exact(tmp_path: Path, resolution: int, ticks: int, nanoseconds: int) -> None:
    told = interface(options=option("<", TSRESOL, bytes([resolution])) + option("<", 0, b""))
    found, _counts, _error = read(section() + told + enhanced(ticks, ethernet(ONE)), tmp_path)
    assert found == [(nanoseconds, ONE)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_interfaces_offset_counts_and_other_options_do_not(tmp_path: Path, order: str) -> None:
    options = (
        option(order, 2, b"eth0")
        + option(order, 9, b"\x09")
        + option(order, TSOFFSET, struct.pack(order + "q", -5))
        + option(order, 11, b"\0tcp")
        + option(order, 0, b"")
        + option(order, TSRESOL, b"\x00")  # behind the options' end
    )
    file = section(order) + interface(order, options=options) + enhanced(9 * SECOND + 1, ethernet(ONE), order=order)
    assert read(file, tmp_path)[0] == [(4 * SECOND + 1, ONE)]


def test_each_interface_has_its_own_link_type_and_resolution_and_each_section_its_own_interfaces(
    tmp_path: Path,
) -> None:
    nano = option("<", TSRESOL, b"\x09")
    file = (
        section()
        + interface(link=RAW)
        + interface(link=ETHERNET, options=nano)
        + enhanced(3, ethernet(ONE), number=1)
        + enhanced(3, TWO, number=0)
        + section(">")
        + interface(">", ETHERNET)
        + enhanced(4, ethernet(TWO), order=">")
    )
    assert read(file, tmp_path)[0] == [(3, ONE), (3000, TWO), (4000, TWO)]


def test_packets_of_unknown_link_types_are_counted_by_their_name(tmp_path: Path) -> None:
    file = section() + interface(link=127) + interface() + enhanced(1, b"wireless")
    found, counts, error = read(file + enhanced(2, ethernet(ONE), number=1), tmp_path)
    assert found == [(2000, ONE)]
    assert counts.unknown_links == {"127 (IEEE802_11_RADIOTAP)": 1}
    assert error is None
    found, counts, error = read(file, tmp_path)
    assert found == []
    assert error
    assert "has 1 packets, all of link type 127 (IEEE802_11_RADIOTAP); what can be read is Ethernet" in str(error)


def test_simple_packets_end_at_the_interfaces_snaplen(tmp_path: Path) -> None:
    frame = ethernet(ipv4(udp(bytes(200))))
    file = section() + interface(snaplen=101) + simple(frame[:101], sent=len(frame))
    found, counts, _error = read(file, tmp_path)
    assert found == [(0, frame[14:101])]
    assert counts.truncated == 1


def test_packets_with_a_time_that_nanoseconds_cannot_tell_are_counted_and_others_read(tmp_path: Path) -> None:
    seconds = interface(options=option("<", TSRESOL, b"\x00"))
    past = interface(options=option("<", TSOFFSET, struct.pack("<q", -(1 << 63))))
    file = section() + seconds + past
    file += enhanced(1 << 60, ethernet(ONE)) + enhanced(1, ethernet(ONE), number=1) + enhanced(2, ethernet(TWO))
    found, counts, error = read(file, tmp_path)
    assert found == [(2 * SECOND, TWO)]
    assert (counts.read, counts.malformed) == (3, 2)
    assert error is None


def test_blocks_of_other_kinds_are_passed_over_whatever_their_length(tmp_path: Path) -> None:
    names, custom = block("<", 4, b"names" * 9), block("<", 0x0BAD, bytes(5 * CHUNK + 4))
    file = section() + names + interface() + custom + enhanced(1, ethernet(ONE)) + custom + names
    found, _counts, error = read(file + enhanced(2, ethernet(TWO)), tmp_path)
    assert found == [(1000, ONE), (2000, TWO)]
    assert error is None


def test_a_file_without_packets_is_a_capture(tmp_path: Path) -> None:
    assert read(section(), tmp_path)[::2] == ([], None)
    assert read(section() + interface(link=127), tmp_path)[::2] == ([], None)


def test_of_a_file_cut_anywhere_all_whole_packets_are_delivered_and_the_place_is_told(tmp_path: Path) -> None:
    blocks = [
        section(), interface(), enhanced(1, ethernet(ONE)), block("<", 5, bytes(40)), enhanced(2, ethernet(TWO)),
    ]  # fmt: skip
    file = b"".join(blocks)
    ends = [sum(map(len, blocks[: number + 1])) for number in range(5)]
    for cut in range(len(blocks[0]), len(file) + 1):
        found, _counts, error = read(file[:cut], tmp_path)
        whole = (cut >= ends[2]) + (cut >= ends[4])
        assert found == [(1000, ONE), (2000, TWO)][:whole]
        if cut in ends:
            assert error is None
        else:
            begin = max(end for end in ends if end < cut)
            assert error
            assert f"it ends at byte {cut}, within a block that begins at {begin}" in str(error)
            assert (error.offset, error.packets) == (cut, whole)
    for cut in range(4, len(blocks[0])):
        with pytest.raises(CaptureError, match=f"is cut short: it ends at byte {cut}"):
            read(file[:cut], tmp_path)


def sized(kind: int, length: int, rest: bytes = bytes(64)) -> bytes:
    return struct.pack("<II", kind, length) + rest


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (sized(6, 0), "a block of type 6 is said to have 0 bytes"),
        (sized(0x0BAD, 8), "is said to have 8 bytes"),
        (sized(0x0BAD, 13), "is said to have 13 bytes"),
        (sized(6, 28), "is said to have 28 bytes"),  # shorter than what stands in it
        (sized(6, 0xFFFFFFFC), "is said to have 4294967292 bytes"),
        (sized(1, (1 << 24) + 4), "is said to have 16777220 bytes"),
        (sized(6, 32) + bytes(64), "one length at its beginning and another at its end"),
        (block("<", 0x0BAD, bytes(2 * CHUNK))[:-1] + b"\x01", "one length at its beginning and another at its end"),
        (sized(0x0A0D0D0A, 28), "no byte order's mark, but 00 00 00 00"),
        (enhanced(1, ethernet(ONE), number=1), "interface 1, which is not described before it"),
        (enhanced(1, ethernet(ONE), number=0xFFFFFFFF), "interface 4294967295"),
        (simple(ethernet(ONE), sent=9999), "a packet of 9999 bytes"),
        (block("<", 6, struct.pack("<IIIII", 0, 0, 0, 0xFFFFFFFF, 9) + bytes(9)), "a packet of 4294967295 bytes"),
        (block("<", 6, struct.pack("<IIIII", 0, 0, 0, 300_000, 300_000) + bytes(300_000)), "a packet of 300000 bytes"),
        (interface(options=option("<", TSRESOL, b"12")), "option 9 of an interface is said to have 2 bytes"),
        (interface(options=struct.pack("<HH", TSOFFSET, 8)), "option 14 of an interface is said to have 8 bytes"),
        (section(major=2), "version 2.0 of pcapng"),
    ],
)
def test_a_block_that_contradicts_the_format_ends_the_reading_after_what_came_before_it(
    tmp_path: Path, damage: bytes, told: str
) -> None:
    before = section() + interface() + enhanced(1, ethernet(ONE))
    found, _counts, error = read(before + damage + enhanced(2, ethernet(TWO)), tmp_path)
    assert found == [(1000, ONE)]
    assert error
    assert told in str(error)
    assert (error.offset, error.packets) == (len(before), 1)


def test_a_block_of_half_a_gigabyte_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.pcapng"
    with path.open("wb") as file:  # a sparse file: it takes no room on the disk
        file.write(section() + interface() + enhanced(1, ethernet(ONE)))
        begin = file.tell()
        length = 512 << 20
        file.write(struct.pack("<II", 0x0BAD, length))
        file.seek(begin + length - 4)
        file.write(struct.pack("<I", length) + enhanced(2, ethernet(TWO)))
    tracemalloc.start()
    try:
        with Capture(str(path)) as capture:
            assert list(capture) == [(1000, ONE), (2000, TWO)]
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_more_interfaces_than_a_capture_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcapng, "INTERFACES_MAX", 3)
    file = section() + interface() * 3 + enhanced(1, ethernet(ONE))
    assert read(file, tmp_path)[::2] == ([(1000, ONE)], None)
    found, _counts, error = read(file + interface(), tmp_path)
    assert found == [(1000, ONE)]
    assert error
    assert "more than 3 interfaces" in str(error)

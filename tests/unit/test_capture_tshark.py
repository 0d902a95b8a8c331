"""Captures that Wireshark's tools write are read as tshark reads them: the same packets and times, byte by byte."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from captures import (
    ACK,
    NANO,
    enhanced,
    ethernet,
    interface,
    ipv4,
    ipv6,
    obsolete,
    option,
    pcap,
    read,
    read_path,
    section,
    tcp,
    udp,
)

from ingrain.capture.segments import SEGMENT_MAX

TOOLS = ("tshark", "editcap", "mergecap", "text2pcap")
LACKING = [name for name in TOOLS if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}")

TIME = 1_700_000_000_123_456_789
ARP = bytes(12) + b"\x08\x06" + bytes(28)
PACKETS = [
    ipv4(udp(b"a query")),
    ipv6(udp(b"another")),
    ipv4(tcp(bytes(range(200)), flags=ACK), proto=6, options=b"\x01" * 4),
    ipv6(tcp(bytes(1300)), proto=6),
    ipv4(udp(bytes(2900))),
    ipv6(b"\x11\x00\x01\x04\x00\x00\x00\x00" + udp(b"behind an option"), proto=0),
    ipv4(b"", proto=99),
]
Timed = tuple[int, bytes]


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def nanoseconds(epoch: str) -> int:
    seconds, fraction = epoch.split(".")
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])


def seen(path: Path) -> Iterator[Timed]:
    """The IP packets of a capture as tshark has them: from where it finds the IP header, as long as it says."""
    options = ("-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE")
    for layers in json.loads(run("tshark", "-r", path, *options, "-T", "json", "-x")):
        found = layers["_source"]["layers"]
        version = next((name for name in ("ip", "ipv6") if name in found), None)
        if version is None:
            continue
        frame = bytes.fromhex(found["frame_raw"][0])
        at = found[f"{version}_raw"][1]
        size = int(found["ip"]["ip.len"]) if version == "ip" else int(found["ipv6"]["ipv6.plen"]) + 40
        yield nanoseconds(found["frame"]["frame.time_epoch"]), frame[at : at + size]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """Frames with padding behind some of them, an ARP among them, and times with nine digits."""
    path = tmp_path / "original.pcap"
    frames = [ethernet(packet) + bytes(max(0, 46 - len(packet))) for packet in PACKETS] + [ARP]
    path.write_bytes(pcap([(TIME + 1_000_000_007 * n, frame) for n, frame in enumerate(frames)], magic=NANO))
    return path


def same(path: Path) -> list[Timed]:
    """What is read of a file, which is what tshark reads of it."""
    found, _counts, error = read_path(path)
    assert error is None
    assert found == list(seen(path))
    return found


@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "modpcap", "pcapng"])
def test_every_format_that_editcap_writes(original: Path, tmp_path: Path, form: str) -> None:
    converted = tmp_path / "converted"
    run("editcap", "-F", form, original, converted)
    found = same(converted)
    exact = form in {"nsecpcap", "pcapng"}
    assert [packet for _time, packet in found] == PACKETS
    times = [TIME + 1_000_000_007 * number for number in range(len(PACKETS))]
    assert [time for time, _packet in found] == [time if exact else time // 1000 * 1000 for time in times]


@pytest.mark.parametrize("order", ["<", ">"])
def test_files_of_both_byte_orders_are_what_tshark_takes_them_for(tmp_path: Path, order: str) -> None:
    options = option(order, 9, b"\x8a") + option(order, 14, (1000).to_bytes(8, "little" if order == "<" else "big"))
    file = section(order) + interface(order, options=options) + interface(order)
    for number, packet in enumerate(PACKETS):
        file += enhanced((1 << 40) + 341 * number, ethernet(packet), order=order)
        file += obsolete((1 << 50) + 341 * number, ethernet(packet), order=order, number=1)
    for name, content in (
        ("blocks", file + section(">") + interface(">") + enhanced(5, ethernet(PACKETS[0]), order=">")),
        ("micro", pcap([(TIME, ethernet(packet)) for packet in PACKETS], order=order)),
        ("nano", pcap([(TIME, ethernet(packet)) for packet in PACKETS], order=order, magic=NANO)),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert same(path)


def framed(link: int, packet: bytes) -> bytes:
    six = packet[0] >> 4 == 6
    kind = b"\x86\xdd" if six else b"\x08\x00"
    return {
        1: bytes(12) + b"\x88\xa8\0\5\x81\0\0\6" + kind,
        0: bytes([24 if six else 2, 0, 0, 0]),
        9: b"\xff\x03\x00" + (b"\x57" if six else b"\x21"),
        51: b"\x11\0\0\1\0\x20\x00" + (b"\x57" if six else b"\x21"),
        101: b"",
        108: bytes([0, 0, 0, 24 if six else 2]),
        113: b"\0\0\0\1\0\6" + bytes(8) + kind,
        276: kind + b"\0\0\0\0\0\2\0\1\0\6" + bytes(8),
    }[link] + packet


@pytest.mark.parametrize("link", [0, 1, 9, 51, 101, 108, 113, 276])
def test_every_link_type_is_read_as_tshark_reads_it(tmp_path: Path, link: int) -> None:
    path = tmp_path / "capture"
    path.write_bytes(pcap([(TIME + 1000 * n, framed(link, packet)) for n, packet in enumerate(PACKETS)], link=link))
    assert [packet for _time, packet in same(path)] == PACKETS


@pytest.mark.parametrize("encapsulation", ["rawip", "rawip4", "rawip6"])
def test_link_types_that_editcap_writes(tmp_path: Path, encapsulation: str) -> None:
    version = int(encapsulation.removeprefix("rawip") or 0)
    packets = [packet for packet in PACKETS if version in (0, packet[0] >> 4)]
    raw, converted = tmp_path / "raw", tmp_path / "converted"
    raw.write_bytes(pcap([(TIME, packet) for packet in packets], link=101))
    for form in ("pcap", "pcapng"):
        run("editcap", "-T", encapsulation, "-F", form, raw, converted)
        assert [packet for _time, packet in same(converted)] == packets


def test_files_of_different_link_types_and_resolutions_merged(original: Path, tmp_path: Path) -> None:
    micro, merged = tmp_path / "micro", tmp_path / "merged"
    micro.write_bytes(
        pcap([(TIME + 999_999_999 * n, framed(113, packet)) for n, packet in enumerate(PACKETS)], link=113)
    )
    run("mergecap", "-w", merged, original, micro, original)
    assert len(same(merged)) == 3 * len(PACKETS)


def test_packets_that_editcap_cuts_are_as_long_as_it_left_them(original: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    run("editcap", "-s", "90", original, cut)
    found = same(cut)
    assert [packet for _time, packet in found] == [packet[:76] for packet in PACKETS]
    _found, counts, _error = read_path(cut)
    assert counts.truncated == sum(len(packet) > 76 for packet in PACKETS)


def test_what_text2pcap_makes_of_text(tmp_path: Path) -> None:
    text, made = tmp_path / "text", tmp_path / "made"
    text.write_text("000000 " + " ".join(f"{byte:02x}" for byte in range(64)) + "\n")
    run("text2pcap", "-6", "2001:db8::1,2001:db8::2", "-u", "1000,53", text, made)
    ((_time, packet),) = same(made)
    assert packet[-64:] == bytes(range(64))


def test_datagrams_are_put_together_as_tshark_puts_them_together(tmp_path: Path) -> None:
    chance = random.Random(3)
    frames = []
    for number in range(40):
        payload = chance.randbytes(chance.randrange(2000, 30_000))
        data = udp(payload)
        size = chance.choice([1480, 8, 576 - 24, 8000]) if len(payload) < 6000 else 1480
        parts = list(pairwise([*range(0, len(data), size), len(data)]))
        made = []
        for start, end in parts:
            more, piece = end < len(data), data[start:end]
            if number % 2:
                made.append(ipv6(struct.pack("!BBHI", 17, 0, start | more, number) + piece, proto=44))
            else:
                made.append(ipv4(piece, number=number, field=start // 8 | more << 13))
        if number % 3 == 0:
            chance.shuffle(made)
        frames += made
    path = tmp_path / "fragments"
    path.write_bytes(pcap([(TIME + n * 1000, ethernet(frame)) for n, frame in enumerate(frames)], magic=NANO))
    found, counts, error = read_path(path)
    assert error is None
    assert counts.reassembled == 40
    fields = ("-e", "frame.time_epoch", "-e", "udp.payload")
    lines = run("tshark", "-r", path, "-Y", "udp", "-T", "fields", *fields).splitlines()
    theirs = [(nanoseconds(time), bytes.fromhex(payload)) for time, payload in map(str.split, lines)]
    assert [(time, packet[28 if packet[0] >> 4 == 4 else 48 :]) for time, packet in found] == theirs
    # and with what is delivered, as a capture of whole packets, tshark finds nothing to put together, nor a wrong sum
    path.write_bytes(pcap(found, magic=NANO, link=101))
    strict = ("-o", "ip.check_checksum:TRUE", "-Y", "ip.checksum.status == 0 || ip.frag_offset > 0 || ipv6.fraghdr")
    assert run("tshark", "-r", path, *strict) == ""
    assert same(path) == found


def test_segments_of_long_packets_are_the_stream_that_tshark_follows(tmp_path: Path) -> None:
    data = random.Random(4).randbytes(100_000)
    sent = [tcp(b"", seq=99, flags=2)]
    for start, end in pairwise([0, 60_000, 60_100, 100_000]):
        sent.append(tcp(data[start:end], seq=100 + start, flags=ACK))
    frames = [(TIME + n, ethernet(ipv4(segment, proto=6))) for n, segment in enumerate(sent)]
    found, counts, _error = read(pcap(frames, magic=NANO), tmp_path)
    assert (counts.split, max(len(packet) for _time, packet in found)) == (2, SEGMENT_MAX)
    for name, content in (("before", pcap(frames, magic=NANO)), ("after", pcap(found, magic=NANO, link=101))):
        path = tmp_path / name
        path.write_bytes(content)
        told = run("tshark", "-r", path, "-q", "-z", "follow,tcp,raw,0")
        stream = "".join(line for line in told.splitlines() if all(digit in "0123456789abcdef" for digit in line))
        assert bytes.fromhex(stream) == data

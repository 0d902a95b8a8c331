"""pcap files: every form of the format gives its packets and exact times; what is none is refused, and a cut told."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from captures import MICRO, MODIFIED, NANO, RAW, Timed, ethernet, ipv4, ipv6, pcap, read, udp

from ingrain.capture import Capture, CaptureError
from ingrain.capture.source import CHUNK

TIME = 1_700_000_000_123_456_789
PACKETS = [ipv4(udp(b"one")), ipv6(udp(b"two")), ipv4(udp(bytes(3000)))]
FRAMES: list[Timed] = [(TIME + number, ethernet(packet)) for number, packet in enumerate(PACKETS)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [MICRO, NANO, MODIFIED])
def test_both_byte_orders_and_all_resolutions_give_the_same_packets(tmp_path: Path, order: str, magic: int) -> None:
    found, counts, error = read(pcap(FRAMES, order=order, magic=magic), tmp_path)
    exact = [time if magic == NANO else time // 1000 * 1000 for time, _frame in FRAMES]
    assert found == list(zip(exact, PACKETS, strict=True))
    assert (counts.read, counts.whole, counts.delivered) == (3, 3, 3)
    assert error is None


def test_times_are_exact_to_the_end_of_what_the_format_can_tell(tmp_path: Path) -> None:
    last = 0xFFFFFFFF * 1_000_000_000 + 999_999_999
    found, _counts, _error = read(pcap([(0, FRAMES[0][1]), (last, FRAMES[0][1])], magic=NANO), tmp_path)
    assert [time for time, _packet in found] == [0, last]


def test_what_ethernet_pads_or_appends_is_left_away(tmp_path: Path) -> None:
    frames = [(TIME, ethernet(packet) + b"\xaa" * 9) for packet in PACKETS]
    found, counts, _error = read(pcap(frames), tmp_path)
    assert [packet for _time, packet in found] == PACKETS
    assert counts.truncated == 0


def test_packets_of_which_only_the_beginning_was_captured_are_delivered_and_counted(tmp_path: Path) -> None:
    whole = ethernet(PACKETS[2])
    found, counts, error = read(pcap([(TIME, whole[:96], len(whole))]), tmp_path)
    assert [packet for _time, packet in found] == [PACKETS[2][:82]]
    assert (counts.truncated, counts.delivered) == (1, 1)
    assert error is None


def test_frames_that_are_not_ip_or_whose_header_is_broken_are_counted(tmp_path: Path) -> None:
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    broken = [
        ipv4(b"")[:19],  # ends within the header
        ipv6(b"")[:39],
        b"\x44" + ipv4(b"")[1:],  # a header of 16 bytes
        b"\x4f" + ipv4(b"")[1:],  # a header of 60 bytes in a packet of 20
        ipv4(b"1234", length=19),  # a packet shorter than its header
        b"\x55" + ipv4(b"")[1:],  # version 5
        b"",
    ]
    frames = [(TIME, bytes(12) + b"\x08\x00" + packet) for packet in broken]
    found, counts, error = read(pcap([(TIME, arp), (TIME, b""), *frames]), tmp_path)
    assert found == []
    assert (counts.not_ip, counts.malformed) == (2, len(broken))
    assert error is None


@pytest.mark.parametrize("packet", [ipv4(udp(b"x" * 99)), ipv6(udp(b"x" * 99))])
def test_a_length_of_zero_is_that_of_the_frame(tmp_path: Path, packet: bytes) -> None:
    at = 2 if packet[0] >> 4 == 4 else 4
    zero = packet[:at] + b"\0\0" + packet[at + 2 :]
    found, counts, _error = read(pcap([(TIME, ethernet(zero))]), tmp_path)
    assert counts.truncated == 0
    delivered = found[0][1]
    assert delivered[at : at + 2] == packet[at : at + 2]
    assert len(delivered) == len(packet)
    assert delivered[20:] == packet[20:]


def test_an_ipv6_packet_with_nothing_in_it_has_no_padding_either(tmp_path: Path) -> None:
    found, _counts, _error = read(pcap([(TIME, ethernet(ipv6(b"", proto=59)) + bytes(6))]), tmp_path)
    assert found == [(TIME // 1000 * 1000, ipv6(b"", proto=59))]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\x7fELF" + bytes(100), "begins with 7f 45 4c 46"),
        (b"\xa1", "begins with a1"),
        (b"time,packet\n", "begins with"),
    ],
)
def test_a_file_that_is_no_capture_is_refused_before_anything_is_read(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match="is no capture: it ") as error:
        Capture(str(path))
    assert told in str(error.value)
    assert str(path) in str(error.value)
    assert "editcap" in str(error.value)


def test_a_file_that_cannot_be_opened_is_named_with_the_reason(tmp_path: Path) -> None:
    for path, reason in ((str(tmp_path / "none"), "No such file"), (str(tmp_path), "directory"), ("a\0b", "null byte")):
        with pytest.raises(CaptureError, match=reason):
            Capture(path)


def test_a_link_type_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"link type 127 \(IEEE802_11_RADIOTAP\)"):
        read(pcap(FRAMES, link=127), tmp_path)
    with pytest.raises(CaptureError, match=r"link type 999;"):
        read(pcap(FRAMES, link=999), tmp_path)


def test_a_checksum_length_beside_the_link_type_is_no_part_of_it(tmp_path: Path) -> None:
    found, _counts, _error = read(pcap(FRAMES, link=0x2400_0001), tmp_path)
    assert [packet for _time, packet in found] == PACKETS


def test_another_version_is_refused(tmp_path: Path) -> None:
    file = bytearray(pcap(FRAMES))
    file[4] = 3
    with pytest.raises(CaptureError, match=r"version 3\.4 of pcap"):
        read(bytes(file), tmp_path)


@pytest.mark.parametrize("magic", [MICRO, MODIFIED])
def test_of_a_file_cut_anywhere_all_whole_packets_are_delivered_and_the_place_is_told(
    tmp_path: Path, magic: int
) -> None:
    head = 24 if magic == MODIFIED else 16
    file = pcap(FRAMES[:2], magic=magic)
    second = 24 + head + len(FRAMES[0][1])
    for cut in range(24, len(file)):
        found, counts, error = read(file[:cut], tmp_path)
        whole = 0 if cut < second else 1
        assert [packet for _time, packet in found] == PACKETS[:whole]
        if cut in (24, second):
            assert error is None
        else:
            assert error
            assert (error.offset, error.packets) == (cut, whole)
            assert f"is cut short: it ends at byte {cut}" in str(error)
            assert ("1 packets before it were read" in str(error)) == bool(whole)
        assert counts.read == whole
    for cut in range(4, 24):
        with pytest.raises(CaptureError, match=f"it ends at byte {cut}, within its header"):
            read(file[:cut], tmp_path)


def test_a_length_no_packet_has_is_told_and_nothing_is_allocated_for_it(tmp_path: Path) -> None:
    good = pcap(FRAMES[:1])
    file = good + struct.pack("<IIII", 1, 0, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(100)
    found, _counts, error = read(file, tmp_path)
    assert [packet for _time, packet in found] == PACKETS[:1]
    assert error
    assert error.offset == len(good)
    assert "4294967295 bytes" in str(error)


def test_packets_that_lie_across_the_pieces_in_which_a_file_is_read_are_whole(tmp_path: Path) -> None:
    packets = [ipv4(udp(number.to_bytes(4, "big") * (number % 350))) for number in range(1500)]
    file = pcap([(TIME + 1000 * number, ethernet(packet)) for number, packet in enumerate(packets)])
    assert len(file) > 3 * CHUNK
    found, _counts, error = read(file, tmp_path)
    assert found == [(TIME // 1000 * 1000 + 1000 * number, packet) for number, packet in enumerate(packets)]
    assert error is None


READER = """
import sys
from ingrain.capture import Capture
for time, packet in Capture("-"):
    print(time, packet.hex())
"""


@pytest.mark.parametrize("compressed", [False, True])
def test_a_pipe_is_read_as_a_file_is(compressed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    file = pcap(FRAMES, magic=NANO)
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=gzip.compress(file) if compressed else file,
        capture_output=True,
        check=True,
    )
    lines = done.stdout.decode().split()
    found = zip(map(int, lines[::2]), map(bytes.fromhex, lines[1::2]), strict=True)
    assert list(found) == [(time, packet) for (time, _frame), packet in zip(FRAMES, PACKETS, strict=True)]


def test_of_a_pipe_packets_are_there_before_its_end() -> None:
    receive, send = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-u", "-c", READER], stdin=receive, stdout=subprocess.PIPE, text=True
    ) as reader:
        os.close(receive)
        os.write(send, pcap(FRAMES[:1]))
        assert reader.stdout
        assert reader.stdout.readline().split()[1] == PACKETS[0].hex()
        os.close(send)


@pytest.mark.parametrize("link", [RAW, 228])
def test_gzip_files_of_one_and_of_several_members_are_read(tmp_path: Path, link: int) -> None:
    file = pcap([(TIME, PACKETS[0]), (TIME, PACKETS[2])] * 200, link=link)
    half = len(file) // 2
    one, two = gzip.compress(file), gzip.compress(file[:half]) + gzip.compress(file[half:])
    whole, _counts, _error = read(file, tmp_path)
    assert len(whole) == 400
    for packed in (one, two, two + bytes(512)):  # tapes and block devices leave zeros behind
        found, _counts, error = read(packed, tmp_path)
        assert found == whole
        assert error is None


def test_of_a_gzip_file_cut_or_damaged_all_that_comes_before_is_delivered(tmp_path: Path) -> None:
    file = pcap([(TIME, ethernet(ipv4(udp(os.urandom(100))))) for _ in range(500)])
    whole, _counts, _error = read(file, tmp_path)
    packed = gzip.compress(file)

    def plain(compressed: bytes) -> int:
        """Bytes that can be had of it, as zlib says when asked byte by byte."""
        inflate, size = zlib.decompressobj(31), 0
        try:
            for byte in compressed:
                size += len(inflate.decompress(bytes([byte])))
        except zlib.error:
            pass
        return size

    record = (len(file) - 24) // 500
    for cut in (300, 10_000, 40_000, len(packed) - 1):
        found, _counts, error = read(packed[:cut], tmp_path)
        assert error
        assert "cut short in its compression" in str(error)
        assert found == whole[: (plain(packed[:cut]) - 24) // record]
        assert cut < 10_000 or found
    for at in (300, 40_000, len(packed) - 6):
        damaged = bytearray(packed)
        damaged[at] ^= 0xFF
        try:
            found, _counts, error = read(bytes(damaged), tmp_path)
        except CaptureError as raised:
            found, error = [], raised
        assert error
        assert "damaged" in str(error)
        if at == len(packed) - 6:  # its checksum
            assert found == whole

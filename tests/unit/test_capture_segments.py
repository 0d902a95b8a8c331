"""Long TCP packets are split so that a receiver makes of the segments what it would have made of the packet."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from captures import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, ethernet, ipv4, ipv6, pcap, read, tcp, udp
from hypothesis import given
from hypothesis import strategies as st

from ingrain.capture.ip import set_checksum
from ingrain.capture.segments import SEGMENT_MAX, split

DATA = bytes(range(256)) * 300
ONCE = SYN | FIN | RST | PSH | URG | CWR


def told(segment: bytes) -> tuple[int, int, bytes, int]:
    """Of a segment: its sequence number, flags, data, and length on the wire (without the IP header of IPv6)."""
    four = segment[0] >> 4 == 4
    at = 20 if four else 40
    (length,) = struct.unpack_from("!H", segment, 2 if four else 4)
    (sequence,) = struct.unpack_from("!I", segment, at + 4)
    return sequence, segment[at + 13], segment[at + (segment[at + 12] >> 4) * 4 :], length


@given(
    size=st.integers(SEGMENT_MAX, 65_535 - 100),
    seq=st.one_of(st.integers(0, 0xFFFFFFFF), st.just(0xFFFFFFFE)),
    flags=st.integers(0, 255),
    options=st.sampled_from([b"", b"\x01" * 4, b"\x01" * 40]),
    six=st.booleans(),
)
def test_segments_have_the_packets_bytes_at_their_places_and_each_flag_where_it_belongs(
    *, size: int, seq: int, flags: int, options: bytes, six: bool
) -> None:
    data = DATA[:size]
    packet = (ipv6 if six else ipv4)(tcp(data, seq=seq, flags=flags, options=options), proto=6)
    segments = split(packet, len(packet))
    assert len(segments) > 1
    expected = (seq + (1 if flags & SYN else 0)) & 0xFFFFFFFF
    joined = b""
    for number, segment in enumerate(segments):
        assert len(segment) <= SEGMENT_MAX
        sequence, flag, piece, length = told(segment)
        assert sequence == (expected if number else seq)
        expected = (expected + len(piece)) & 0xFFFFFFFF
        assert length == len(segment) - (40 if six else 0)
        first, last = number == 0, number == len(segments) - 1
        assert flag & (ACK | ECE) == flags & (ACK | ECE)
        assert flag & (SYN | URG | CWR) == (flags & (SYN | URG | CWR) if first else 0)
        assert flag & (FIN | RST | PSH) == (flags & (FIN | RST | PSH) if last else 0)
        joined += piece
    assert joined == data


def test_ipv4_identifications_count_up_and_header_checksums_are_right() -> None:
    packet = ipv4(tcp(DATA[:10_000]), proto=6, number=0xFFFF, options=b"\x01" * 8)
    segments = split(packet, len(packet))
    assert [struct.unpack_from("!H", segment, 4)[0] for segment in segments] == [0xFFFF, 0, 1]
    for segment in segments:
        total = sum(struct.unpack_from("!14H", segment))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF  # RFC 1071 1


@pytest.mark.parametrize("number", [0, 1, 0x1234, 0xFFFE])
def test_header_checksums_are_right_whatever_they_come_to(number: int) -> None:
    header = bytearray(ipv4(b"", number=number))
    for last in (0, 0xFFFF - sum(struct.unpack("!10H", header)) % 0xFFFF):  # the other makes the sum 0xFFFF
        header[10:12] = bytes(2)
        header[4:6] = ((number + last) % 0xFFFF).to_bytes(2, "big")
        set_checksum(header)
        total = sum(struct.unpack("!10H", header))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF  # RFC 1071 1
        assert header[10:12] != b"\xff\xff"  # RFC 1624 3: never, with anything in the header


def test_of_a_packet_that_was_cut_the_last_segment_tells_what_is_missing() -> None:
    packet = ipv4(tcp(DATA[:60_000], flags=FIN | ACK), proto=6)
    segments = split(packet[:9_000], len(packet))
    assert sum(len(told(segment)[2]) for segment in segments) == 9_000 - 40
    assert [told(segment)[1] for segment in segments] == [ACK, ACK, FIN | ACK]
    sequence, _flags, _data, length = told(segments[-1])
    assert sequence - 1 + length - 40 == 60_000


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(udp(bytes(9000))),
        ipv6(udp(bytes(9000))),
        ipv4(tcp(bytes(9000)), proto=6)[:30],
        ipv4(tcp(b"")[:12] + b"\x40" + bytes(9000), proto=6),  # a TCP header of 16 bytes
        ipv6(b"\x06\xff" + bytes(9000), proto=0),  # a TCP header of 0 bytes
        ipv6(b"\x00\xff" + bytes(2046) + b"\x06\x00" + bytes(6) + tcp(bytes(9000)), proto=0),  # headers of 2 KiB
    ],
)
def test_what_cannot_be_split_is_delivered_as_it_is(packet: bytes) -> None:
    assert split(packet, len(packet)) == [packet]


def test_ipv6_extensions_stay_in_each_segment() -> None:
    options = b"\x06\x00\x01\x04\x00\x00\x00\x00"
    packet = ipv6(options + tcp(DATA[:7000]), proto=60)
    segments = split(packet, len(packet))
    assert [segment[40:48] for segment in segments] == [options] * 3
    assert b"".join(segment[68:] for segment in segments) == DATA[:7000]


@pytest.mark.parametrize("jumbo", [False, True])
def test_packets_longer_than_their_length_field_are_split_too(tmp_path: Path, jumbo: bool) -> None:  # noqa: FBT001
    data = DATA[:70_000] + DATA[:70_000]
    packets = [ipv4(tcp(data, seq=5), proto=6, length=0)]
    if jumbo:
        option = struct.pack("!BBBBI", 6, 0, 0xC2, 4, 8 + 20 + len(data))
        packets += [ipv6(option + tcp(data, seq=5), proto=0, length=0)]
    else:
        packets += [ipv6(tcp(data, seq=5), proto=6, length=0)]
    for packet in packets:
        found, counts, error = read(pcap([(1000, ethernet(packet))]), tmp_path)
        assert error is None
        assert (counts.split, counts.truncated) == (1, 0)
        parts = [told(segment) for _time, segment in found]
        assert b"".join(part[2] for part in parts) == data
        assert parts[-1][0] == 5 + len(data) - len(parts[-1][2])
        assert all(segment[6] == 6 for _time, segment in found if segment[0] >> 4 == 6)
        assert all(time == 1000 for time, _segment in found)

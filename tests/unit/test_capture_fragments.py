"""Datagrams come out of their fragments as they went in, in any order; overlaps, gaps, ages, floods as documented."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from captures import ACK, SECOND, check, ethernet, ipv4, ipv6, pcap, read, tcp, udp
from hypothesis import given
from hypothesis import strategies as st

from ingrain.capture import fragments
from ingrain.capture.counts import Counts
from ingrain.capture.fragments import EXPIRY_NS, Fragments, is_fragment
from ingrain.capture.ip import set_checksum

OPTIONS = b"\x2c\x00\x01\x04\x00\x00\x00\x00"
"""A destination options header that a fragment header follows (RFC 8200 4.6)."""


def piece4(
    data: bytes, start: int, *, more: bool, number: int = 1, proto: int = 17, length: int | None = None
) -> bytes:
    return ipv4(data, number=number, field=start // 8 | more << 13, proto=proto, length=length)


def piece6(data: bytes, start: int, *, more: bool, number: int = 1, proto: int = 17, options: bytes = b"") -> bytes:
    header = struct.pack("!BBHI", proto, 0, start | more, number)
    return ipv6(options + header + data, proto=60 if options else 44)


def pieces(data: bytes, cuts: list[int], *, six: bool, number: int = 1) -> list[bytes]:
    edges = [0, *cuts, len(data)]
    make = piece6 if six else piece4
    return [make(data[start:end], start, more=end != len(data), number=number) for start, end in pairwise(edges)]


def whole(data: bytes, *, six: bool, number: int = 1) -> bytes:
    if six:
        return ipv6(data)
    packet = bytearray(ipv4(data, number=number))
    set_checksum(packet)
    return bytes(packet)


class Joiner:
    """Fragments one after the other, each a second after the one before it unless said."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.fragments = Fragments(self.counts)
        self.now = 0

    def __call__(self, *packets: bytes, after: int = SECOND, interface: int = 0) -> list[bytes]:
        found = []
        for packet in packets:
            self.now += after
            assert is_fragment(packet)
            joined = self.fragments.add(packet, self.now, interface, cut=False)
            if joined is not None:
                found.append(joined)
        return found

    def end(self) -> dict[str, int]:
        """Why fragments were lost; nothing is held any more."""
        self.fragments.end()
        assert (len(self.fragments), self.fragments.held) == (0, 0)
        assert self.counts.fragments == self.counts.joined + self.counts.lost_fragments.total()
        return dict(self.counts.lost_fragments)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12),
    st.integers(1, 40),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_order_and_any_repetition_give_the_datagram_once(
    sizes: list[int], rest: int, six: bool, random: Random  # noqa: FBT001 - of hypothesis
) -> None:  # fmt: skip
    cuts = [8 * sum(sizes[: number + 1]) for number in range(len(sizes))]
    data = random.randbytes(cuts[-1] + rest)
    parts = pieces(data, cuts, six=six)
    random.shuffle(parts)
    for copy in random.sample(parts[:-1], len(parts) // 3):
        parts.insert(random.randrange(len(parts) - 1), copy)  # before the last one: behind it another datagram begins
    joiner = Joiner()
    assert joiner(*parts) == [whole(data, six=six)]
    assert joiner.counts.reassembled == 1
    assert set(joiner.end()) <= {"duplicate"}


def test_several_datagrams_at_once_do_not_mix() -> None:
    data = [bytes([number]) * 100 for number in range(6)]
    one, two = (pieces(data[number], [40], six=False, number=number) for number in (0, 1))
    six = pieces(data[2], [40], six=True, number=0)
    other = [
        piece4(data[3][:40], 0, more=True, number=0, proto=99),
        piece4(data[3][40:], 40, more=False, number=0, proto=99),
    ]
    there = pieces(data[4], [40], six=False, number=0)
    joiner = Joiner()
    assert joiner(one[0], two[0], six[0], other[0]) == []
    assert joiner(there[0], interface=1) == []
    found = joiner(one[1], two[1], six[1], other[1])
    assert [packet[-100:] for packet in found] == data[:4]
    assert joiner(there[1], interface=1)[0][-100:] == data[4]
    assert joiner.end() == {}


def test_the_header_is_that_of_a_whole_packet() -> None:
    data = udp(bytes(range(100)))
    first = bytearray(ipv4(data[:48], number=7, field=0xE000, options=b"\x07\x07\x04\x0a\x00\x00\x01\x00"))
    last = ipv4(data[48:], number=7, field=6)
    (packet,) = Joiner()(last, bytes(first))
    expected = bytearray(ipv4(data, number=7, options=b"\x07\x07\x04\x0a\x00\x00\x01\x00"))
    set_checksum(expected)
    assert packet == expected
    joiner = Joiner()
    (packet,) = joiner(
        piece6(data[:48], 0, more=True, options=OPTIONS), piece6(data[48:], 48, more=False, options=OPTIONS, proto=99)
    )
    assert packet == ipv6(b"\x11" + OPTIONS[1:] + data, proto=60)


def test_an_atomic_fragment_is_whole_by_itself() -> None:
    joiner = Joiner()
    joiner(piece6(bytes(8), 0, more=True, number=5))
    assert joiner(piece6(udp(b"data"), 0, more=False, number=5)) == [ipv6(udp(b"data"))]
    assert joiner.end() == {"incomplete": 1}


def test_of_ipv4_bytes_that_come_twice_the_first_ones_stay() -> None:
    joiner = Joiner()
    joiner(piece4(b"B" * 16, 16, more=True), piece4(b"D" * 8, 48, more=True))
    joiner(piece4(b"a" * 40, 0, more=True))  # around the one and before the other
    joiner(piece4(b"x" * 8, 24, more=True))  # nothing of it is new
    (packet,) = joiner(piece4(b"e" * 24, 40, more=False))
    assert packet[20:] == b"a" * 16 + b"B" * 16 + b"a" * 8 + b"e" * 8 + b"D" * 8 + b"e" * 8
    assert joiner.end() == {"duplicate": 1}


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10)), max_size=20), st.randoms(use_true_random=False))
def test_ipv4_overlaps_of_any_kind_resolve_as_a_field_of_bytes_would(
    spans: list[tuple[int, int]], random: Random
) -> None:
    model: dict[int, int] = {}
    parts = [(start * 8, random.randbytes(size * 8), True) for start, size in spans if start + size <= 20]
    joiner = Joiner()
    found: list[bytes] = []
    for start, data, more in [*parts, (0, random.randbytes(160), True), (160, b"end", False)]:
        found += joiner(piece4(data, start, more=more))
        for at, byte in enumerate(data, start):
            model.setdefault(at, byte)
    assert [packet[20:] for packet in found] == [bytes(model[at] for at in range(163))]
    joiner.end()


def test_an_ipv6_datagram_with_an_overlap_is_dropped_with_what_follows_of_it() -> None:
    joiner = Joiner()
    assert joiner(
        piece6(b"a" * 16, 0, more=True),
        piece6(b"b" * 16, 8, more=True),  # RFC 5722 3
        piece6(b"a" * 8, 16, more=False),
        piece6(b"a" * 16, 0, more=True),
    ) == []  # fmt: skip
    assert joiner.end() == {"overlapping": 4}
    joiner = Joiner()
    joiner(piece6(b"a" * 16, 0, more=True), piece6(b"b" * 16, 0, more=True))  # the same place, other bytes
    assert joiner.end() == {"overlapping": 2}


@pytest.mark.parametrize("piece", [piece4, piece6])
def test_fragments_that_do_not_agree_on_the_end_are_dropped(piece: type) -> None:
    for parts in (
        [piece(b"a" * 8, 8, more=False), piece(b"a" * 8, 16, more=True)],
        [piece(b"a" * 8, 8, more=False), piece(b"a" * 8, 16, more=False)],
        [piece(b"a" * 8, 16, more=True), piece(b"a" * 8, 8, more=False)],
        [piece(b"a" * 16, 8, more=False), piece(b"a" * 8, 8, more=False)],
    ):
        joiner = Joiner()
        assert joiner(*parts, piece(b"a" * 8, 0, more=True)) == []
        assert joiner.end() == {"contradicting": 3}


@pytest.mark.parametrize("piece", [piece4, piece6])
def test_a_datagram_longer_than_ip_allows_is_dropped(piece: type) -> None:
    joiner = Joiner()
    assert joiner(piece(bytes(1000), 65_528, more=False)) == []
    assert joiner.end() == {"too long": 1}


def test_the_longest_datagrams_are_put_together() -> None:
    for six, size in ((False, 65_515), (True, 65_535)):
        data = Random(1).randbytes(size)
        parts = pieces(data, list(range(1448, size, 1448)), six=six)
        assert Joiner()(*parts, after=1) == [whole(data, six=six)]


@pytest.mark.parametrize(
    "packet",
    [
        piece4(b"", 8, more=True),
        piece4(b"", 8, more=False),
        piece4(b"1234567", 0, more=True),
        piece6(b"", 8, more=False),
        piece6(b"1234567", 0, more=True),
    ],
)
def test_what_cannot_be_a_fragment_is_counted(packet: bytes) -> None:
    joiner = Joiner()
    assert joiner(packet) == []
    assert joiner.end() == {"malformed": 1}


@pytest.mark.parametrize("six", [False, True])
def test_what_is_not_whole_in_time_is_let_go_of(six: bool) -> None:  # noqa: FBT001 - a parameter of the test
    data = bytes(100)
    first, last = pieces(data, [40], six=six)
    joiner = Joiner()
    assert joiner(first) == []
    assert joiner(last, after=EXPIRY_NS - 1) == [whole(data, six=six)]
    assert joiner(first) == []
    assert joiner(last, after=EXPIRY_NS) == []
    assert joiner.counts.lost_fragments == {"expired": 1}
    assert len(joiner.fragments) == 1
    joiner(*pieces(data, [40], six=six, number=9)[:1], after=EXPIRY_NS)
    assert joiner.counts.lost_fragments == {"expired": 2}
    assert joiner.end() == {"expired": 2, "incomplete": 1}


def test_a_time_far_ahead_does_not_keep_old_fragments_alive() -> None:
    first, last = pieces(bytes(100), [40], six=False)
    joiner = Joiner()
    joiner(*pieces(bytes(100), [40], six=False, number=2)[:1], after=1000 * EXPIRY_NS)
    joiner(first, after=-1000 * EXPIRY_NS)
    assert joiner(last, after=2 * EXPIRY_NS) == []
    assert joiner.end() == {"expired": 1, "incomplete": 2}


def test_a_flood_of_fragments_holds_no_more_than_the_bound_and_the_oldest_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fragments, "TOTAL_BYTES", 100_000)
    joiner = Joiner()
    for number in range(1000):
        joiner(piece4(bytes(1400), 0, more=True, number=number), after=1)
        assert joiner.fragments.held <= 100_000
    assert joiner(piece4(bytes(100), 1400, more=False, number=999), after=1)
    lost = joiner.end()
    assert lost.keys() == {"no room", "incomplete"}
    assert lost["incomplete"] > 30


def test_what_long_headers_take_counts_against_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "TOTAL_BYTES", 100_000)
    joiner = Joiner()
    for number in range(100):
        packet = ipv6(b"\x2c\xff" + bytes(2046) + struct.pack("!BBHI", 17, 0, 1, number) + bytes(8), proto=0)
        joiner(packet, after=1)
    assert len(joiner.fragments) < 100_000 // 2048
    assert joiner.end().keys() == {"no room", "incomplete"}


def test_dropped_datagrams_are_remembered_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "TOTAL_BYTES", 100_000)
    joiner = Joiner()
    for number in range(1000):
        joiner(piece6(b"a" * 8, 0, more=True, number=number), piece6(b"b" * 8, 0, more=True, number=number), after=1)
        assert joiner.fragments.held <= 100_000
    assert joiner.end() == {"overlapping": 2000}


def test_a_datagram_of_too_many_pieces_is_dropped() -> None:
    joiner = Joiner()
    for number in range(fragments.PIECES + 1):
        joiner(piece4(bytes(8), 16 * number, more=True), after=1)
    assert joiner.end() == {"too many pieces": fragments.PIECES + 1}


def test_in_a_capture_fragments_become_one_packet_with_the_time_of_the_last(tmp_path: Path) -> None:
    data = tcp(bytes(range(256)) * 30, flags=ACK)
    edges = [1480 * number for number in range(1, 6)]
    frames = [
        (number * 1000, ethernet(packet) + bytes(4))
        for number, packet in enumerate(
            [
                *pieces(udp(bytes(3500)), [1480, 2960], six=True),
                *[
                    piece4(data[start:end], start, more=end < len(data), proto=6)
                    for start, end in pairwise([0, *edges, len(data)])
                ],
            ]
        )
    ]  # fmt: skip
    found, counts, error = read(pcap(frames), tmp_path)
    assert error is None
    assert found[0] == (2000, ipv6(udp(bytes(3500))))
    assert [time for time, _packet in found[1:]] == [8000] * 3
    assert b"".join(packet[40:] for _time, packet in found[1:]) == data[20:]
    assert (counts.fragments, counts.joined, counts.reassembled, counts.split) == (9, 9, 2, 1)


def test_a_fragment_that_the_capture_cut_is_lost_and_counted(tmp_path: Path) -> None:
    first, last = (ethernet(packet) for packet in pieces(udp(bytes(200)), [104], six=False))
    found, counts, _error = read(pcap([(0, first[:80], len(first)), (1, last)]), tmp_path)
    assert found == []
    assert counts.lost_fragments == {"truncated": 1, "incomplete": 1}
    check(counts)


def test_an_ipv6_packet_that_ends_within_its_fragment_header_is_delivered_as_it_is(tmp_path: Path) -> None:
    packet = piece6(bytes(64), 0, more=True)
    found, counts, _error = read(pcap([(0, ethernet(packet)[: 14 + 44], 14 + len(packet))]), tmp_path)
    assert found == [(0, packet[:44])]
    assert counts.truncated == 1

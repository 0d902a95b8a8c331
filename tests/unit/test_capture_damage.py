"""Captures cut, damaged or made up in any way: CaptureError or packets, an account that adds up, and always an end."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from captures import (
    MODIFIED,
    NANO,
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
from hypothesis import given
from hypothesis import strategies as st

from ingrain.capture import Capture, CaptureError, Counts
from ingrain.capture.fragments import TOTAL_BYTES

FRAMES = [
    ethernet(packet)
    for packet in (
        ipv4(udp(b"query")),
        ipv6(udp(b"query")),
        ipv4(tcp(bytes(5000)), proto=6),
        ipv4(tcp(bytes(4000)), proto=6, length=0),
        ipv4(bytes(16), field=0x2000),
        ipv6(b"\x11\0\0\x01" + bytes(20), proto=44),
        ipv6(b"\x2c\0" + bytes(6) + b"\x11\0\0\x08" + bytes(20), proto=0),
        ipv4(bytes(5), field=2),
    )
] + [bytes(12) + b"\x81\x00\0\5" + ethernet(ipv4(udp(b"tagged")))[12:], bytes(12) + b"\x08\x06" + bytes(28)]
TIMED = [(1_700_000_000_000_000_000 + number, frame) for number, frame in enumerate(FRAMES)]


def blocks(order: str) -> bytes:
    file = section(order) + interface(order, options=option(order, 9, b"\x09") + option(order, 14, bytes(8)))
    for number, frame in enumerate(FRAMES):
        file += enhanced(TIMED[number][0], frame, order=order)
    return file + simple(FRAMES[0], order=order) + obsolete(5, FRAMES[1], order=order)


FILES = [
    pcap(TIMED),
    pcap(TIMED, order=">", magic=NANO),
    pcap(TIMED, magic=MODIFIED),
    blocks("<"),
    blocks(">") + interface(">", 127) + enhanced(1, b"?", order=">", number=1) + blocks("<"),
    gzip.compress(pcap(TIMED), mtime=0),
    gzip.compress(blocks("<"), mtime=0),
]


GZIP = b"\x1f\x8b"


class Read(io.FileIO):
    """Counts how often the file was read, which tells an endless loop from a slow one."""

    times = 0

    def read(self, size: int | None = -1) -> bytes:
        type(self).times += 1
        assert self.times < 1000
        return super().read(size) or b""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "capture"


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "FileIO", Read)


Packets = list[tuple[int, bytes]]


def read(path: Path, file: bytes) -> tuple[Packets, Counts]:
    """Whatever comes of the file, which must be packets and perhaps one CaptureError; and its account."""
    path.write_bytes(file)
    Read.times = 0
    found: Packets = []
    try:
        capture = Capture(str(path))
    except CaptureError:
        return [], Counts()
    with capture:
        ended = None
        try:
            for time, packet in capture:
                assert 0 <= time < 1 << 63
                assert packet[0] >> 4 in (4, 6)
                found.append((time, packet))
                assert len(found) < 1000
                assert capture._fragments.held <= TOTAL_BYTES
        except CaptureError as error:
            ended = error
        assert ended is None or ended.packets == capture.counts.read
        check(capture.counts)
    return found, capture.counts


def delivered(path: Path, file: bytes) -> Packets:
    """The packets alone."""
    return read(path, file)[0]


def begins_as(path: Path, before: bytes, file: bytes) -> None:
    """What stands before the damage gives what it gives alone, but where the damage is to what compressed it all."""
    found, expected = delivered(path, file), delivered(path, before)
    assert found[: len(expected)] == expected or before.startswith(GZIP)


damages = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


@pytest.mark.parametrize("file", FILES, ids=range(len(FILES)))
def test_any_cut_gives_the_first_packets(path: Path, file: bytes) -> None:
    whole = delivered(path, file)
    assert len(whole) > 5
    for cut in range(0, len(file), 7):
        found = delivered(path, file[:cut])
        assert found == whole[: len(found)]


@given(st.sampled_from(FILES), damages, st.booleans())
def test_any_damage_is_an_error_or_gives_other_packets(
    path: Path, file: bytes, places: list[tuple[float, int]], compressed: bool  # noqa: FBT001 - of hypothesis
) -> None:  # fmt: skip
    damaged = bytearray(file)
    for place, byte in places:
        damaged[int(place * len(file))] = byte
    before = file[: min(int(place * len(file)) for place, _byte in places)]
    begins_as(path, before, gzip.compress(damaged, 1) if compressed else bytes(damaged))


@given(st.sampled_from(FILES), st.integers(0, 10_000), st.integers(0, 10_000), st.binary(max_size=40))
def test_anything_taken_out_or_put_in_is_an_error_or_gives_other_packets(
    path: Path, file: bytes, at: int, size: int, put: bytes
) -> None:
    at %= len(file)
    begins_as(path, file[:at], file[:at] + put + file[at + size :])


made_up = st.tuples(
    st.integers(0, 1 << 61), st.sampled_from([b"\x08\x00\x45", b"\x08\x00", b"\x86\xdd\x60"]), st.binary(max_size=120)
)


@given(st.lists(made_up, max_size=20))
def test_made_up_frames_are_packets_or_counted(path: Path, frames: list[tuple[int, bytes, bytes]]) -> None:
    file = section() + interface()
    for ticks, begin, rest in frames:
        file += enhanced(ticks, bytes(12) + begin + rest)
    assert read(path, file)[1].read == len(frames)


@given(st.sampled_from([file[:24] for file in FILES]), st.binary(max_size=300))
def test_noise_behind_a_good_beginning_is_an_error_or_packets(path: Path, begin: bytes, noise: bytes) -> None:
    delivered(path, begin + noise)
    delivered(path, noise)


def test_the_files_that_are_damaged_here_are_good_ones(path: Path) -> None:
    packets = [packet for _time, packet in delivered(path, FILES[0])]
    for number, file in enumerate(FILES[1:], 1):
        found = [packet for _time, packet in delivered(path, file)]
        assert found[: len(packets)] == packets, number


def test_counts_are_plain_numbers_for_a_document_those_by_reason_too() -> None:
    counts = Counts(read=5, unknown_links=Counter({"127 (IEEE802_11_RADIOTAP)": 2}), lost_fragments=Counter(expired=3))
    document = json.loads(json.dumps(counts.document()))
    assert (document["read"], document["unknown_links"], document["lost_fragments"]) == (
        5,
        {"127 (IEEE802_11_RADIOTAP)": 2},
        {"expired": 3},
    )

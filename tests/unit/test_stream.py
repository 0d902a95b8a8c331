from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.wire import stream
from ingrain.wire.stream import Streams


def test_segments_in_order_follow_each_other() -> None:
    streams = Streams()
    streams.add("a", 0, b"hello ", 1)
    assert bytes(streams.add("a", 6, b"world", 2).data) == b"hello world"
    assert streams.held == 11


@given(st.binary(min_size=1, max_size=300), st.randoms(use_true_random=False))
def test_any_order_any_overlap_any_repetition_gives_the_bytes_once(whole: bytes, random: object) -> None:
    pick = random.randrange  # type: ignore[attr-defined]
    cuts = [(at, min(len(whole), at + 1 + pick(20))) for at in range(0, len(whole), 1 + pick(10))]
    cuts += [(at := pick(len(whole)), at + 1 + pick(len(whole) - at)) for _ in range(10)]
    cuts += [(at, min(len(whole), at + 10)) for at in range(0, len(whole), 10)]
    random.shuffle(cuts)  # type: ignore[attr-defined]
    streams = Streams()
    got = b""
    for start, end in cuts:
        found = streams.add("a", start, whole[start:end], 1)
        if pick(2):
            got += found.take(len(found.data))
    last = streams.known("a")
    assert last
    assert got + bytes(last.data) == whole
    assert streams.held == last.held


def test_of_bytes_that_come_twice_the_first_ones_stay() -> None:
    streams = Streams()
    streams.add("a", 0, b"abc", 1)
    assert bytes(streams.add("a", 1, b"XXXd", 1).data) == b"abcXd"


def test_a_stream_that_holds_too_much_is_over_and_holds_nothing() -> None:
    streams = Streams()
    found = streams.add("a", 1, bytes(stream.STREAM_BYTES + 1), 1)
    assert found.over
    assert streams.held == 0
    assert streams.add("a", 0, b"more", 1).data == b""


def test_many_small_pieces_behind_a_gap_end_the_stream() -> None:
    streams = Streams()
    for number in range(stream.PIECES + 1):
        found = streams.add("a", 10 + 2 * number, b"x", 1)
    assert found.over
    assert streams.held == 0


def test_idle_streams_are_let_go_of_and_others_stay() -> None:
    streams = Streams()
    streams.add("old", 5, b"x", 0)
    streams.add("new", 5, b"yy", stream.IDLE_NS)
    gone = [found.held for found in streams.expired(stream.IDLE_NS)]
    assert gone == [1]
    assert len(streams) == 1
    assert streams.held == 2


def test_all_together_hold_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "TOTAL_BYTES", 100)
    streams = Streams()
    for number in range(10):
        streams.add(number, 1, bytes(30), 0)
        list(streams.expired(0))
        assert streams.held <= 100
    assert streams.known(9)
    assert not streams.known(0)

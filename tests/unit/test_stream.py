from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.wire import stream
from ingrain.wire.stream import Streams


def test_segments_in_order_follow_each_other() -> None:
    streams: Streams[None] = Streams()
    streams.add("a", 0, b"hello ", 1, None)
    assert bytes(streams.add("a", 6, b"world", 2, None).data) == b"hello world"
    assert streams.held == 11


@given(st.binary(min_size=1, max_size=300), st.randoms(use_true_random=False))
def test_any_order_any_overlap_any_repetition_gives_the_bytes_once(whole: bytes, random: object) -> None:
    pick = random.randrange  # type: ignore[attr-defined]
    cuts = [(at, min(len(whole), at + 1 + pick(20))) for at in range(0, len(whole), 1 + pick(10))]
    cuts += [(at := pick(len(whole)), at + 1 + pick(len(whole) - at)) for _ in range(10)]
    cuts += [(at, min(len(whole), at + 10)) for at in range(0, len(whole), 10)]
    random.shuffle(cuts)  # type: ignore[attr-defined]
    streams: Streams[None] = Streams()
    got = b""
    for start, end in cuts:
        found = streams.add("a", start, whole[start:end], 1, None)
        if pick(2):
            got += found.take(len(found.data))
    last = streams.known("a")
    assert last
    assert got + bytes(last.data) == whole
    assert streams.held == last.held
    assert streams.pieces == 0


def test_of_bytes_that_come_twice_the_first_ones_stay() -> None:
    streams: Streams[None] = Streams()
    streams.add("a", 0, b"abc", 1, None)
    assert bytes(streams.add("a", 1, b"XXXd", 1, None).data) == b"abcXd"


@pytest.mark.parametrize("pieces", [[bytes(stream.STREAM_BYTES + 1)], [b"x"] * (stream.PIECES + 1)])
def test_a_stream_that_holds_too_much_says_so_and_one_that_is_ended_holds_and_takes_nothing(
    pieces: list[bytes],
) -> None:
    streams: Streams[None] = Streams()
    for number, piece in enumerate(pieces):
        found = streams.add("a", 10 + 2 * number, piece, 1, None)
        assert found.full == (number == len(pieces) - 1)
    found.end()
    assert (streams.held, streams.pieces, found.full) == (0, 0, False)
    assert streams.add("a", 0, b"more", 1, None).data == b""


def test_what_waits_can_be_had_without_what_is_missing_and_the_stream_goes_on_behind_it() -> None:
    streams: Streams[str] = Streams()
    streams.add("a", 0, b"begun", 1, "first")
    streams.add("a", 20, b"later", 3, "third")
    found = streams.add("a", 10, b"soon", 2, "second")
    assert (found.waits, found.waiting_since, streams.pieces) == (True, 2, 2)
    assert found.skip() == [(10, (b"soon", 2, "second")), (20, (b"later", 3, "third"))]
    assert (found.waits, found.behind, streams.held, streams.pieces) == (False, 5, 0, 0)


def test_idle_streams_are_let_go_of_and_others_stay() -> None:
    streams: Streams[None] = Streams()
    streams.add("old", 5, b"x", 0, None)
    streams.add("new", 5, b"yy", stream.IDLE_NS, None)
    gone = [(key, found.held) for key, found in streams.expired(stream.IDLE_NS)]
    assert gone == [("old", 1)]
    assert len(streams) == 1
    assert streams.held == 2


def test_all_together_hold_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "TOTAL_BYTES", 100)
    streams: Streams[None] = Streams()
    for number in range(10):
        streams.add(number, 1, bytes(30), 0, None)
        list(streams.expired(0))
        assert streams.held <= 100
    assert streams.known(9)
    assert not streams.known(0)


def test_all_together_hold_no_more_pieces_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "TOTAL_PIECES", 100)
    streams: Streams[None] = Streams()
    for number in range(300):
        streams.add(number // 7, 10 + 2 * number, b"x", 0, None)
        list(streams.expired(0))
        assert streams.pieces <= 100

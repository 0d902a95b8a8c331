"""DNS over TCP: the messages of a stream, however it is cut into segments and whatever the network does to them."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import pytest
from dns_messages import answer, message, query, stream
from hypothesis import given
from hypothesis import strategies as st
from packets import IN, OUT, drained, rows

from ingrain.grains.dns import DNS
from ingrain.wire import stream as wire_stream

Segment = tuple[int, bytes]
"""Where in its stream it begins, and what is in it."""

CLIENT = {
    "pid": 4711, "uid": 1000, "comm": b"dig", "cgroup_id": 77, "direction": OUT,
    "s_ip": "192.0.2.9", "s_port": 40000, "d_ip": "192.0.2.53", "d_port": 53,
}  # fmt: skip
BACK = CLIENT | {"direction": IN, "s_ip": "192.0.2.53", "s_port": 53, "d_ip": "192.0.2.9", "d_port": 40000}
SECOND = 1_000_000_000

MESSAGES = [
    query("a.test", "AAAA", 1), query("b.test", "TXT", 2),
    message([("c.test", "A"), ("d.test", "MX")], number=3), query("e.test", "A", 4),
]  # fmt: skip
STREAM = stream(*MESSAGES)
TOLD = [("a.test", "AAAA"), ("b.test", "TXT"), ("c.test", "A"), ("d.test", "MX"), ("e.test", "A")]


def segments(*cuts: int) -> list[Segment]:
    """The stream, cut there."""
    edges = [0, *cuts, len(STREAM)]
    return [(start, STREAM[start:end]) for start, end in itertools.pairwise(edges)]


def told(grain: DNS, given_: list[Segment], *flows: dict[str, Any]) -> list[tuple[str, str]]:
    offsets, payloads = [at for at, _payload in given_], [payload for _at, payload in given_]
    found = rows(*grain.decode(drained("dns", payloads, *(flows or (CLIENT,)), offsets=offsets)))
    assert all(row["proto"] == "tcp" for row in found)
    return [(row["q_name"], row["q_type"]) for row in found]


def adds_up(grain: DNS, received: int, records: int) -> bool:
    return received + grain.further == records + grain.malformed + grain.cut + grain.parts


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_a_stream_cut_at_any_byte_tells_its_messages(cut: int) -> None:
    grain = DNS()
    assert told(grain, segments(cut)) == TOLD
    assert (grain.malformed, grain.cut, grain.unfinished) == (0, 0, 0)
    assert adds_up(grain, 2, len(TOLD))


def test_several_messages_in_one_segment_are_counted_as_further_ones() -> None:
    grain = DNS()
    assert told(grain, segments()) == TOLD
    assert (grain.further, grain.parts) == (4, 0)


def test_a_message_over_several_segments_is_told_once_with_the_last_and_the_others_are_parts() -> None:
    grain = DNS()
    whole = stream(query("a.test"))
    assert told(grain, [(at, whole[at : at + 1]) for at in range(len(whole))]) == [("a.test", "A")]
    assert (grain.further, grain.parts) == (0, len(whole) - 1)


@given(st.data())
def test_any_segmentation_any_order_any_repetition_gives_the_same_records(data: st.DataObject) -> None:
    edges = sorted({0, *data.draw(st.lists(st.integers(1, len(STREAM) - 1), max_size=20)), len(STREAM)})
    pieces = [(start, STREAM[start:end]) for start, end in itertools.pairwise(edges)]
    overlaps = data.draw(st.lists(st.tuples(st.integers(0, len(STREAM) - 1), st.integers(1, 40)), max_size=5))
    pieces += [(at, STREAM[at : at + size]) for at, size in overlaps]
    pieces = data.draw(st.permutations(pieces))
    grain = DNS()
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(pieces):  # over several drains
        size = data.draw(st.integers(1, len(pieces)))
        found += told(grain, pieces[at : at + size])
        at += size
    assert found == TOLD
    assert (grain.malformed, grain.cut) == (0, 0)
    assert adds_up(grain, len(pieces), len(TOLD))
    grain.finish()
    assert grain.unfinished == 0


@given(st.data())
def test_whatever_the_bytes_the_account_adds_up(data: st.DataObject) -> None:
    damaged = bytearray(STREAM)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(STREAM) - 1))] = data.draw(st.integers(0, 255))
    sizes = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=20))
    starts = data.draw(st.lists(st.integers(0, len(STREAM) - 1), min_size=len(sizes), max_size=len(sizes)))
    pieces = [(at, bytes(damaged[at : at + size])) for at, size in zip(starts, sizes, strict=True)]
    grain = DNS()
    found = told(grain, [(0, bytes(damaged[:40])), *pieces])
    assert adds_up(grain, 1 + len(pieces), len(found))


def test_both_directions_of_a_connection_are_streams_of_their_own() -> None:
    asked, answered = stream(query("a.test")), stream(answer("a.test", "A", "192.0.2.1"))
    halves = [(0, asked[:10]), (0, answered[:10]), (10, asked[10:]), (10, answered[10:])]
    grain = DNS()
    assert told(grain, halves, CLIENT, BACK, CLIENT, BACK) == [("a.test", "A")] * 2
    assert grain.unfinished == 0


def test_a_packet_over_loopback_is_seen_at_both_of_its_sockets_and_told_at_both() -> None:
    whole = stream(query("a.test"))
    grain = DNS()
    halves = [(0, whole[:20]), (0, whole[:20]), (20, whole[20:]), (20, whole[20:])]
    sent, received = CLIENT, CLIENT | {"direction": IN, "pid": 53}
    assert told(grain, halves, sent, received, sent, received) == [("a.test", "A")] * 2


def test_another_connection_of_the_same_ports_is_a_stream_of_its_own() -> None:
    grain = DNS()
    first, second = drained("dns", [stream(query("a.test"))], CLIENT, offsets=[0]), stream(query("b.test"))
    assert [row["q_name"] for row in rows(*grain.decode(first))] == ["a.test"]
    again = drained("dns", [second], CLIENT, offsets=[0])
    again.events["begin"] += 5000
    again.events["seq"] += 5000
    assert [row["q_name"] for row in rows(*grain.decode(again))] == ["b.test"]


def test_a_broken_message_is_malformed_and_those_behind_it_are_told() -> None:
    broken = query("a.test")[:-4] + b"\xff"
    grain = DNS()
    whole = stream(query("a.test"), broken, query("b.test"))
    assert told(grain, [(0, whole)]) == [("a.test", "A"), ("b.test", "A")]
    assert (grain.malformed, grain.further) == (1, 2)


def test_a_message_of_which_not_all_came_is_unfinished_once_its_stream_is_idle() -> None:
    grain = DNS()
    whole = stream(query("a.test"), query("b.test"))
    assert told(grain, [(0, whole[:-1])], CLIENT | {"time": SECOND}) == [("a.test", "A")]
    grain.expire(SECOND + wire_stream.IDLE_NS - 1)
    assert grain.unfinished == 0
    grain.expire(SECOND + wire_stream.IDLE_NS)
    assert grain.unfinished == 1


def test_a_stream_that_ended_behind_a_message_is_not_unfinished() -> None:
    grain = DNS()
    told(grain, segments())
    grain.finish()
    assert (grain.unfinished, len(grain._streams)) == (0, 0)


def test_a_beginning_that_is_too_short_to_be_told_from_anything_is_not_unfinished() -> None:
    grain = DNS()
    told(grain, [(0, b"SSH-2.0-")])
    grain.finish()
    assert grain.unfinished == 0


def test_segments_that_came_early_of_what_is_no_dns_are_not_unfinished() -> None:
    grain = DNS()
    assert not told(grain, [(1448, b"body of a download"), (2896, b"and more of it")])
    grain.finish()
    assert (grain.parts, grain.malformed, grain.unfinished) == (2, 0, 0)


def test_a_stream_of_more_segments_than_may_wait_for_its_beginning_is_not_unfinished_unless_that_came() -> None:
    early = [(1000 + 10 * number, b"data") for number in range(70)]
    for beginning, unfinished in (([], 0), ([(0, STREAM[:20])], 1)):
        grain = DNS()
        told(grain, beginning + early)
        grain.finish()
        assert grain.unfinished == unfinished


def test_a_segment_captured_in_part_leaves_a_gap_and_its_message_unfinished() -> None:
    whole = stream(query("a.test"), query("b.test"))
    cut, rest = whole[:-3], stream(query("c.test"))
    grain = DNS()
    events = drained("dns", [cut, rest], CLIENT, offsets=[0, len(whole)], sent=[len(whole), len(rest)])
    assert [row["q_name"] for row in rows(*grain.decode(events))] == ["a.test"]
    grain.finish()
    assert (grain.cut, grain.unfinished) == (0, 1)


def test_memory_is_bounded_under_a_flood_of_streams_that_never_become_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_stream, "TOTAL_BYTES", 1 << 20)
    monkeypatch.setattr(wire_stream, "STREAMS", 1 << 10)
    grain = DNS()
    part = stream(bytes(16_000))[:8_000]
    most = 0
    tracemalloc.start()
    for number in range(40):
        flows = [CLIENT | {"s_port": 100 * number + port} for port in range(100)]
        told(grain, [(0, part)] * 100, *flows)
        assert grain._streams.held <= (1 << 20) + len(part)
        assert len(grain._streams) <= (1 << 10) + 1
        if number == 10:
            most = tracemalloc.get_traced_memory()[0]
    assert tracemalloc.get_traced_memory()[0] < 1.2 * most
    tracemalloc.stop()
    grain.finish()
    assert (grain.parts, grain.unfinished, grain._streams.held) == (4000, 4000, 0)

"""DNS over TCP where something is missing: a stream goes on behind a gap, and after any time of silence."""

from __future__ import annotations

from typing import Any

import pytest
from dns_messages import answer, message, query, stream
from hypothesis import given
from hypothesis import strategies as st
from packets import IN, OUT, drained, rows

from ingrain.grains.dns import DNS
from ingrain.wire import stream as wire_stream
from ingrain.wire.dns_stream import begins_message

CLIENT = {
    "pid": 4711, "uid": 1000, "comm": b"dig", "cgroup_id": 77, "direction": OUT,
    "s_ip": "192.0.2.9", "s_port": 40000, "d_ip": "192.0.2.53", "d_port": 53,
}  # fmt: skip
SECOND = 1_000_000_000
START = 5_000 * SECOND

NAMES = [f"name-{number}.test" for number in range(8)]
MESSAGES = [stream(query(name, number=number)) for number, name in enumerate(NAMES)]
PLACES = [sum(map(len, MESSAGES[:number])) for number in range(len(MESSAGES) + 1)]
SIZE = len(MESSAGES[0])

Row = dict[str, Any]


class Connection:
    """One direction of a connection, as a grain sees it; times are seconds."""

    def __init__(self, **changed: Any) -> None:
        self.grain = DNS()
        self.received = self.told = 0
        self._flow = CLIENT | changed

    def send(self, when: float, offset: int, payload: bytes, **changed: Any) -> list[str]:
        """The names of the records that this segment, alone in its drain, makes."""
        return self.send_all([(when, offset, payload)], **changed)

    def send_all(self, segments: list[tuple[float, int, bytes]], **changed: Any) -> list[str]:
        flows = [self._flow | changed | {"time": START + int(when * SECOND)} for when, _at, _payload in segments]
        offsets, payloads = [at for _when, at, _payload in segments], [payload for *_, payload in segments]
        found = rows(*self.grain.decode(drained("dns", payloads, *flows, offsets=offsets)))
        self.received += len(segments)
        self.told += len(found)
        return [row["q_name"] for row in found]

    def end(self) -> list[str]:
        """The names of the records that were still to come."""
        self.grain.finish()
        return [row["q_name"] for row in rows(*self.grain.poll())]

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Parts, malformed, cut and unfinished, of an account that adds up."""
        grain = self.grain
        assert self.received + grain.further == self.told + grain.malformed + grain.cut + grain.parts
        return grain.parts, grain.malformed, grain.cut, grain.unfinished


def test_a_stream_goes_on_after_any_time_of_silence() -> None:
    sent = Connection()
    told = [sent.send(40.0 * number, PLACES[number], MESSAGES[number]) for number in range(len(NAMES))]
    assert told == [[name] for name in NAMES]
    assert (sent.counts, sent.end()) == ((0, 0, 0, 0), [])


def test_a_stream_goes_on_after_a_silence_in_which_it_was_let_go_of_for_lack_of_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire_stream, "STREAMS", 5)
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0]) == NAMES[:1]
    for port in range(1, 5):
        sent.send(0.1, 0, MESSAGES[0], s_port=port)
    assert sent.send(0.2, PLACES[1], MESSAGES[1]) == [NAMES[1]]
    for port in range(11, 16):
        sent.send(0.3, 0, MESSAGES[0], s_port=port)
    assert sent.send(0.4, PLACES[2], MESSAGES[2]) == [NAMES[2]]
    assert sent.counts == (0, 0, 0, 0)


def test_of_a_message_that_was_begun_before_a_long_silence_the_end_is_cut_and_what_follows_is_told() -> None:
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0] + MESSAGES[1][:10]) == NAMES[:1]
    assert sent.send(60, PLACES[1] + 10, MESSAGES[1][10:]) == []
    assert sent.send(61, PLACES[2], MESSAGES[2]) == [NAMES[2]]
    assert sent.counts == (0, 0, 1, 1)


def test_behind_a_lost_segment_the_stream_goes_on_with_the_next_that_begins_a_message() -> None:
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0]) == NAMES[:1]
    assert sent.send(1, PLACES[2], MESSAGES[2]) == []  # MESSAGES[1] may still come
    assert sent.send(1.4, PLACES[3], MESSAGES[3]) == []
    assert sent.send(1.5, PLACES[4], MESSAGES[4]) == [NAMES[2], NAMES[3], NAMES[4]]
    assert sent.send(2, PLACES[5], MESSAGES[5]) == [NAMES[5]]
    assert sent.counts == (2, 0, 0, 0)


def test_a_segment_that_only_comes_late_costs_nothing() -> None:
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0]) == NAMES[:1]
    assert sent.send(1, PLACES[2], MESSAGES[2]) == []
    assert sent.send(1.4, PLACES[1], MESSAGES[1]) == NAMES[1:3]
    assert sent.counts == (1, 0, 0, 0)


def test_a_message_into_which_a_gap_cuts_is_unfinished_and_segments_of_no_use_are_cut() -> None:
    long = stream(message([("a.test", "A")], [("a.test", "TXT", "x" * 200)] * 5, flags=0x8000))
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0] + long[:100]) == NAMES[:1]
    assert sent.send(1, SIZE + 200, long[200:300]) == []  # what is between is missing
    assert sent.send(2, SIZE + 300, long[300:]) == []
    assert sent.send(3, SIZE + len(long), MESSAGES[1]) == [NAMES[1]]
    assert sent.counts == (1, 0, 2, 1)


def test_several_gaps_are_given_up_one_after_the_other() -> None:
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0]) == NAMES[:1]
    assert sent.send(1.0, PLACES[2], MESSAGES[2]) == []
    assert sent.send(1.3, PLACES[4], MESSAGES[4]) == []
    assert sent.send(1.6, PLACES[6], MESSAGES[6]) == [NAMES[2]]
    assert sent.send(2.2, PLACES[7], MESSAGES[7]) == [NAMES[4], NAMES[6], NAMES[7]]
    assert sent.counts == (3, 0, 0, 0)


def test_more_segments_than_may_wait_need_not_wait() -> None:
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0]) == NAMES[:1]
    late = [(1 + number / 1e6, 1000 + SIZE * number, MESSAGES[number % 8]) for number in range(wire_stream.PIECES + 1)]
    assert len(sent.send_all(late)) == wire_stream.PIECES + 1
    assert sent.counts == (wire_stream.PIECES, 0, 0, 0)


def test_what_waits_is_told_by_time_alone_with_the_packet_that_it_came_in() -> None:
    grain = DNS()
    flows = [CLIENT | {"time": 1000 * number, "uid": number} for number in range(3)]
    events = drained("dns", [MESSAGES[0], MESSAGES[2], MESSAGES[3]], *flows, offsets=[0, PLACES[2], PLACES[3]])
    assert [row["q_name"] for row in rows(*grain.decode(events))] == NAMES[:1]
    assert (grain.parts, grain.further) == (2, 0)
    told = rows(*grain.poll())  # of this machine's clock, to which these packets are long past
    assert [(row["q_name"], row["uid"]) for row in told] == [(NAMES[2], 1), (NAMES[3], 2)]
    assert rows(*grain.poll()) == []


def test_what_waits_at_the_end_is_told_with_the_last_poll() -> None:
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0]) == NAMES[:1]
    assert sent.send(0.1, PLACES[2], MESSAGES[2]) == []
    assert sent.send(0.2, PLACES[4], MESSAGES[4]) == []
    assert sent.end() == [NAMES[2], NAMES[4]]
    assert sent.counts == (2, 0, 0, 0)


def test_a_stream_of_which_the_beginning_is_lost_is_told_from_the_first_segment_that_begins_a_message() -> None:
    sent = Connection()
    assert sent.send(0, PLACES[1] + 5, MESSAGES[1][5:]) == []
    assert sent.send(0.1, PLACES[2], MESSAGES[2]) == []
    assert sent.send(0.7, PLACES[3], MESSAGES[3]) == NAMES[2:4]
    assert sent.send(0.8, PLACES[4], MESSAGES[4]) == [NAMES[4]]


def test_a_length_that_no_message_has_is_malformed_and_the_next_segment_may_begin_a_message() -> None:
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0] + stream(b"too short") + MESSAGES[1]) == NAMES[:1]
    at = 2 * SIZE + len(stream(b"too short"))
    assert sent.send(0, at, MESSAGES[2][3:]) == []
    assert sent.send(0, at + SIZE - 3, MESSAGES[3]) == [NAMES[3]]
    assert sent.counts == (0, 1, 1, 0)


@pytest.mark.parametrize("cut", range(1, SIZE))
def test_behind_a_gap_a_message_over_several_segments_is_told_also_where_the_first_are_short(cut: int) -> None:
    """Many clients send the two bytes of the length in a segment of their own."""
    sent = Connection()
    assert sent.send(0, 0, MESSAGES[0] + MESSAGES[1][:-1]) == NAMES[:1]
    assert sent.send(1, PLACES[2] + 7, MESSAGES[2][7:]) == []
    told = sent.send(2, PLACES[3], MESSAGES[3][:cut]) + sent.send(2, PLACES[3] + cut, MESSAGES[3][cut:])
    assert told == [NAMES[3]]
    assert sent.send(3, PLACES[4], MESSAGES[4]) == [NAMES[4]]
    assert sent.counts == (2, 0, 1, 1)


def test_what_only_looks_like_the_beginning_of_a_message_begins_no_stream_of_which_nothing_else_is_known() -> None:
    lacking = MESSAGES[0][:13] + b"\x01" + MESSAGES[0][14:]  # one more record, of which nothing is there
    alike = [MESSAGES[0][:-3], lacking, stream(MESSAGES[0][2:-2])]
    assert all(map(begins_message, alike))
    sent = Connection()
    for number, payload in enumerate(alike * 3, 1):
        assert sent.send(number, 1000 * number, payload) == []
    assert sent.end() == []
    assert sent.counts == (9, 0, 0, 0)


def test_of_what_may_be_anything_nothing_is_counted_as_lost() -> None:
    sent = Connection(direction=IN)
    for number in range(1, 10):
        assert sent.send(number, 1448 * number, b"body of a download" * 10) == []
    assert sent.end() == []
    assert sent.counts == (9, 0, 0, 0)


def test_latency_is_from_the_packets_in_which_query_and_answer_came() -> None:
    sent = Connection()
    back = {"direction": IN, "s_ip": "192.0.2.53", "s_port": 53, "d_ip": "192.0.2.9", "d_port": 40000}
    one, two = (stream(answer(name, "A", number=number)) for number, name in enumerate(NAMES[:2]))
    sent.send(0, 0, MESSAGES[0] + MESSAGES[1])
    flow = CLIENT | back
    events = drained(
        "dns", [one[:20], two, MESSAGES[2]],
        *(flow | {"time": START + SECOND * when} for when in (1, 2)), CLIENT | {"time": START + 9 * SECOND},
        offsets=[0, len(one) + 5, 2 * SIZE],
    )  # fmt: skip
    told = [row for row in rows(*sent.grain.decode(events)) if row["measurement"] == "dns.answer"]
    assert [(row["q_name"], row["latency_ns"]) for row in told] == [(NAMES[1], 2 * SECOND)]


@given(st.data())
def test_whatever_is_lost_all_messages_in_segments_of_their_own_that_came_are_told(data: st.DataObject) -> None:
    came = data.draw(st.lists(st.integers(0, len(NAMES) - 1), unique=True, max_size=len(NAMES)))
    apart = data.draw(st.lists(st.sampled_from([0, 0.1, 1, 50]), min_size=len(came), max_size=len(came)))
    sent, told, when = Connection(), [], 0.0
    for number, pause in zip(sorted(came), apart, strict=True):
        when += pause
        told += sent.send(when, PLACES[number], MESSAGES[number])
    told += sent.end()
    assert told == [NAMES[number] for number in sorted(came)]
    assert sent.counts[1:] == (0, 0, 0)


@given(st.data())
def test_whatever_comes_and_whenever_the_account_adds_up_and_nothing_is_held_at_the_end(data: st.DataObject) -> None:
    whole = b"".join(MESSAGES)
    sent, when = Connection(), 0.0
    for _ in range(data.draw(st.integers(1, 30))):
        at, size = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 60))
        when += data.draw(st.sampled_from([0, 0.2, 0.6, 40]))
        payload = bytearray(whole[at : at + size])
        if data.draw(st.integers(0, 9)) == 0:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        sent.send(when, at, bytes(payload))
        assert sent.counts
    sent.end()
    streams = sent.grain._streams
    assert (len(streams), streams.held, streams._streams.pieces, len(streams._gaps)) == (0, 0, 0, 0)


def test_idle_streams_are_remembered_in_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_stream, "STREAMS", 20)
    sent = Connection()
    for port in range(1, 101):
        sent.send(0, 0, MESSAGES[0], s_port=port)
    sent.end()
    assert len(sent.grain._streams._idle) == 20
    assert sent.send(1, PLACES[1], MESSAGES[1], s_port=100) == [NAMES[1]]
    assert sent.send(1, PLACES[1], MESSAGES[1], s_port=1) == []


MULTICAST = message([], [("b.local", "PTR", "c.local.")], flags=0x8400, number=0)


@pytest.mark.parametrize(
    ("segment", "begins"),
    [
        (MESSAGES[0], True),
        (MESSAGES[0][:15], True),
        (MESSAGES[0][:14], False),
        (stream(answer("a.test", "A", "192.0.2.1")), True),
        (stream(MULTICAST), True),
        (b"\x00\x0c" + MESSAGES[0][2:], False),  # a length without a question
        (MESSAGES[0][:4] + b"\x28" + MESSAGES[0][5:], True),  # an update
        (MESSAGES[0][:4] + b"\xa8" + MESSAGES[0][5:], False),  # what answers one: no stream begins with that
        (MESSAGES[0][:4] + b"\x20" + MESSAGES[0][5:6] + b"\0\2" + MESSAGES[0][8:], False),  # a notice of two zones
        (MESSAGES[0][:4] + b"\x10" + MESSAGES[0][5:], False),  # a request of status, which nobody answers
        (b"\0\x18\0\1\x30" + bytes(9) + b"\0\1\0\x08" + bytes(8), True),  # a keepalive
        (b"\0\x18\0\1\x30" + bytes(8) + b"\1\0\1\0\x08" + bytes(8), False),  # with a record
        (MESSAGES[0][:6] + b"\x00\x41" + MESSAGES[0][8:], False),  # 65 questions
        (MESSAGES[0][:8] + b"\x10\x01" + MESSAGES[0][10:], False),  # 4,097 answers
        (MESSAGES[0][:14] + b"\xc0" + MESSAGES[0][15:], False),  # a question that begins with a pointer
        (bytes(40), False),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n", False),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), False),
    ],
)
def test_a_message_is_told_from_anything_else_by_its_beginning(segment: bytes, begins: bool) -> None:  # noqa: FBT001
    assert begins_message(segment) == begins

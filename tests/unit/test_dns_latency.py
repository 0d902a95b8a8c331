"""How long an answer took, and whether its query was seen: by all that an answer has in common with its query."""

from __future__ import annotations

from typing import Any

import pytest
from dns_messages import answer, message, query, stream
from packets import IN, OUT, UNKNOWN, drained, rows

from ingrain.grains import queries
from ingrain.grains.dns import DNS

MILLISECOND = 1_000_000
START = 5_000_000_000_000
CLIENT = {
    "pid": 4711, "cgroup_id": 77, "direction": OUT,
    "s_ip": "192.0.2.9", "s_port": 40000, "d_ip": "192.0.2.53", "d_port": 53,
}  # fmt: skip

Flow = dict[str, Any]


def at(milliseconds: int, flow: Flow = CLIENT, **changed: Any) -> Flow:
    return flow | {"time": START + milliseconds * MILLISECOND} | changed


def back(milliseconds: int, flow: Flow = CLIENT, **changed: Any) -> Flow:
    """The way that the answer takes, at the same socket."""
    ends = {"s_ip": flow["d_ip"], "s_port": flow["d_port"], "d_ip": flow["s_ip"], "d_port": flow["s_port"]}
    turned = {OUT: IN, IN: OUT, UNKNOWN: UNKNOWN}[flow["direction"]]
    return at(milliseconds, flow | ends | {"direction": turned}, **changed)


def latencies(grain: DNS, *messages: tuple[bytes, Flow]) -> list[tuple[bool, int]]:
    """Of the answers among them: whether the query was seen, and the latency in nanoseconds."""
    payloads, flows = [payload for payload, _flow in messages], [flow for _payload, flow in messages]
    found = rows(*grain.decode(drained("dns", payloads, *flows)))
    return [(row["query_seen"], row["latency_ns"]) for row in found if row["measurement"] == "dns.answer"]


def test_an_answer_has_the_nanoseconds_since_its_query() -> None:
    asked, answered = (query("a.test"), at(0)), (answer("a.test", "A", "192.0.2.1"), back(0, time=START + 1_234_567))
    assert latencies(DNS(), asked, answered) == [(True, 1_234_567)]


def test_a_server_s_answer_has_the_nanoseconds_since_the_query_came() -> None:
    came = CLIENT | {"direction": IN, "pid": 53}
    assert latencies(DNS(), (query("a.test"), at(0, came)), (answer("a.test", "A"), back(7, came))) == [
        (True, 7 * MILLISECOND)
    ]


def test_packets_of_a_capture_which_have_no_direction_find_their_query() -> None:
    captured = CLIENT | {"direction": UNKNOWN, "pid": 0, "cgroup_id": 0}
    assert latencies(DNS(), (query("a.test"), at(0, captured)), (answer("a.test", "A"), back(7, captured))) == [
        (True, 7 * MILLISECOND)
    ]


def test_query_and_answer_may_come_in_different_drains() -> None:
    grain = DNS()
    assert latencies(grain, (query("a.test"), at(0))) == []
    assert latencies(grain, (answer("a.test", "A"), back(40))) == [(True, 40 * MILLISECOND)]


def test_of_a_query_that_was_sent_again_the_last_time_counts() -> None:
    sent_twice = (query("a.test"), at(0)), (query("a.test"), at(5000))
    assert latencies(DNS(), *sent_twice, (answer("a.test", "A"), back(5020))) == [(True, 20 * MILLISECOND)]


def test_a_second_answer_has_the_same_query() -> None:
    first, second = (answer("a.test", "A"), back(10)), (answer("a.test", "A"), back(30))
    assert latencies(DNS(), (query("a.test"), at(0)), first, second) == [
        (True, 10 * MILLISECOND),
        (True, 30 * MILLISECOND),
    ]


def test_case_of_the_name_may_differ() -> None:
    assert latencies(DNS(), (query("A.tEst"), at(0)), (answer("a.Test", "A"), back(1))) == [(True, MILLISECOND)]


@pytest.mark.parametrize(
    ("payload", "flow"),
    [
        pytest.param(answer("a.test", "A", number=2), back(10), id="another id"),
        pytest.param(answer("b.test", "A"), back(10), id="another name"),
        pytest.param(answer("a.test", "AAAA"), back(10), id="another type"),
        pytest.param(answer("a.test", "A"), back(10, d_port=40001), id="another port of the client"),
        pytest.param(answer("a.test", "A"), back(10, s_ip="192.0.2.66"), id="another server"),
        pytest.param(answer("a.test", "A"), back(10, cgroup_id=78), id="another container, which has the same address"),
        pytest.param(answer("a.test", "A"), at(10), id="the same way as the query"),
        pytest.param(answer("a.test", "A"), back(10, direction=OUT), id="the server's socket, where no query was seen"),
        pytest.param(answer("a.test", "A"), back(-1), id="before the query"),
        pytest.param(answer("a.test", "A"), back(60_001), id="more than a minute later"),
    ],
)
def test_an_answer_to_anything_else_is_marked_and_has_no_latency(payload: bytes, flow: Flow) -> None:
    grain = DNS()
    latencies(grain, (query("a.test"), at(0)))
    assert latencies(grain, (payload, flow)) == [(False, 0)]


def test_several_clients_with_the_same_id_and_name_have_their_own_latencies() -> None:
    clients = [CLIENT | {"s_port": 40000 + number} for number in range(5)]
    asked = [(query("a.test"), at(number, client)) for number, client in enumerate(clients)]
    answered = [(answer("a.test", "A"), back(100, client)) for client in clients]
    assert latencies(DNS(), *asked, *answered) == [(True, (100 - number) * MILLISECOND) for number in range(5)]


def test_over_tcp_answers_may_come_in_another_order_than_their_queries() -> None:
    asked = stream(query("a.test", number=1), query("b.test", number=2))
    first = stream(answer("b.test", "A", number=2))
    flows = at(0), back(10), back(25)
    payloads = [asked, first, stream(answer("a.test", "A", number=1))]
    found = rows(*DNS().decode(drained("dns", payloads, *flows, offsets=[0, 0, len(first)])))
    assert [(row["q_name"], row["latency_ns"]) for row in found if row["measurement"] == "dns.answer"] == [
        ("b.test", 10 * MILLISECOND),
        ("a.test", 25 * MILLISECOND),
    ]


def test_buffers_of_several_cpus_are_read_in_the_order_of_time() -> None:
    grain = DNS()
    assert latencies(grain, (answer("a.test", "A"), back(9)), (query("a.test"), at(0))) == [(True, 9 * MILLISECOND)]


def test_each_question_of_a_message_has_its_own_latency() -> None:
    both = message([("a.test", "A"), ("a.test", "AAAA")])
    answers = answer("a.test", "AAAA"), answer("a.test", "A")
    assert latencies(DNS(), (both, at(0)), (answers[0], back(3)), (answers[1], back(8))) == [
        (True, 3 * MILLISECOND),
        (True, 8 * MILLISECOND),
    ]


def test_queries_that_nobody_answers_are_forgotten_in_time() -> None:
    grain = DNS()
    latencies(grain, *((query("a.test"), at(0, s_port=port)) for port in range(1, 1000)))
    latencies(grain, (query("b.test"), at(61_000)))
    assert len(grain._queries) == 1


def test_a_query_is_known_for_a_minute_whatever_else_is_asked_slowly() -> None:
    grain = DNS()
    latencies(grain, (query("a.test"), at(0)))
    for second in range(1, 60):
        latencies(grain, (query("b.test", number=second), at(second * 1000)))
    assert latencies(grain, (answer("a.test", "A"), back(60_000))) == [(True, 60_000 * MILLISECOND)]


def test_under_a_flood_of_queries_the_oldest_are_forgotten_and_the_latest_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "QUERIES", 100)
    grain = DNS()
    for port in range(1, 1051):
        latencies(grain, (query("a.test"), at(0, s_port=port)))
        assert len(grain._queries) <= 100
    assert latencies(grain, (answer("a.test", "A"), back(1, d_port=950))) == [(False, 0)]
    for port in range(951, 1051):
        assert latencies(grain, (answer("a.test", "A"), back(1, d_port=port))) == [(True, MILLISECOND)]


def test_queries_that_are_answered_take_the_room_of_none_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "QUERIES", 100)
    grain = DNS()
    waiting = [(query("a.test"), at(0, s_port=port)) for port in range(1, 101)]
    latencies(grain, *waiting[:99])
    for port in range(1001, 2001):
        asked, answered = (query("a.test"), at(1, s_port=port)), (answer("a.test", "A"), back(2, d_port=port))
        assert latencies(grain, asked, answered) == [(True, MILLISECOND)]
    latencies(grain, waiting[99])
    for port in range(1, 101):
        assert latencies(grain, (answer("a.test", "A"), back(9, d_port=port))) == [(True, 9 * MILLISECOND)]


def test_an_answer_that_is_sent_again_has_its_query_until_many_others_were_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "ANSWERED", 10)
    grain = DNS()
    for port in range(1, 41):
        asked, answered = (query("a.test"), at(0, s_port=port)), (answer("a.test", "A"), back(2, d_port=port))
        assert latencies(grain, asked, answered) == [(True, 2 * MILLISECOND)]
    again = [latencies(grain, (answer("a.test", "A"), back(5, d_port=port))) for port in range(1, 41)]
    assert again[-10:] == [[(True, 5 * MILLISECOND)]] * 10
    assert again[:10] == [[(False, 0)]] * 10

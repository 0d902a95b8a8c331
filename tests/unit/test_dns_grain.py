"""The DNS grain: a record for each message, with whose it was; what makes none is counted."""

from __future__ import annotations

import struct
import time

import pyarrow as pa
import pytest
from dns_messages import answer, query
from hypothesis import given
from hypothesis import strategies as st
from packets import IN, NO_CONTAINER, OUT, drained, rows

from ingrain.batch import TEXT
from ingrain.grains.dns import DNS
from ingrain.text import harmless

DIG = {
    "pid": 4711, "uid": 1000, "comm": b"dig", "cgroup_id": 77, "direction": OUT,
    "s_ip": "192.0.2.9", "s_port": 40000, "d_ip": "192.0.2.53", "d_port": 5300,
}  # fmt: skip
SERVER = {
    "pid": 53, "uid": 0, "comm": b"dnsmasq", "cgroup_id": 78, "direction": IN,
    "s_ip": "2001:db8::9", "s_port": 40001, "d_ip": "2001:db8::53", "d_port": 53,
}  # fmt: skip


def test_a_query_and_an_answer_become_records_with_their_process_and_ends() -> None:
    grain = DNS()
    payloads = [query("www.a.test", "AAAA"), answer("www.a.test", "A", "192.0.2.1", "192.0.2.2", ttl=60)]
    asked, answered = rows(*grain.decode(drained("dns", payloads, DIG, SERVER)))
    assert {key: asked[key] for key in asked if key != "timestamp"} == {
        "measurement": "dns.query", "value": 1,
        "process": "dig", "process_id": 4711, "process_uid": None, "uid": 1000, "cgroup_id": 77, **NO_CONTAINER,
        "s_ip": "192.0.2.9", "s_port": 40000, "d_ip": "192.0.2.53", "d_port": 5300, "proto": "udp", "direction": "out",
        "q_name": "www.a.test", "q_type": "AAAA",
    }  # fmt: skip
    assert {key: answered[key] for key in answered if key != "timestamp"} == {
        "measurement": "dns.answer", "value": 1,
        "process": "dnsmasq", "process_id": 53, "process_uid": None, "uid": 0, "cgroup_id": 78, **NO_CONTAINER,
        "s_ip": "2001:db8::9", "s_port": 40001, "d_ip": "2001:db8::53", "d_port": 53, "proto": "udp", "direction": "in",
        "q_name": "www.a.test", "q_type": "A", "rcode": "NOERROR",
        "truncated": False, "query_seen": False, "latency_ns": 0,
        "answers": [
            {"name": "www.a.test", "type": "A", "data": "192.0.2.1", "ttl": 60},
            {"name": "www.a.test", "type": "A", "data": "192.0.2.2", "ttl": 60},
        ],
    }  # fmt: skip
    assert abs(asked["timestamp"] - time.time_ns()) < 60 * 10**9


def test_a_direction_that_there_is_not_is_unknown_and_costs_the_other_events_nothing() -> None:
    told = rows(*DNS().decode(drained("dns", [query("a.test"), query("b.test")], {"direction": 249}, DIG)))
    assert [(row["q_name"], row["direction"]) for row in told] == [("a.test", None), ("b.test", "out")]


def test_columns_are_those_of_the_measurements_names_within_lists_encoded_too() -> None:
    batches = list(DNS().decode(drained("dns", [query("a.test"), answer("a.test", "A", "192.0.2.1")])))
    assert [batch.records.schema for batch in batches] == [measurement.schema for measurement in DNS.measurements]
    assert batches[1].records.schema.field("answers").type == pa.list_(
        pa.struct([("name", TEXT), ("type", TEXT), ("data", TEXT), ("ttl", pa.uint32())])
    )
    for batch in batches:
        batch.records.validate(full=True)


def test_messages_that_repeat_are_all_records_and_in_their_order() -> None:
    names = ["a.test", "b.test", "a.test", "c.test", "b.test", "a.test"] * 50
    payloads = [
        answer(name, "A", f"192.0.2.{place % 3}", number=place) if place % 2 else query(name, number=place)
        for place, name in enumerate(names)
    ]
    flows = [{"s_port": place} for place in range(len(names))]
    told = rows(*DNS().decode(drained("dns", payloads, *flows)))
    for row in told:
        assert row["q_name"] == names[row["s_port"]]
        if row["measurement"] == "dns.answer":
            (one,) = row["answers"]
            assert one == {"name": row["q_name"], "type": "A", "data": f"192.0.2.{row['s_port'] % 3}", "ttl": 300}
    ports = [row["s_port"] for row in told]
    assert ports == [*range(0, len(names), 2), *range(1, len(names), 2)]


def test_an_answer_without_records_has_an_empty_list_and_its_rcode() -> None:
    (row,) = rows(*DNS().decode(drained("dns", [answer("nothing.test", "A", rcode=3)])))
    assert (row["rcode"], row["answers"]) == ("NXDOMAIN", [])


def test_an_answer_without_a_question_has_no_name() -> None:
    message = struct.pack("!HHHHHH", 1, 0x8400, 0, 0, 0, 0)
    (row,) = rows(*DNS().decode(drained("dns", [message])))
    assert (row["q_name"], row["q_type"], row["rcode"]) == (None, None, "NOERROR")


def test_an_empty_drain_makes_no_batch() -> None:
    assert not list(DNS().decode(drained("dns", [])))


def test_the_owner_is_null_where_it_is_not_known() -> None:
    known, unknown = rows(*DNS().decode(drained("dns", [query("a.test"), query("a.test")], DIG, DIG | {"pid": 0})))
    assert (known["process"], known["process_id"], known["uid"]) == ("dig", 4711, 1000)
    assert (unknown["process"], unknown["process_id"], unknown["uid"]) == (None, None, None)
    assert unknown["cgroup_id"] == 77


@pytest.mark.parametrize(
    ("comm", "shown"),
    [
        (b"x|c\nfoo:1", "x|c\\x0afoo:1"),
        (b"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        (b"\xc3\x28../../etc", "\\xc3(../../etc"),
        ("ex\u202etab".encode(), "ex\\u202etab"),
        (b"a" * 16, "a" * 16),
    ],
)
def test_a_hostile_process_name_stays_a_printable_value(comm: bytes, shown: str) -> None:
    (row,) = rows(*DNS().decode(drained("dns", [query("a.test")], DIG | {"comm": comm})))
    assert row["process"] == shown


def test_what_is_malformed_is_counted_and_the_rest_is_told() -> None:
    grain = DNS()
    broken = query("a.test")[:-20]
    loop = query("a.test")[:12] + b"\xc0\x0c\x00\x01\x00\x01"
    payloads = [query("a.test"), broken, b"", answer("b.test", "A", "192.0.2.1"), loop, query("c.test")]
    told = rows(*grain.decode(drained("dns", payloads)))
    assert [row["q_name"] for row in told] == ["a.test", "c.test", "b.test"]
    assert (grain.malformed, grain.cut) == (3, 0)


def test_a_message_that_was_captured_in_part_is_told_as_far_as_it_is_whole_or_counted_as_cut() -> None:
    grain = DNS()
    whole = answer("a.test", "A", "192.0.2.1", "192.0.2.2")
    parts = [whole[:-1], whole[:15]]  # less the end of its last answer; less that of its question
    (row,) = rows(*grain.decode(drained("dns", parts, sent=[len(whole)] * 2)))
    assert [one["data"] for one in row["answers"]] == ["192.0.2.1"]
    assert (grain.malformed, grain.cut) == (0, 1)


@given(
    st.lists(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(lambda junk: query("a.test")[:20] + junk)))
)
def test_every_event_is_a_record_of_safe_text_or_malformed_or_cut(payloads: list[bytes]) -> None:
    grain = DNS()
    longer = [len(payload) + (place % 2) for place, payload in enumerate(payloads)]
    told = rows(*grain.decode(drained("dns", payloads, sent=longer)))
    assert len(told) + grain.malformed + grain.cut == len(payloads)
    for row in told:
        texts = [row["q_name"] or "", row["q_type"] or ""]
        for one in row.get("answers", ()):
            texts += [one["type"], one["data"]]
        assert all(harmless(text) == text for text in texts)

"""DNS messages that are not one question with its answer: several questions, truncated, unknown types, multicast."""

from __future__ import annotations

import struct
from typing import Any

import dns.flags
import pytest
from dns_messages import Record, answer, message, query
from packets import IN, OUT, drained, rows

from ingrain.grains.dns import DNS
from ingrain.grains.lookups import Lookups

QR, AA, TC = int(dns.flags.QR), int(dns.flags.AA), int(dns.flags.TC)
AVAHI = {
    "pid": 99, "comm": b"avahi-daemon", "cgroup_id": 5, "direction": OUT,
    "s_ip": "192.0.2.9", "s_port": 5353, "d_ip": "224.0.0.251", "d_port": 5353,
}  # fmt: skip


def told(grain: DNS, *payloads: bytes, **fields: Any) -> list[dict[str, Any]]:
    return rows(*grain.decode(drained("dns", payloads, fields)))


def test_each_of_several_questions_is_a_record() -> None:
    grain = DNS()
    asked = [("printer.local", "A"), ("printer.local", "AAAA"), ("_ipp._tcp.local", "PTR")]
    found = told(grain, message(asked))
    assert [(row["q_name"], row["q_type"]) for row in found] == asked
    assert all(row["value"] == 1 for row in found)
    assert (grain.further, grain.parts) == (2, 0)


def test_an_answer_to_several_questions_is_a_record_for_each_with_all_that_was_answered() -> None:
    records = [("a.test", "A", "192.0.2.1"), ("a.test", "AAAA", "2001:db8::1")]
    found = told(DNS(), message([("a.test", "A"), ("a.test", "AAAA")], records, flags=QR))
    assert [(row["q_type"], [one["data"] for one in row["answers"]]) for row in found] == [
        ("A", ["192.0.2.1", "2001:db8::1"]),
        ("AAAA", ["192.0.2.1", "2001:db8::1"]),
    ]


def test_messages_with_several_questions_that_repeat_are_all_told() -> None:
    asked = [("a.test", "A"), ("b.test", "A")]
    found = told(DNS(), *[message(asked, number=number) for number in range(10)])
    assert [(row["q_name"], row["q_type"]) for row in found] == asked * 10


def test_an_answer_that_its_sender_cut_says_so_and_has_what_was_left() -> None:
    whole = message([("a.test", "A")], [("a.test", "A", "192.0.2.1")], flags=QR)
    empty = message([("a.test", "A")], flags=QR | TC)
    half = message([("a.test", "A")], [("a.test", "A", f"192.0.2.{n}") for n in range(3)], flags=QR | TC)[:-5]
    grain = DNS()
    assert [(row["truncated"], len(row["answers"])) for row in told(grain, whole, empty, half)] == [
        (False, 1),
        (True, 0),
        (True, 2),
    ]
    assert (grain.malformed, grain.cut) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("TYPE65280", r"\# 4 0a000001", r"\# 4 0a000001"),
        ("TYPE65280", r"\# 0", r"\# 0"),
        ("TYPE1000", r"\# 3 ff00fe", r"\# 3 ff00fe"),
    ],
)
def test_a_type_without_a_name_is_told_as_rfc_3597_writes_it(kind: str, data: str, shown: str) -> None:
    (asked,) = told(DNS(), query("a.test", kind))
    assert asked["q_type"] == kind
    (row,) = told(DNS(), answer("a.test", kind, data))
    assert row["q_type"] == kind
    assert [(one["type"], one["data"]) for one in row["answers"]] == [(kind, shown)]


def test_an_address_of_a_class_other_than_the_internet_s_is_not_told_as_one() -> None:
    internet, chaos = (struct.pack("!HHI", 1, number, 300) for number in (1, 3))  # type, class, ttl
    (row,) = told(DNS(), answer("a.test", "A", "192.0.2.1").replace(internet, chaos))
    assert [one["data"] for one in row["answers"]] == [r"\# 4 c0000201"]


def test_a_multicast_answer_has_no_question_but_names_of_its_own() -> None:
    records: list[Record] = [
        ("_ipp._tcp.local", "PTR", "Printer._ipp._tcp.local."),
        ("Printer._ipp._tcp.local", "SRV", "0 0 631 printer.local."),
        ("printer.local", "A", "192.0.2.7"),
    ]
    (row,) = told(DNS(), message([], records, flags=QR | AA, number=0), **AVAHI)
    assert (row["measurement"], row["q_name"], row["q_type"], row["rcode"]) == ("dns.answer", None, None, "NOERROR")
    assert row["answers"] == [
        {"name": "_ipp._tcp.local", "type": "PTR", "data": "Printer._ipp._tcp.local", "ttl": 120},
        {"name": "Printer._ipp._tcp.local", "type": "SRV", "data": "0 0 631 printer.local", "ttl": 120},
        {"name": "printer.local", "type": "A", "data": "192.0.2.7", "ttl": 120},
    ]
    assert (row["query_seen"], row["latency_ns"]) == (False, 0)
    assert (row["process"], row["d_ip"], row["d_port"]) == ("avahi-daemon", "224.0.0.251", 5353)


def test_a_multicast_query_that_tells_the_answers_that_it_has_is_a_query() -> None:
    wire = message([("_ipp._tcp.local", "PTR")], [("_ipp._tcp.local", "PTR", "known._ipp._tcp.local.")], number=0)
    (row,) = told(DNS(), wire, **AVAHI)
    assert (row["measurement"], row["q_name"], row["q_type"]) == ("dns.query", "_ipp._tcp.local", "PTR")


def test_bits_by_which_multicast_asks_for_a_unicast_answer_or_flushes_do_not_change_what_is_told() -> None:
    asked = query("printer.local")
    unicast = asked[:-2] + b"\x80\x01"  # RFC 6762 18.12: the upper bit of the question's class
    flushed = message([], [("printer.local", "A", "192.0.2.7")], flags=QR | AA, number=0)
    flushed = flushed.replace(struct.pack("!HHI", 1, 1, 120), struct.pack("!HHI", 1, 0x8001, 120))  # and 18.13
    first, second = told(DNS(), unicast, flushed, direction=IN)
    assert (first["q_name"], first["q_type"]) == ("printer.local", "A")
    assert [(one["name"], one["type"], one["data"]) for one in second["answers"]] == [
        ("printer.local", "A", "192.0.2.7")
    ]


def test_a_message_that_is_odd_in_part_is_told_and_counted_as_malformed() -> None:
    whole = answer("a.test", "A", "192.0.2.1")
    odd = whole[:-5] + b"\x03" + whole[-4:-1]  # an address of three bytes
    asked = query("b.test")
    more = asked[:11] + b"\x01" + asked[12:]  # one more record, of which nothing is there
    grain = DNS()
    found = told(grain, odd, more, odd)
    assert [row["q_name"] for row in found] == ["b.test", "a.test", "a.test"]
    assert [row["answers"][0]["data"] for row in found[1:]] == ["\\# 3 c00002"] * 2
    assert (grain.malformed, grain.further, grain.parts) == (3, 3, 0)


def test_an_odd_record_beside_an_address_does_not_hide_the_address_from_tls() -> None:
    grain = DNS()
    grain.lookups = Lookups()
    whole = message([("a.test", "A")], [("a.test", "TXT", "x"), ("a.test", "A", "192.0.2.1")], flags=QR)
    at = whole.index(b"\x01x")
    told(grain, whole[:at] + b"\x09" + whole[at + 1 :], direction=IN, pid=7, start=9, time=1)
    client, address = struct.pack("=QI", 9, 7), bytes(10) + b"\xff\xff\xc0\x00\x02\x01"
    assert grain.lookups.has(client, "a.test", address, 2) is True
    assert grain.malformed == 1

"""DNS messages off the wire: what dnspython reads in them, and nothing else, whatever the bytes."""

from __future__ import annotations

import re
import socket
import struct
import tracemalloc
from operator import attrgetter
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from dns.rdtypes.svcbbase import ParamKey
from hypothesis import given
from hypothesis import strategies as st

from ingrain.wire import dns_message, dns_registry
from ingrain.wire.dns_message import Message, decode, decode_cut
from ingrain.wire.kept import Kept
from ingrain.wire.malformed import Cut, Malformed

IN, A, AAAA = dns.rdataclass.IN, dns.rdatatype.A, dns.rdatatype.AAAA
IPV4HINT, IPV6HINT = ParamKey.IPV4HINT, ParamKey.IPV6HINT
MAPPED = bytes(10) + b"\xff\xff"
PRINTABLE = re.compile(r"[\x20-\x7e]*")

labels = st.one_of(st.from_regex(rb"[a-zA-Z0-9_-]{1,12}", fullmatch=True), st.binary(min_size=1, max_size=63))
names = st.lists(labels, max_size=5).filter(lambda parts: sum(map(len, parts)) + len(parts) < 255).map(
    lambda parts: dns.name.Name([*parts, b""])
)  # fmt: skip
u16 = st.integers(0, 0xFFFF)
wire_names = names.map(lambda name: bytes(name.to_wire() or b""))
addresses4, addresses6 = st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)
strings = st.binary(max_size=255).map(lambda text: bytes([len(text)]) + text)
protocols = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=3).map(
    lambda ids: b"".join(bytes([len(one)]) + one for one in ids)
)


def packed(form: str, *parts: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(lambda numbers: struct.pack(form, *numbers))


def joined(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


@st.composite
def bindings(draw: st.DrawFn) -> bytes:
    """RDATA of an SVCB or HTTPS record with parameters, in the order of their keys."""
    forms: dict[int, st.SearchStrategy[bytes]] = {
        1: protocols,
        3: packed("!H", u16),
        4: st.lists(addresses4, min_size=1, max_size=3).map(b"".join),
        5: st.binary(min_size=4, max_size=40).map(lambda configs: struct.pack("!H", len(configs)) + configs),
        6: st.lists(addresses6, min_size=1, max_size=3).map(b"".join),
        667: st.binary(max_size=40),
    }
    rdata = struct.pack("!H", draw(st.integers(1, 0xFFFF))) + draw(wire_names)
    for key in sorted(draw(st.sets(st.sampled_from(sorted(forms))))):
        value = draw(forms[key])
        rdata += struct.pack("!HH", key, len(value)) + value
    return rdata


RDATA = {
    "A": addresses4,
    "AAAA": addresses6,
    "NS": wire_names,
    "CNAME": wire_names,
    "PTR": wire_names,
    "MX": joined(packed("!H", u16), wire_names),
    "SRV": joined(packed("!HHH", u16, u16, u16), wire_names),
    "SOA": joined(wire_names, wire_names, packed("!IIIII", *[st.integers(0, 2**32 - 1)] * 5)),
    "TXT": st.lists(strings, min_size=1, max_size=4).map(b"".join),
    "HTTPS": bindings(),
    "SVCB": bindings(),
    "TYPE65280": st.binary(max_size=60),
}


@st.composite
def rrsets(draw: st.DrawFn, owners: st.SearchStrategy[dns.name.Name]) -> dns.rrset.RRset:
    kind = draw(st.sampled_from(sorted(RDATA)))
    wire = draw(RDATA[kind])
    rdata = dns.rdata.from_wire(IN, dns.rdatatype.from_text(kind), wire, 0, len(wire))
    return dns.rrset.from_rdata(draw(owners), draw(st.integers(0, 2**31 - 1)), rdata)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message as dnspython writes it: names that repeat are compressed."""
    asked = draw(names)
    owners = st.one_of(st.just(asked), names)
    message = dns.message.Message(draw(u16))
    types = st.sampled_from([1, 2, 5, 6, 12, 15, 16, 28, 33, 65, 255, 65280])
    question = dns.rrset.RRset(asked, IN, dns.rdatatype.RdataType.make(draw(types)))
    message.question.append(question)
    if draw(st.booleans()):
        message.use_edns(0, payload=1232)
    if draw(st.booleans()):
        message.flags |= dns.flags.QR | (dns.flags.TC if draw(st.booleans()) else 0)
        known = [int(code) for code in dns.rcode.Rcode if code < (4096 if message.edns >= 0 else 16)]
        message.set_rcode(dns.rcode.Rcode.make(draw(st.sampled_from(known))))
        message.answer += draw(st.lists(rrsets(owners), max_size=5))
        message.authority += draw(st.lists(rrsets(owners), max_size=2))
        message.additional += draw(st.lists(rrsets(owners), max_size=2))
    return bytes(message.to_wire(max_size=65535))


def texts(message: Message) -> list[str]:
    found = [message.rcode]
    for name, kind in message.questions:
        found += [name, kind]
    for name, kind, data, _ttl in message.answers:
        found += [name, kind, data]
    return found


def addresses_of(record: Any) -> list[str]:
    """Those in a record, as dnspython has it: hints of how a service is reached, too (RFC 9460 7.3)."""
    if record.rdtype in {A, AAAA}:
        return [record.address]
    hints = (getattr(record, "params", {}).get(key) for key in (IPV4HINT, IPV6HINT))
    return [address for hint in hints if hint for address in hint.addresses]


def mapped(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, address if ":" in address else f"::ffff:{address}")


@given(messages())
def test_a_message_says_what_dnspython_reads_in_it(wire: bytes) -> None:
    theirs = dns.message.from_wire(wire, one_rr_per_rrset=True)
    ours = decode(wire)
    assert ours.is_answer == bool(theirs.flags & dns.flags.QR)
    assert ours.rcode == dns.rcode.to_text(theirs.rcode())
    assert ours.questions == tuple(
        (one.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(one.rdtype)) for one in theirs.question
    )
    assert ours.truncated == bool(theirs.flags & dns.flags.TC)
    assert [(name, kind, ttl) for name, kind, _data, ttl in ours.answers] == [
        (one.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(one.rdtype), one.ttl) for one in theirs.answer
    ]
    assert ours.addresses == tuple(mapped(text) for one in theirs.answer for text in addresses_of(one[0]))
    for (_name, kind, data, _ttl), one in zip(ours.answers, theirs.answer, strict=True):
        read_back = dns.rdata.from_text(IN, dns.rdatatype.from_text(kind), data, dns.name.root, relativize=False)
        assert read_back.to_wire() == one[0].to_wire(), data
    assert all(PRINTABLE.fullmatch(text) for text in texts(ours))


def test_names_of_types_are_those_that_dnspython_has() -> None:
    theirs = {int(kind): dns.rdatatype.to_text(kind) for kind in dns.rdatatype.RdataType}
    assert {number: dns_registry.type_name(number) for number in theirs} == theirs


def header(flags: int = 0x8180, questions: int = 1, answers: int = 0, additionals: int = 0) -> bytes:
    return struct.pack("!HHHHHH", 7, flags, questions, answers, 0, additionals)


QUESTION = b"\x03www\x01a\x04test\x00" + struct.pack("!HH", 1, 1)  # from offset 12 on
NAME = b"\xc0\x0c"  # a pointer to it


def record(owner: bytes, kind: int, data: bytes, *, ttl: int = 60, length: int | None = None) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data) if length is None else length) + data


ANSWER = (
    header(answers=3, additionals=1)
    + QUESTION
    + record(NAME, 5, b"\x01b\xc0\x10")
    + record(b"\x01b\xc0\x10", 1, bytes([192, 0, 2, 1]))
    + record(b"\x01b\xc0\x10", 16, b"\x03one\x03two")
    + record(b"\x00", 41, b"", ttl=0)
)


def said(message: Message) -> Message:
    return message._replace(size=0)


def test_an_answer_is_told_as_in_a_master_file() -> None:
    assert said(decode(ANSWER)) == Message(
        is_answer=True,
        rcode="NOERROR",
        truncated=False,
        questions=(("www.a.test", "A"),),
        answers=(
            ("www.a.test", "CNAME", "b.a.test", 60),
            ("b.a.test", "A", "192.0.2.1", 60),
            ("b.a.test", "TXT", '"one" "two"', 60),
        ),
        addresses=(MAPPED + bytes([192, 0, 2, 1]),),
    )


def test_messages_that_say_the_same_under_another_id_are_one_object() -> None:
    assert decode(ANSWER) is decode(b"\xff\xff" + ANSWER[2:])


@pytest.mark.parametrize("size", range(len(ANSWER)))
def test_a_message_that_ends_anywhere_before_its_end_is_malformed_and_told_from_its_question_on(size: int) -> None:
    if size < len(header() + QUESTION):
        with pytest.raises(Malformed):
            decode(ANSWER[:size])
    else:
        assert decode(ANSWER[:size]) == decode_cut(ANSWER[:size])._replace(malformed=True)


@pytest.mark.parametrize("size", range(len(ANSWER)))
def test_a_message_that_was_captured_in_part_has_its_whole_answers_and_no_other(size: int) -> None:
    ends = [len(header() + QUESTION)]
    for kind, data in ((NAME, b"\x01b\xc0\x10"), (b"\x01b\xc0\x10", bytes(4)), (b"\x01b\xc0\x10", bytes(8))):
        ends.append(ends[-1] + len(record(kind, 1, data)))
    if size < ends[0]:
        with pytest.raises(Cut):
            decode_cut(ANSWER[:size])
    else:
        whole = sum(size >= end for end in ends[1:])
        answers, addresses = decode(ANSWER).answers[:whole], decode(ANSWER).addresses[: whole > 1]
        assert said(decode_cut(ANSWER[:size])) == said(decode(ANSWER))._replace(answers=answers, addresses=addresses)


def test_what_a_sender_cut_to_fit_has_the_answers_that_are_whole() -> None:
    truncated = header(flags=0x8380, answers=2) + QUESTION + record(NAME, 1, bytes(4))
    assert decode(truncated).answers == (("www.a.test", "A", "0.0.0.0", 60),)
    assert decode(truncated).truncated


def test_padding_behind_a_message_does_not_hide_it() -> None:
    assert decode(ANSWER + b"padding") == decode(ANSWER)


LONG = b"".join(b"\x3f" + bytes([letter]) * 63 for letter in b"abc")  # 192 bytes of a name


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(header(0x0100) + b"\xc0\x0c\x00\x01\x00\x01", id="a pointer to itself"),
        pytest.param(header(0x0100) + b"\xc0\x20\x00\x01\x00\x01" + b"\x00" * 32, id="a pointer forwards"),
        pytest.param(header(0x0100) + b"\xc0\x00\x00\x01\x00\x01", id="a pointer into the header"),
        pytest.param(header(0x0100) + b"\x01a\xc0\x0c\x00\x01\x00\x01", id="a name that points to its own beginning"),
        pytest.param(header(0x0100) + b"\x40" + b"a" * 64 + b"\x00\x00\x01\x00\x01", id="a label type of 01"),
        pytest.param(header(0x0100) + b"\x80aaaaa\x00\x00\x01\x00\x01", id="a label type of 10"),
        pytest.param(header(0x0100) + LONG + LONG + b"\x00\x00\x01\x00\x01", id="a name of 385 bytes"),
        pytest.param(header(questions=2), id="two questions, of which none is there"),
    ],
)
def test_a_message_of_which_not_even_a_question_can_be_read_is_malformed(broken: bytes) -> None:
    for read in (decode, decode_cut):
        with pytest.raises(Malformed if read is decode or len(broken) > len(header()) else Cut):
            read(broken)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        pytest.param(1, bytes(5), id="an address of 5 bytes"),
        pytest.param(28, bytes(4), id="an IPv6 address of 4 bytes"),
        pytest.param(5, b"\x01b\xc0\x10!", id="data behind a name"),
        pytest.param(5, b"\xc0\xff", id="a name that points forwards"),
        pytest.param(2, b"\x3fabc", id="a name beyond its record"),
        pytest.param(15, b"\x00", id="half a preference"),
        pytest.param(6, NAME + NAME + bytes(19), id="a short SOA"),
        pytest.param(16, b"\x09text", id="a text beyond its record"),
        pytest.param(33, b"\x00\x01", id="a third of an SRV"),
        pytest.param(65, b"\x00\x01\x00" + struct.pack("!HH", 1, 9) + b"\x02h2", id="a parameter beyond its record"),
        pytest.param(64, b"\x00\x01\x00" + struct.pack("!HHHH", 2, 0, 1, 0), id="parameters out of order"),
        pytest.param(65, b"\x00\x01\x00" + struct.pack("!HH", 4, 3) + b"abc", id="a hint of 3 bytes"),
    ],
)
def test_a_record_with_odd_data_is_told_as_its_bytes_and_hides_nothing(kind: int, data: bytes) -> None:
    before, behind = record(NAME, 1, bytes([192, 0, 2, 1])), record(NAME, 1, bytes([192, 0, 2, 2]))
    wire = header(answers=3) + QUESTION + before + record(NAME, kind, data) + behind
    for told in (decode(wire), decode(wire), decode_cut(wire)):
        assert told.malformed
        assert told.questions == (("www.a.test", "A"),)
        assert [answer[2] for answer in told.answers] == ["192.0.2.1", f"\\# {len(data)} {data.hex()}", "192.0.2.2"]
        assert told.addresses == tuple(MAPPED + bytes([192, 0, 2, last]) for last in (1, 2))
    (rdata,) = [answer[2] for answer in decode(wire).answers[1:2]]
    assert dns.rdata.from_text(IN, dns.rdatatype.TYPE0, rdata).to_wire() == data  # RFC 3597 5, as dnspython reads it


A_RECORD = record(NAME, 1, bytes([192, 0, 2, 1]))


@pytest.mark.parametrize(
    ("behind", "answers"),
    [
        pytest.param(header(answers=2) + QUESTION + A_RECORD + record(NAME, 1, bytes(4), length=400), 1, id="too long"),
        pytest.param(header(answers=2) + QUESTION + A_RECORD + record(b"\xc0\xff", 1, bytes(4)), 1, id="forwards"),
        pytest.param(header(answers=2) + QUESTION + A_RECORD + record(b"\x80a", 1, bytes(4)), 1, id="an odd label"),
        pytest.param(
            header(answers=2) + QUESTION + A_RECORD + record(LONG + LONG[:64] + NAME, 1, bytes(4)), 1, id="a long name"
        ),
        pytest.param(header(answers=0xFFFF) + QUESTION, 0, id="65,535 answers, of which none is there"),
        pytest.param(header(additionals=1) + QUESTION, 0, id="one more record, of which nothing is there"),
        pytest.param(
            header(additionals=2) + QUESTION + 2 * record(b"\x00", 41, b"", ttl=1 << 24), 0, id="two OPT records"
        ),
        pytest.param(header(questions=0xFFFF) + QUESTION, 0, id="65,535 questions, of which one is there"),
        pytest.param(header(questions=2) + QUESTION + b"\xc0\xff\x00\x01\x00\x01", 0, id="two, and one is broken"),
    ],
)
def test_what_was_read_is_told_whatever_is_wrong_behind_it(behind: bytes, answers: int) -> None:
    told = decode(behind)
    assert told.malformed
    assert told.questions == (("www.a.test", "A"),)
    assert [answer[2] for answer in told.answers] == ["192.0.2.1"] * answers


def test_of_very_many_questions_as_many_are_told_as_the_kernel_half_lets_through() -> None:
    told = decode(header(questions=1000) + QUESTION * 1000)
    assert (len(told.questions), told.malformed) == (64, True)


def test_what_is_kept_is_bounded_by_bytes_and_long_messages_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept[bytes, Message](1 << 20, attrgetter("size"))
    monkeypatch.setattr(dns_message, "_kept", kept)
    name = b"\x3f" + bytes(63) + b"\x3f" + bytes(63) + b"\x00"  # 128 bytes on the wire, 513 as text
    tracemalloc.start()
    for number in range(4000):
        question = name + struct.pack("!HH", 1, 1)
        mx = record(NAME, 15, struct.pack("!H", number) + NAME)
        decode(header(answers=20) + question + mx * 20)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < kept.count < 100
    assert held < 2 << 20


def test_a_chain_of_8000_pointers_is_followed_once() -> None:
    links = range(26, 16382, 2)
    chain = b"\x01a\x00" + b"".join(struct.pack("!H", 0xC000 | to) for to in (23, *links[:-1]))
    first = record(b"\x00", 65280, chain)  # its data begins at offset 23; a pointer stands at each of `links`
    ends = [record(b"\x00", 2, struct.pack("!H", 0xC000 | to)) for to in reversed(links)]
    message = header(questions=0, answers=1 + len(ends)) + first + b"".join(ends)
    assert [data for _name, _type, data, _ttl in decode(message).answers[1:]] == ["a"] * len(links)


@given(st.binary(max_size=600))
def test_random_bytes_are_a_message_or_malformed(junk: bytes) -> None:
    for payload in (junk, header(answers=2) + QUESTION + junk, header(0x8180, 1, 2, 1) + junk):
        try:
            message = decode(payload)
        except Malformed:
            continue
        assert all(PRINTABLE.fullmatch(text) for text in texts(message))


@given(messages(), st.data())
def test_a_damaged_message_is_a_message_of_printable_text_or_malformed(wire: bytes, data: st.DataObject) -> None:
    damaged = bytearray(wire)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(2, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = decode(bytes(damaged))
    except Malformed:
        return
    assert all(PRINTABLE.fullmatch(text) for text in texts(message))

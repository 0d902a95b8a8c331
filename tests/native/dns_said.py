"""DNS messages as Suricata's EVE log and as ingrain's records tell them, in one form: that of Suricata."""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from eve import Ends, Event, ends_of, ends_of_record

Answer = tuple[str, str, int, str | None]
"""Name, type, ttl, data; None where Suricata tells no data of this type."""

Said = tuple[str, str, str | None, tuple[Answer, ...]]
"""Name, type, rcode (None: a query), answers."""

Messages = dict[tuple[Ends, bool], list[Said]]
"""Of each connection: its queries, and its answers (True), in their order."""


def told_by_suricata(events: Iterable[Event]) -> Messages:
    messages: Messages = defaultdict(list)
    for event in events:
        if event["event_type"] == "dns":
            dns = event["dns"]
            answers = tuple((one["rrname"], one["rrtype"], one["ttl"], _data(one)) for one in dns.get("answers", ()))
            is_answer = dns["type"] == "answer"
            messages[ends_of(event), is_answer].append((dns["rrname"], dns["rrtype"], dns.get("rcode"), answers))
    return messages


def _data(answer: Event) -> str | None:
    if "srv" in answer:
        return "{priority} {weight} {port} {name}".format(**answer["srv"])
    if "soa" in answer:
        return "{mname} {rname} {serial} {refresh} {retry} {expire} {minimum}".format(**answer["soa"])
    if "sshfp" in answer:
        return "{algo} {type} {fingerprint}".format(**answer["sshfp"])
    data: str | None = answer.get("rdata")
    return data


def told_by_ingrain(records: Iterable[Event]) -> Messages:
    messages: Messages = defaultdict(list)
    for record in records:
        is_answer = record["measurement"] == "dns.answer"
        answers = tuple(one for answer in record.get("answers", ()) for one in _answers(answer))
        said = (name(record["q_name"] or "."), record["q_type"], record.get("rcode"), answers)
        messages[ends_of_record(record, answer=is_answer), is_answer].append(said)
    return messages


def _answers(answer: Event) -> Iterable[Answer]:
    owner, kind, ttl, data = name(answer["name"]), answer["type"], answer["ttl"], answer["data"]
    if kind == "TXT":  # each of the record's strings is an answer of its own: RFC 1035 3.3.14 has one or more in one
        return [(owner, kind, ttl, _text(string)) for string in re.findall(r'"((?:[^"\\]|\\.)*)"', data)]
    form = FORMS.get(kind)
    return [(owner, kind, ttl, form(data) if form else None)]


def _bytes(text: str) -> bytes:
    r"""What a text in presentation form stands for: `\DDD` is a byte, `\X` the X (RFC 1035 5.1)."""
    parts = re.findall(r"\\(\d{3})|\\(.)|([^\\])", text)
    return b"".join(bytes([int(number)]) if number else (escaped or plain).encode() for number, escaped, plain in parts)


def _text(text: str) -> str:
    """As Suricata has it: what the bytes are in UTF-8; those that are not are `\\xHH`."""
    return _bytes(text).decode("utf-8", "backslashreplace")


def name(text: str) -> str:
    """A name; the root has none."""
    return "" if text == "." else _text(text)


def _generic(data: str) -> bytes:
    """What RFC 3597 5 writes as `\\# LENGTH HEX`."""
    size, octets = re.fullmatch(r"\\# (\d+) ?([0-9a-f]*)", data).groups()  # type: ignore[union-attr] # it is of that form
    assert len(octets) == 2 * int(size)
    return bytes.fromhex(octets)


def _fingerprint(data: str) -> str:
    octets = _generic(data)
    return f"{octets[0]} {octets[1]} {octets[2:].hex(':')}"


FORMS: dict[str, Callable[[str], str]] = {
    "A": str,
    "AAAA": lambda data: ipaddress.ip_address(data).exploded,  # RFC 5952 has the short form
    "NS": name,
    "CNAME": name,
    "PTR": name,
    "MX": lambda data: name(data.split()[1]),  # without the preference: RFC 1035 3.3.9
    "SOA": _text,
    "SRV": _text,
    "NULL": lambda data: _generic(data).decode("utf-8", "backslashreplace"),
    "SSHFP": _fingerprint,  # it has no form of its own here
}
"""Our data of each type as Suricata has it. Of other types it tells that they are there, and no data."""


_NOT_LOGGED = re.compile(r"CAA|SVCB|AXFR|TYPE\d+")
"""Types that Suricata 7 does not know, or not by name: what asks for them, and is answered, it leaves out. RFC 3597 3
would have it treat them as any other type."""

_IN_HEADER = {"BADVERS": "NOERROR"}
"""It tells the four bits of an rcode that are in the header, not those of the OPT record above them: RFC 6891 6.1.3."""


def logged(messages: Messages) -> Messages:
    """Those of our messages that Suricata tells, as it tells them."""
    found = {
        key: [
            (asked, kind, _IN_HEADER.get(rcode or "", rcode), answers)
            for asked, kind, rcode, answers in said
            if not _NOT_LOGGED.fullmatch(kind)
        ]
        for key, said in messages.items()
    }
    return {key: said for key, said in found.items() if said}


def unasked(records: Iterable[Event]) -> set[tuple[Ends, bool]]:
    """Where answers were sent that nobody asked for between the same two ends, all of which Suricata leaves out.

    They are multicast DNS's: announcements (RFC 6762 8.3), and unicast answers to questions that were asked by
    multicast (RFC 6762 6.7).
    """
    return {
        (ends_of_record(record, answer=True), True)
        for record in records
        if record["measurement"] == "dns.answer" and not record["query_seen"]
    }

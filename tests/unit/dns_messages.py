"""DNS messages for tests, as dnspython writes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Record = tuple[str, str, str]
"""Name, type and data, as in a master file."""


def query(name: str, kind: str = "A", number: int = 1) -> bytes:
    message = dns.message.make_query(name, kind, id=number)
    return bytes(message.to_wire())


def answer(name: str, kind: str, *data: str, ttl: int = 300, rcode: int = 0, number: int = 1) -> bytes:
    message = dns.message.make_response(dns.message.make_query(name, kind, id=number))
    message.set_rcode(dns.rcode.Rcode(rcode))
    message.answer += [dns.rrset.from_text(f"{name}.", ttl, "IN", kind, one) for one in data]
    return bytes(message.to_wire())


def message(
    questions: Sequence[tuple[str, str]],
    records: Sequence[Record] = (),
    *,
    flags: int = 0,
    number: int = 1,
    ttl: int = 120,
) -> bytes:
    """A message with any number of questions, and answers that have names of their own."""
    made = dns.message.Message(number)
    made.flags = dns.flags.Flag(flags)
    for name, kind in questions:
        asked = dns.rrset.RRset(dns.name.from_text(name), dns.rdataclass.IN, dns.rdatatype.from_text(kind))
        made.question.append(asked)
    made.answer += [dns.rrset.from_text(f"{name}.", ttl, "IN", kind, data) for name, kind, data in records]
    return bytes(made.to_wire(max_size=65535))


def stream(*messages: bytes) -> bytes:
    """Messages as they follow each other over TCP: RFC 1035 4.2.2."""
    return b"".join(struct.pack("!H", len(one)) + one for one in messages)

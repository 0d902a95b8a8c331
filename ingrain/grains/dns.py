"""DNS: queries and answers over UDP and TCP, multicast DNS included, on any port.

In: `struct packet` with a DNS message or a segment of a TCP stream of them, for each that probes/dns.bpf.c takes for
one. Out: `dns.query`, `dns.answer`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from functools import lru_cache

import pyarrow as pa

from ingrain.batch import TEXT, Column, Measurement
from ingrain.grains.common import COMMON, NetworkSettings
from ingrain.grains.messages import MessageGrain
from ingrain.grains.packets import Layout, Packet
from ingrain.grains.queries import Queries
from ingrain.grains.text_columns import offsets, texts
from ingrain.wire import dns_message, dns_name
from ingrain.wire.dns_message import Answer, Message
from ingrain.wire.malformed import Cut, Malformed
from ingrain.wire.stream import Streams

ANSWERS = pa.list_(pa.struct([("name", TEXT), ("type", TEXT), ("data", TEXT), ("ttl", pa.uint32())]))

_QUESTION = (
    Column("q_name", TEXT, "queried name, case as on the wire, without the final dot; the root is `.`"),
    Column("q_type", TEXT, "queried type, e.g. AAAA"),
)
_ANSWER = (
    Column("rcode", TEXT, "response code, e.g. NXDOMAIN"),
    Column("truncated", pa.bool_(), "the TC bit: the server left out what did not fit"),
    Column("query_seen", pa.bool_(), "the query was seen too"),
    Column(
        "answers",
        ANSWERS,
        "answer section: name, type, data (address, target or text) and TTL in seconds of each record",
    ),
)
_VALUE = Column("value", pa.int64(), "1 for each event")
_LATENCY = Column(
    "latency_ns",
    pa.int64(),
    "nanoseconds from the query to this answer, as seen on this host; 0 if the query was not seen",
)

MEASUREMENTS = (
    Measurement("dns.query", "a DNS query was sent or received", (*COMMON, *_QUESTION)),
    Measurement(
        "dns.answer", "a DNS answer was sent or received", (*COMMON, *_QUESTION, *_ANSWER), values=(_VALUE, _LATENCY)
    ),
)
_ADDRESSES = frozenset({"A", "AAAA"})
_PREFIX = 2  # bytes of a message's length over TCP: RFC 1035 4.2.2
_TOLD_BY = 15  # bytes by which the kernel half tells a DNS stream; shorter beginnings it hands over as they are

Latency = int | None
"""Nanoseconds; None for queries, and where the query was not seen."""


class DNS(MessageGrain[Message, Latency]):
    """Queries and answers.

    A record tells one question: of a message with several (multicast DNS) there are several records. A message of which
    only the beginning was captured has the answers that were whole.
    """

    Settings = NetworkSettings
    measurements = MEASUREMENTS
    program = "dns"

    def __init__(self) -> None:
        super().__init__()
        self._queries = Queries()
        self._streams = Streams()

    def told(self, packet: Packet, at: Layout) -> Sequence[tuple[Message, Latency]]:
        """A datagram's message, or those that the segment completes."""
        if packet.offset < 0 and not packet.datagram:
            return self._told(packet.payload, packet, at)
        payloads = self._payloads(packet, at) if packet.offset >= 0 else _datagrams(packet)
        return [told for payload in payloads for told in self._told(payload, packet, at)]

    def expire(self, now: int) -> None:
        """Streams that ended within a message."""
        for stream in self._streams.expired(now):
            self.unfinished += (stream.held > 0 and stream.taken > 0) or len(stream.data) >= _TOLD_BY

    def kind(self, message: Message) -> int:
        """Query or answer."""
        return int(message.is_answer)

    def columns(self, messages: Sequence[Message]) -> dict[str, pa.Array]:
        """The question, and for answers what they say."""
        questions = [message.questions[0] if message.questions else (None, None) for message in messages]
        columns = {
            "q_name": texts([name for name, _type in questions]),
            "q_type": texts([kind for _name, kind in questions]),
        }
        if messages[0].is_answer:
            columns["rcode"] = texts([message.rcode for message in messages])
            columns["truncated"] = pa.array([message.truncated for message in messages])
            columns["answers"] = _answers(messages)
        return columns

    def beside(self, kind: int, values: Sequence[Latency]) -> dict[str, pa.Array]:
        """How long an answer took."""
        if not kind:
            return {}
        latency = pa.array(values, pa.int64())
        return {"query_seen": latency.is_valid(), "latency_ns": latency.fill_null(0)}

    def _payloads(self, packet: Packet, at: Layout) -> Iterator[bytes]:
        """The messages that follow each other in a stream, from its beginning on."""
        self.expire(packet.time)
        key = (
            packet.source + packet.destination + packet.row[at.begin]
        )  # ports are used again: another connection's stream
        known = self._streams.known(key)
        if known and known.over:
            return
        begun = packet.offset == 0 or (known is not None and known.behind > 0)
        stream = self._streams.add(key, packet.offset, packet.payload, packet.time)
        while len(stream.data) >= _PREFIX:
            size = int.from_bytes(stream.data[:_PREFIX])
            if size < dns_name.HEADER_SIZE:  # no DNS, after all; nobody knows where the next message would begin
                self.malformed += 1
                stream.end()
                return
            if len(stream.data) < _PREFIX + size:
                break
            yield stream.take(_PREFIX + size)[_PREFIX:]
        if stream.over:
            self.unfinished += begun  # what has no beginning may be anything

    def _told(self, payload: bytes, packet: Packet, at: Layout) -> Sequence[tuple[Message, Latency]]:
        try:
            if packet.whole or packet.offset >= 0:  # of a stream only whole messages are taken
                message = dns_message.decode(payload)
            else:
                message = dns_message.decode_cut(payload)
        except Malformed:
            self.malformed += 1
            return ()
        except Cut:
            self.cut += 1
            return ()
        questions = message.questions
        if not questions:
            return ((message, None),)
        source, destination = packet.source, packet.destination
        ends = (destination + source if message.is_answer else source + destination) + payload[:2]
        if len(questions) == 1:
            return ((message, self._latency(message, ends, questions[0], packet, at)),)
        return [
            (message._replace(questions=(question,)), self._latency(message, ends, question, packet, at))
            for question in questions
        ]

    def _latency(self, message: Message, ends: bytes, question: tuple[str, str], packet: Packet, at: Layout) -> Latency:
        name, kind = question
        if not name.islower():
            name = name.lower()  # an answer may have it in another case: RFC 4343 4.1
        if not message.is_answer:
            self._queries.ask((ends, name, kind), packet.time)
            return None
        if self.lookups is not None and message.answers and at.of_client(packet.row, receives=True):
            self.lookups.note(at.client(packet.row, receives=True), name, _addresses(message.answers), packet.time)
        return self._queries.answer((ends, name, kind), packet.time)


def _datagrams(packet: Packet) -> list[bytes]:
    size, payload = packet.datagram, packet.payload
    return [payload[start : start + size] for start in range(0, len(payload), size)]


@lru_cache(maxsize=2048)
def _addresses(answers: tuple[Answer, ...]) -> list[bytes]:
    """The addresses among them, as rows have them: IPv4 mapped into IPv6."""
    found = [data for _name, kind, data, _ttl in answers if kind in _ADDRESSES and not data.startswith("\\")]
    return [ipaddress.ip_address(one if ":" in one else f"::ffff:{one}").packed for one in found]


def _answers(messages: Sequence[Message]) -> pa.ListArray:
    records = [record for message in messages for record in message.answers]
    names, kinds, data, ttls = zip(*records, strict=True) if records else ((), (), (), ())
    fields = [texts(names), texts(kinds), texts(data), pa.array(ttls, pa.uint32())]
    items = pa.StructArray.from_arrays(fields, fields=list(ANSWERS.value_type))
    return pa.ListArray.from_arrays(offsets([len(message.answers) for message in messages]), items, ANSWERS)

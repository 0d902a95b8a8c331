"""DNS: queries and answers over UDP and TCP, multicast DNS included, on any port.

In: `struct packet` with a DNS message or a segment of a TCP stream of them, for each that probes/dns.bpf.c takes for
one. Out: `dns.query`, `dns.answer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from ingrain.batch import TEXT, Column, Measurement
from ingrain.grains.common import COMMON, NetworkSettings
from ingrain.grains.grain import Made
from ingrain.grains.messages import MessageGrain, Told
from ingrain.grains.packets import Layout, Packet, layout
from ingrain.grains.queries import Queries
from ingrain.grains.text_columns import offsets, texts
from ingrain.wire import dns_message
from ingrain.wire.dns_message import Message
from ingrain.wire.dns_stream import DnsStreams
from ingrain.wire.malformed import Cut, Malformed

ANSWERS = pa.list_(pa.struct([("name", TEXT), ("type", TEXT), ("data", TEXT), ("ttl", pa.uint32())]))

_QUESTION = (
    Column("q_name", TEXT, "queried name, case as on the wire, without the final dot; the root is `.`"),
    Column("q_type", TEXT, "queried type, e.g. AAAA"),
)
_ANSWER = (
    Column("rcode", TEXT, "response code, e.g. NXDOMAIN"),
    Column("truncated", pa.bool_(), "the TC bit: the server left out what did not fit"),
    Column("query_seen", pa.bool_(), "the query was seen too, within the minute before"),
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

_PORT = re.compile(r"^_[0-9]+\._https\.")
"""Before the name of a host in a query for how it is reached at a port other than 443: RFC 9460 9.1."""

Latency = int | None
"""Nanoseconds; None for queries, and where the query was not seen."""

_Told = Told[Message, Latency]


class DNS(MessageGrain[Message, Latency]):
    """Queries and answers.

    A record tells one question: of a message with several (multicast DNS) there are several records. A message of which
    only the beginning was captured has the answers that were whole. One that is malformed in part is counted as such,
    and a record reports what can be read of it: nothing odd in it hides the rest.
    """

    Settings = NetworkSettings
    measurements = MEASUREMENTS
    program = "dns"

    def __init__(self) -> None:
        super().__init__()
        self._queries = Queries()
        self._streams: DnsStreams[Packet] = DnsStreams()

    def told(self, packet: Packet, at: Layout) -> Sequence[_Told] | None:
        """A datagram's message, or those that the segment completes."""
        if packet.offset < 0:
            return self._joined(packet, at) if packet.datagram else self._told(packet.payload, packet, at)
        # ports are used again: another connection's stream begins elsewhere
        key = packet.source + packet.destination + packet.row[at.begin]
        messages = self._streams.add(key, packet.offset, packet.payload, packet.time, packet)
        return self._whole(messages, at) if self._count_streams() or messages else None

    def expire(self, now: int) -> Sequence[_Told]:
        """Queries that nobody answers, streams that are idle, and gaps in them that will not be filled."""
        self._queries.expire(now)
        messages = self._streams.due(now)
        self._streams.expire(now)
        self._count_streams()
        return self._whole(messages, layout(self._layout)) if messages else ()

    def kind(self, message: Message) -> int:
        """Query or answer."""
        return int(message.is_answer)

    def size(self, message: Message) -> int:
        """As the decoder has it."""
        return message.size

    def columns(self, messages: Sequence[Message], rows: pa.Array) -> Mapping[str, Callable[[], pa.Array]]:
        """The question, and for answers what they say."""
        nothing = (None, None)
        questions = [message.questions[0] if message.questions else nothing for message in messages]
        columns: dict[str, Callable[[], pa.Array]] = {
            "q_name": lambda: texts([name for name, _kind in questions]).take(rows),
            "q_type": lambda: texts([kind for _name, kind in questions]).take(rows),
        }
        if messages[0].is_answer:
            columns["rcode"] = lambda: texts([message.rcode for message in messages]).take(rows)
            columns["truncated"] = lambda: pa.array([message.truncated for message in messages]).take(rows)
            columns["answers"] = lambda: _answers(messages).take(rows)
        return columns

    def beside(self, kind: int, values: Sequence[Latency]) -> Mapping[str, Made]:
        """How long an answer took."""
        if not kind:
            return {}
        latency = pa.array(values, pa.int64())
        return {"query_seen": latency.is_valid, "latency_ns": latency.fill_null(0)}

    def _joined(self, packet: Packet, at: Layout) -> Sequence[_Told] | None:
        datagrams, absent = packet.datagrams()
        self.cut += absent
        if not datagrams and not absent:
            return None
        queries = [(payload, whole) for payload, whole in datagrams if dns_message.is_query(payload)]
        return [told for payload, whole in queries for told in self._told(payload, packet._replace(whole=whole), at)]

    def _count_streams(self) -> bool:
        """Add to the account what was wrong with streams; whether anything came of a packet that makes it no part."""
        streams = self._streams
        outcome = streams.malformed + streams.cut > 0
        self.malformed, self.cut = self.malformed + streams.malformed, self.cut + streams.cut
        self.unfinished += streams.unfinished
        streams.malformed = streams.cut = streams.unfinished = 0
        return outcome

    def _whole(self, messages: Sequence[tuple[bytes, Packet]], at: Layout) -> Sequence[_Told]:
        """Those of streams, of which only whole ones are taken."""
        return [told for payload, packet in messages for told in self._told(payload, packet._replace(whole=True), at)]

    def _told(self, payload: bytes, packet: Packet, at: Layout) -> Sequence[_Told]:
        try:
            message = dns_message.decode(payload) if packet.whole else dns_message.decode_cut(payload)
        except Malformed:
            self.malformed += 1
            return ()
        except Cut:
            self.cut += 1
            return ()
        if message.malformed:
            self.malformed += 1
        questions = message.questions
        if not questions:
            return ((message, None, packet),)
        source, destination = packet.source, packet.destination
        ends = (destination + source if message.is_answer else source + destination) + payload[:2]
        if len(questions) == 1:
            return ((message, self._latency(message, ends, questions[0], packet, at), packet),)
        return [
            (message._replace(questions=(question,)), self._latency(message, ends, question, packet, at), packet)
            for question in questions
        ]

    def _latency(self, message: Message, ends: bytes, question: tuple[str, str], packet: Packet, at: Layout) -> Latency:
        name, kind = question
        if not name.islower():
            name = name.lower()  # an answer may have it in another case: RFC 4343 4.1
        if not message.is_answer:
            self._queries.ask((ends, name, kind), packet.time)
            return None
        if self.lookups is not None and message.addresses and at.of_client(packet.row, receives=True):
            host = _PORT.sub("", name) if kind == "HTTPS" else name
            self.lookups.note(at.client(packet.row, receives=True), host, message.addresses, packet.time)
        return self._queries.answer((ends, name, kind), packet.time)


def _answers(messages: Sequence[Message]) -> pa.ListArray:
    records = [record for message in messages for record in message.answers]
    names, kinds, data, ttls = zip(*records, strict=True) if records else ((), (), (), ())
    fields = [texts(names), texts(kinds), texts(data), pa.array(ttls, pa.uint32())]
    items = pa.StructArray.from_arrays(fields, fields=list(ANSWERS.value_type))
    return pa.ListArray.from_arrays(offsets([len(message.answers) for message in messages]), items, ANSWERS)

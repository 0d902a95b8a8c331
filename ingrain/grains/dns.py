"""DNS: what was asked and what was answered, over UDP, on any port.

In: `struct packet` with a DNS message, for each that probes/dns.bpf.c takes for one. Out: `dns.query`, `dns.answer`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ingrain.batch import TEXT, Column, Measurement
from ingrain.grains.common import COMMON, NetworkSettings
from ingrain.grains.messages import MessageGrain
from ingrain.grains.text_columns import offsets, texts
from ingrain.wire import dns_message
from ingrain.wire.dns_message import Message

ANSWERS = pa.list_(pa.struct([("type", TEXT), ("data", TEXT), ("ttl", pa.uint32())]))

_QUESTION = (
    Column("q_name", TEXT, "name that is asked for: case as on the wire, no dot at the end, the root as `.`"),
    Column("q_type", TEXT, "type that is asked for, e.g. AAAA"),
)
_ANSWER = (
    Column("rcode", TEXT, "response code, e.g. NXDOMAIN"),
    Column("answers", ANSWERS, "the answer section: each record's type, address, target or text, and ttl in seconds"),
)

MEASUREMENTS = (
    Measurement("dns.query", "a name was asked for", (*COMMON, *_QUESTION)),
    Measurement("dns.answer", "a query was answered", (*COMMON, *_QUESTION, *_ANSWER)),
)


class DNS(MessageGrain[Message]):
    """Queries and answers.

    A record tells one question: the only one a message may have (RFC 9619), and with any other number the kernel half
    takes it for something else. A message of which only the beginning was captured has the answers that were whole.
    """

    Settings = NetworkSettings
    measurements = MEASUREMENTS
    program = "dns"

    def read(self, payload: bytes, *, whole: bool) -> Message:
        """The DNS message."""
        return dns_message.decode(payload) if whole else dns_message.decode_cut(payload)

    def kind(self, message: Message) -> int:
        """Query or answer."""
        return int(message.is_answer)

    def columns(self, messages: Sequence[Message]) -> list[pa.Array]:
        """The question, and for answers what they say."""
        questions = [message.questions[0] if message.questions else (None, None) for message in messages]
        question = [texts([name for name, _type in questions]), texts([kind for _name, kind in questions])]
        if not messages[0].is_answer:
            return question
        return [*question, texts([message.rcode for message in messages]), _answers(messages)]


def _answers(messages: Sequence[Message]) -> pa.ListArray:
    records = [record for message in messages for record in message.answers]
    kinds, data, ttls = zip(*records, strict=True) if records else ((), (), ())
    fields = [texts(kinds), texts(data), pa.array(ttls, pa.uint32())]
    items = pa.StructArray.from_arrays(fields, fields=list(ANSWERS.value_type))
    return pa.ListArray.from_arrays(offsets([len(message.answers) for message in messages]), items, ANSWERS)

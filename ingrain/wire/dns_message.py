"""DNS messages off the wire (RFC 1035 4, with EDNS, RFC 6891): what was asked, and what was answered.

In: a message, as a UDP datagram holds it. Out: a `Message` of printable text, or `Malformed`. Names and whole messages
that repeat are decoded once; every cache is bounded.
"""

from __future__ import annotations

from operator import attrgetter
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import NamedTuple

from ingrain.wire import dns_name, dns_rdata
from ingrain.wire.dns_registry import TYPE_NAMES, rcode_name, type_name
from ingrain.wire.kept import Kept
from ingrain.wire.malformed import Cut, Malformed

_HEADER = Struct("!HHHHHH")  # id, flags, and how many: questions, answers, authorities, additionals
_QUESTION = Struct("!HH")  # type, class
_RECORD = Struct("!HHIH")  # type, class, ttl, length of the data
_QR, _TC, _RCODE = 0x8000, 0x0200, 0x000F
_POINTER = 0xC0
OPCODE = 0x78
"""Bits of a message's third byte that are 0 in queries and their answers."""
_OPCODE_AT = 2
_OPT = 41
_QUESTIONS_MAX = 64  # as in the kernel half: each is a record of its own, with all of the answers

_CACHED_MAX = 512  # bytes of a message that is kept: longer ones hardly repeat
_CACHE_BYTES = 8 << 20  # some 8,000 answers of a CNAME and an address
_EMPTY, _ENTRY = 700, 260  # bytes of a message with its key in the cache, and of each of its records, beside text
_HINT = 60  # of each further address in a record


Answer = tuple[str, str, str, int]
"""A record of the answer section: the name that it is of, its type (mnemonic, or `TYPE65280`), its data in presentation
form (names without the dot at their end), and its ttl in seconds, as on the wire.
"""


class Message(NamedTuple):
    """A query or an answer (`is_answer`), as far as it can be read.

    rcode: mnemonic, with EDNS's upper bits. truncated: the sender left out what did not fit (TC). questions: (name,
    type) of each; none in answers of multicast DNS. addresses: those among the answers, hints of HTTPS records
    included, 16 bytes each, IPv4 mapped into IPv6. malformed: some of it breaks the format: a record's data, which then
    stands among the answers as RFC 3597 has it, or something behind which nothing could be read. size: about how many
    bytes it takes, most of them text. The id is left out: it tells messages apart that say the same.
    """

    is_answer: bool
    rcode: str
    truncated: bool
    questions: tuple[tuple[str, str], ...]
    answers: tuple[Answer, ...] = ()
    addresses: tuple[bytes, ...] = ()
    malformed: bool = False
    size: int = 0


def is_query(payload: bytes) -> bool:
    """Whether its opcode is QUERY, as those of queries and their answers, or is not there."""
    return len(payload) <= _OPCODE_AT or not payload[_OPCODE_AT] & OPCODE


def decode(payload: bytes) -> Message:
    """The message. Raises Malformed where not even a question can be read, though there should be one.

    Where the sender cut it to fit (TC, RFC 2181 9), the answers that are whole are given. Bytes behind the message are
    ignored, as resolvers and other observers do: padding there must not hide a look-up.
    """
    if len(payload) > _CACHED_MAX:
        return _decode(payload, whole=True)
    key = b"\0\0" + payload[2:]
    message = _kept[key]
    if message is None:
        message = _decode(key, whole=True)
        _kept.keep(key, message)
    return message


def decode_cut(payload: bytes) -> Message:
    """The message of which only the beginning was captured: its answers as far as they are whole.

    Where its OPT record is missing, so are the upper bits of its rcode (those answers are short, so never cut). Raises
    Cut where not even a question is there, and Malformed as `decode` does.
    """
    return _decode(payload, whole=False)


_kept: Kept[bytes, Message] = Kept(_CACHE_BYTES, attrgetter("size"))


def _decode(message: bytes, *, whole: bool) -> Message:
    ended = Malformed if whole else Cut
    try:
        _id, flags, asked, answered, authorities, additionals = _HEADER.unpack_from(message)
    except StructError:
        raise ended("the message ends within its header") from None
    read = _Read(message)
    try:
        _records(read, _questions(read, asked), answered, authorities + additionals)
    except (IndexError, StructError):
        if asked and not read.questions:
            raise ended("the message ends within its first question") from None
        read.malformed |= whole and not flags & _TC
    except Malformed:
        if asked and not read.questions:
            raise
        read.malformed = True
    rcode = flags & _RCODE
    if read.options:
        rcode |= read.options[0] >> 24 << 4
        read.malformed |= len(read.options) > 1  # RFC 6891 6.1.1
    return Message(
        bool(flags & _QR),
        rcode_name(rcode),
        bool(flags & _TC),
        tuple(read.questions),
        tuple(read.answers),
        tuple(read.addresses),
        read.malformed,
        read.size,
    )


class _Read:
    """What was read of a message so far. known: its names by offset. options: what each OPT record has for a ttl."""

    __slots__ = ("addresses", "answers", "known", "malformed", "message", "options", "questions", "size")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.known: dict[int, bytes] = {}
        self.questions: list[tuple[str, str]] = []
        self.answers: list[Answer] = []
        self.addresses: list[bytes] = []
        self.options: list[int] = []
        self.malformed = False
        self.size = _EMPTY


def _questions(read: _Read, count: int) -> int:
    """Read name and type of each question; the offset behind them."""
    message, at = read.message, dns_name.HEADER_SIZE
    for _ in range(min(count, _QUESTIONS_MAX)):
        labels, at = dns_name.read(message, at, read.known)
        kind = _QUESTION.unpack_from(message, at)[0]
        name = dns_name.text(labels)
        read.questions.append((name, TYPE_NAMES.get(kind) or type_name(kind)))
        read.size += len(name)
        at += _QUESTION.size
    if count > _QUESTIONS_MAX:
        raise Malformed(f"the message has {count} questions")
    return at


def _records(read: _Read, at: int, answers: int, others: int) -> None:
    """Read the records from `at` on: all of the answers, of the others only OPT."""
    message, known, length = read.message, read.known, len(read.message)
    for number in range(answers + others):
        first = message[at]
        if not first:  # the two usual owners, the root (of OPT) and a name that was there before, are not read again
            owner = b""
            at += 1
        elif first >= _POINTER and (target := (first - _POINTER) << 8 | message[at + 1]) < at and target in known:
            owner = known[target]
            at += 2
        else:
            owner, at = dns_name.read(message, at, known)
        kind, record_class, ttl, size = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        if at + size > length:
            raise IndexError  # as if a byte of it had been read
        if kind == _OPT:  # no record but this message's options; the class is the sender's buffer size
            read.options.append(ttl)
        elif number < answers:
            data = _data(read, at, at + size, kind, record_class)
            name = dns_name.text(owner)
            read.answers.append((name, TYPE_NAMES.get(kind) or type_name(kind), data, ttl))
            read.size += _ENTRY + len(name) + len(data)
        at += size


def _data(read: _Read, at: int, end: int, kind: int, record_class: int) -> str:
    """What an answer says; odd data as it is: the record's length still says where the next one begins."""
    try:
        data = dns_rdata.text(read.message, at, end, kind, record_class, known=read.known)
    except Malformed:
        read.malformed = True
        return dns_rdata.unknown(read.message, at, end)
    if kind in dns_rdata.ADDRESSES:
        found = dns_rdata.addresses(read.message, at, end, kind, record_class, known=read.known)
        read.addresses += found
        read.size += _HINT * len(found[1:])
    return data

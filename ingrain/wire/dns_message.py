"""DNS messages off the wire (RFC 1035 4, with EDNS, RFC 6891): what was asked, and what was answered.

In: a message, as a UDP datagram holds it. Out: a `Message` of printable text, or `Malformed`. Names and whole messages
that repeat are decoded once; every cache is bounded.
"""

from __future__ import annotations

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
_OPT = 41
_QUESTIONS_MAX = 64  # as in the kernel half: each is a record of its own, with all of the answers

_CACHED_MAX = 512  # bytes of a message that is kept: longer ones hardly repeat
_CACHE_BYTES = 8 << 20  # some 8,000 answers of a CNAME and an address
_EMPTY, _ENTRY = 700, 260  # bytes that a message takes with its key in the cache, and each of its records, beside text


Answer = tuple[str, str, str, int]
"""A record of the answer section: the name that it is of, its type (mnemonic, or `TYPE65280`), its data in presentation
form (names without the dot at their end), and its ttl in seconds, as on the wire.
"""


class Message(NamedTuple):
    """A query or an answer (`is_answer`), as far as it can be read.

    rcode: mnemonic, with EDNS's upper bits. truncated: the sender left out what did not fit (TC). questions: (name,
    type) of each; none in answers of multicast DNS. addresses: those among the answers, 16 bytes each, IPv4 mapped into
    IPv6. malformed: some of it breaks the format: a record's data, which then stands among the answers as RFC 3597 has
    it, or something behind which nothing could be read. The id is left out: it tells messages apart that say the same.
    """

    is_answer: bool
    rcode: str
    truncated: bool
    questions: tuple[tuple[str, str], ...]
    answers: tuple[Answer, ...] = ()
    addresses: tuple[bytes, ...] = ()
    malformed: bool = False


def size_of(message: Message) -> int:
    """About how many bytes the message takes, most of them text."""
    size = _EMPTY
    for name, kind in message.questions:
        size += len(name) + len(kind)
    for name, _kind, data, _ttl in message.answers:
        size += _ENTRY + len(name) + len(data)
    return size


def decode(payload: bytes) -> Message:
    """The message. Raises Malformed where not even a question can be read, though there should be one.

    Where the sender cut it to fit (TC, RFC 2181 9), the answers that are whole are given. Bytes behind the message are
    ignored, as resolvers and other observers do: padding there must not hide a look-up.
    """
    if len(payload) > _CACHED_MAX:
        return _decode(payload, whole=True)
    key = b"\0\0" + payload[2:]
    message = _kept.get(key)
    if message is None:
        message = _decode(key, whole=True)
        _kept.put(key, message)
    return message


def decode_cut(payload: bytes) -> Message:
    """The message of which only the beginning was captured: its answers as far as they are whole.

    Where its OPT record is missing, so are the upper bits of its rcode (those answers are short, so never cut). Raises
    Cut where not even a question is there, and Malformed as `decode` does.
    """
    return _decode(payload, whole=False)


_kept: Kept[bytes, Message] = Kept(_CACHE_BYTES, size_of)


def _decode(message: bytes, *, whole: bool) -> Message:
    ended = Malformed if whole else Cut
    try:
        _id, flags, asked, answered, authorities, additionals = _HEADER.unpack_from(message)
    except StructError:
        raise ended("the message ends within its header") from None
    read = _Read()
    try:
        at = _questions(message, asked, read)
        for number in range(answered + authorities + additionals):
            at = _record(message, at, read, is_answer=number < answered)
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
    )


class _Read:
    """What was read of a message so far. known: its names by offset. options: what each OPT record has for a ttl."""

    __slots__ = ("addresses", "answers", "known", "malformed", "options", "questions")

    def __init__(self) -> None:
        self.known: dict[int, bytes] = {}
        self.questions: list[tuple[str, str]] = []
        self.answers: list[Answer] = []
        self.addresses: list[bytes] = []
        self.options: list[int] = []
        self.malformed = False


def _questions(message: bytes, count: int, read: _Read) -> int:
    """Read name and type of each question; the offset behind them."""
    at = dns_name.HEADER_SIZE
    for _ in range(min(count, _QUESTIONS_MAX)):
        labels, at = dns_name.read(message, at, read.known)
        kind = _QUESTION.unpack_from(message, at)[0]
        read.questions.append((dns_name.text(labels), TYPE_NAMES.get(kind) or type_name(kind)))
        at += _QUESTION.size
    if count > _QUESTIONS_MAX:
        raise Malformed(f"the message has {count} questions")
    return at


def _record(message: bytes, at: int, read: _Read, *, is_answer: bool) -> int:
    """Read the record at `at`, and tell it where it is an answer or OPT; the offset behind it."""
    first = message[at]
    if not first:  # the two usual owners, the root (of OPT) and a name that was there before, are not read again
        owner = b""
        at += 1
    elif first >= _POINTER and (target := (first - _POINTER) << 8 | message[at + 1]) < at and target in read.known:
        owner = read.known[target]
        at += 2
    else:
        owner, at = dns_name.read(message, at, read.known)
    kind, record_class, ttl, length = _RECORD.unpack_from(message, at)
    at += _RECORD.size
    end: int = at + length
    if end > len(message):
        raise IndexError  # as if a byte of it had been read
    if kind == _OPT:  # no record but this message's options; the class is the sender's buffer size
        read.options.append(ttl)
    elif is_answer:
        try:
            data = dns_rdata.text(message, at, end, kind, record_class, known=read.known)
        except Malformed:  # where it ends is known even so: it hides nothing else
            data = dns_rdata.unknown(message, at, end)
            read.malformed = True
        else:
            address = dns_rdata.address(message, at, end, kind, record_class)
            if address:
                read.addresses.append(address)
        read.answers.append((dns_name.text(owner), TYPE_NAMES.get(kind) or type_name(kind), data, ttl))
    return end

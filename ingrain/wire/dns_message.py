"""DNS messages off the wire (RFC 1035 4, with EDNS, RFC 6891): what was asked, and what was answered.

In: a message, as a UDP datagram holds it. Out: a `Message` of printable text, or `Malformed`. Names and whole messages
that repeat are decoded once; every cache is bounded.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import NamedTuple

from ingrain.wire import dns_name, dns_rdata
from ingrain.wire.dns_registry import TYPE_NAMES, rcode_name, type_name
from ingrain.wire.malformed import Cut, Malformed

_HEADER = Struct("!HHHHHH")  # id, flags, and how many: questions, answers, authorities, additionals
_QUESTION = Struct("!HH")  # type, class
_RECORD = Struct("!HHIH")  # type, class, ttl, length of the data
_QR, _TC, _RCODE = 0x8000, 0x0200, 0x000F
_POINTER = 0xC0
_OPT = 41
_CACHED_MAX = 512  # bytes of a message that is kept; with 2,048 of them some 3 MB, and 13 MB at worst


Answer = tuple[str, str, str, int]
"""A record of the answer section: the name that it is of, its type (mnemonic, or `TYPE65280`), its data in presentation
form (names without the dot at their end), and its ttl in seconds, as on the wire.
"""


class Message(NamedTuple):
    """A query or an answer (`is_answer`).

    rcode: mnemonic, with EDNS's upper bits. truncated: the sender left out what did not fit (TC). questions: (name,
    type) of each; none in answers of multicast DNS. The id is left out: it tells messages apart that say the same.
    """

    is_answer: bool
    rcode: str
    truncated: bool
    questions: tuple[tuple[str, str], ...]
    answers: tuple[Answer, ...]


def decode(payload: bytes) -> Message:
    """The message. Raises Malformed.

    Where the sender cut it to fit (TC, RFC 2181 9), the answers that are whole are given. Bytes behind the message are
    ignored, as resolvers and other observers do: padding there must not hide a look-up.
    """
    if len(payload) > _CACHED_MAX:
        return _decode(payload, whole=True)
    return _cached(b"\0\0" + payload[2:])


def decode_cut(payload: bytes) -> Message:
    """The message of which only the beginning was captured: its answers as far as they are whole.

    Where its OPT record is missing, so are the upper bits of its rcode (those answers are short, so never cut). Raises
    Cut where not even its questions are there, and Malformed.
    """
    return _decode(payload, whole=False)


@lru_cache(maxsize=2048)
def _cached(message: bytes) -> Message:
    return _decode(message, whole=True)


def _decode(message: bytes, *, whole: bool) -> Message:
    known: dict[int, bytes] = {}
    try:
        _id, flags, asked, answered, authorities, additionals = _HEADER.unpack_from(message)
        questions, at = _questions(message, asked, known)
    except (IndexError, StructError):
        raise (Malformed if whole else Cut)("the message ends within its header or questions") from None
    answers: list[Answer] = []
    options: list[int] = []
    try:
        for number in range(answered + authorities + additionals):
            at = _record(message, at, known, answers if number < answered else None, options)
    except (IndexError, StructError):
        if whole and not flags & _TC:
            raise Malformed(f"the message ends within a record, at offset {len(message)}") from None
    rcode = flags & _RCODE
    if options:
        if len(options) > 1:
            raise Malformed("the message has more than one OPT record")  # RFC 6891 6.1.1
        rcode |= options[0] >> 24 << 4
    return Message(bool(flags & _QR), rcode_name(rcode), bool(flags & _TC), questions, tuple(answers))


def _questions(message: bytes, count: int, known: dict[int, bytes]) -> tuple[tuple[tuple[str, str], ...], int]:
    """Name and type of each question, and the offset behind them."""
    questions = []
    at = dns_name.HEADER_SIZE
    for _ in range(count):
        labels, at = dns_name.read(message, at, known)
        questions.append((dns_name.text(labels), type_name(_QUESTION.unpack_from(message, at)[0])))
        at += _QUESTION.size
    return tuple(questions), at


def _record(message: bytes, at: int, known: dict[int, bytes], answers: list[Answer] | None, options: list[int]) -> int:
    """The offset behind the record at `at`. What it says goes to `answers`, if given; what OPT says to `options`."""
    first = message[at]
    if not first:  # the two usual owners, the root (of OPT) and a name that was there before, are not read again
        owner = b""
        at += 1
    elif first >= _POINTER and (target := (first - _POINTER) << 8 | message[at + 1]) in known:
        owner = known[target]
        at += 2
    else:
        owner, at = dns_name.read(message, at, known)
    kind, record_class, ttl, length = _RECORD.unpack_from(message, at)
    at += _RECORD.size
    end: int = at + length
    if end > len(message):
        raise IndexError  # as if a byte of it had been read
    if kind == _OPT:  # no record but this message's options; the class is the sender's buffer size
        options.append(ttl)
    elif answers is not None:
        data = dns_rdata.text(message, at, end, kind, record_class, known=known)
        answers.append((dns_name.text(owner), TYPE_NAMES.get(kind) or type_name(kind), data, ttl))
    return end

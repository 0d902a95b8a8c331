"""TLS hellos off the wire: what a client offers, and what a server chose (RFC 8446 4.1 and 5.1; RFC 5246 7.4.1, 6.2.1).

In: the beginning of a TCP stream, or a handshake message that QUIC carried. Out: a `ClientHello` or a `ServerHello` of
printable text with its fingerprints, or `Malformed`, or `Cut`. The same object comes out for hellos that say the same.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from ingrain.wire import client_hello, hello_fields
from ingrain.wire.client_hello import ClientHello
from ingrain.wire.hello_fields import Choice
from ingrain.wire.ja3 import ja3s
from ingrain.wire.ja4 import TCP
from ingrain.wire.malformed import Cut, Malformed
from ingrain.wire.tls_registry import cipher_name, version_name

CLIENT_HELLO, SERVER_HELLO = 1, 2

_HEADERS = Struct("!BBBHI")  # of a record, and of the message that begins it
_RECORD = Struct("!BBBH")  # content type, version (major, minor), length
_CHANGE_TYPE, _MINOR_AT = b"\x14", 2
_CHANGE = _CHANGE_TYPE + b"\x03\0\x01\x01"  # a change_cipher_spec record, without its minor version
_CHANGE_SIZE = len(_CHANGE) + 1
_MESSAGE = 4  # bytes of a message's header: type (8 bits), length (24)
_HANDSHAKE, _MAJOR, _RECORD_MAX = 22, 3, 1 << 14
_HELLO_MAX = (1 << 16) - 1  # bytes, as in the kernel half
_RECORDS_MAX = 64  # that one hello is in; each costs time, and may be of a single byte or of none
_KEPT_EXTENSIONS = 32  # of a server's hello, which has few


class ServerHello(NamedTuple):
    """What a server chose. ja3s: 32 hex digits. retry: whether it is a HelloRetryRequest (RFC 8446 4.1.4)."""

    version: str
    ciphersuite: str
    ja3s: str
    retry: bool

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 600


Hello = ClientHello | ServerHello


def decode(payload: bytes) -> Hello:
    """The hello that a TCP stream begins with, in one TLS record or in several; what stands behind it is not read.

    Before it a record may stand that changes no cipher: RFC 8446 D.4. Raises Cut where the payload ends within the
    hello, and Malformed where what is there breaks the format.
    """
    if payload.startswith(_CHANGE_TYPE):
        return _behind_change(payload)
    if len(payload) >= _HEADERS.size:  # nearly always it is in one record, and all there
        content, major, _minor, size, kind_and_length = _HEADERS.unpack_from(payload)
        end = 9 + (kind_and_length & 0xFFFFFF)
        if content == _HANDSHAKE and major == _MAJOR and end - 5 <= size <= _RECORD_MAX and end <= len(payload):
            return message(kind_and_length >> 24, payload[9:end])
    return message(*_gather(payload))


def _behind_change(payload: bytes) -> Hello:
    change = payload[:_MINOR_AT] + payload[_MINOR_AT + 1 : _CHANGE_SIZE]
    if change != _CHANGE:
        if _CHANGE.startswith(change):
            raise Cut("the record before the hello ends early", _CHANGE_SIZE + _RECORD.size + 1)
        return message(*_gather(payload))
    try:
        return message(*_gather(payload[_CHANGE_SIZE:]))
    except Cut as cut:
        raise Cut(str(cut), cut.needed + _CHANGE_SIZE) from None


def message(kind: int, body: bytes, transport: str = TCP) -> Hello:
    """The hello that is a handshake message of this type, whose body came whole over TCP or QUIC. Raises Malformed."""
    if kind == CLIENT_HELLO:
        return client_hello.read(body, transport)
    if kind == SERVER_HELLO:
        choice = hello_fields.choice(body)
        return (_kept_choice if len(choice.extensions) <= _KEPT_EXTENSIONS else _choice)(choice)
    raise Malformed(f"the handshake begins with a message of type {kind}, which is no hello")


def _gather(payload: bytes) -> tuple[int, bytes]:
    """Type and body of the first message, whose fragments are in several records, or not all there."""
    fragments = bytearray()
    at, end = 0, _MESSAGE
    for _record in range(_RECORDS_MAX):
        if at + _RECORD.size > len(payload):
            raise Cut("the hello ends between its records", at + _RECORD.size + 1)
        content, major, _minor, size = _RECORD.unpack_from(payload, at)
        if content != _HANDSHAKE or major != _MAJOR or size > _RECORD_MAX:
            raise Malformed(f"what stands at offset {at} is no record of a TLS handshake")
        at += _RECORD.size
        fragments += payload[at : at + size]
        at += size
        if len(fragments) >= _MESSAGE:
            if fragments[0] not in {CLIENT_HELLO, SERVER_HELLO}:
                raise Malformed(f"the handshake begins with a message of type {fragments[0]}, which is no hello")
            end = _MESSAGE + int.from_bytes(fragments[1:_MESSAGE])
            if end > _MESSAGE + _HELLO_MAX:
                raise Malformed(f"the hello is longer than {_HELLO_MAX} bytes")
        if len(fragments) >= end:
            return fragments[0], bytes(fragments[_MESSAGE:end])
        if at > len(payload):
            raise Cut("the hello ends within a record", len(payload) + min(at - len(payload), end - len(fragments)))
    raise Malformed(f"the hello is in more than {_RECORDS_MAX} records")


def _choice(choice: Choice) -> ServerHello:
    version = choice.version if choice.supported_version is None else choice.supported_version
    return ServerHello(version_name(version), cipher_name(choice.cipher), ja3s(choice), choice.retry)


_kept_choice = lru_cache(maxsize=1024)(_choice)

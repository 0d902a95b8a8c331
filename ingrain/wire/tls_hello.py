"""TLS hellos off the wire: what a client offers, and what a server chose (RFC 8446 4.1 and 5.1; RFC 5246 7.4.1, 6.2.1).

In: the beginning of a TCP stream, or a handshake message that QUIC carried. Out: a `ClientHello` or a `ServerHello` of
printable text with its fingerprints, or `Malformed`, or `Cut`. The same object comes out for hellos that say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from operator import itemgetter
from struct import Struct
from typing import NamedTuple

from ingrain.text import safe
from ingrain.wire import encrypted_dns, hello_fields
from ingrain.wire.hello_fields import (
    ALPN,
    GROUPS,
    POINT_FORMATS,
    SERVER_NAME,
    SIGNATURE_ALGORITHMS,
    VERSIONS,
    Choice,
    Offer,
    Parts,
)
from ingrain.wire.ja3 import ja3, ja3s
from ingrain.wire.ja4 import TCP, ja4
from ingrain.wire.kept import Kept, kept
from ingrain.wire.malformed import Cut, Malformed
from ingrain.wire.tls_registry import cipher_name, group_name, highest_version, version_name

CLIENT_HELLO, SERVER_HELLO = 1, 2

_HEADERS = Struct("!BBBHI")  # of a record, and of the message that begins it
_RECORD = Struct("!BBBH")  # content type, version (major, minor), length
_CHANGE = 6  # bytes of a change_cipher_spec record
_CHANGES = tuple(bytes([20, 3, minor, 0, 1, 1]) for minor in range(5))
_MESSAGE = 4  # bytes of a message's header: type (8 bits), length (24)
_HANDSHAKE, _MAJOR, _RECORD_MAX = 22, 3, 1 << 14
_RECORDS_MAX = 64  # that one hello is in; each costs time, and may be of a single byte
_TLS_1_2 = 0x0303
_SESSION_ID = 34  # where its length is
_ALIKE = 24  # bytes of extensions: clients pad their hellos to one length, whatever that of the host's name is
_CACHE_BYTES = 3 << 20  # some 1,000 hellos
_EMPTY = 2500  # bytes that a hello takes with its key in the cache, beside what stands in it
_KEPT_PARTS = 16  # pieces in which those bytes of a hello are that tell anything, where it is kept
_KEPT_EXTENSIONS = 32  # of a server's hello, which has few


class _Offered(NamedTuple):
    sni: str | None
    alpn: tuple[str, ...] | None
    version: str
    ciphersuites: tuple[str, ...]
    groups: tuple[str, ...] | None
    ech: bool
    transport: str
    offer: Offer


class ClientHello(_Offered):
    """What a client offers.

    sni: the host name, None where it gave none. alpn: protocols in its order, None where it offered none. version: the
    highest that it offers, e.g. `TLS 1.3`. ciphersuites: IANA names in its order, with signalling values and GREASE.
    groups: of key exchange, likewise, None where it offered none. ech: whether this is the outer hello of an encrypted
    one (RFC 9849), whose host name is in it, or pretends to be. transport, offer: what fingerprints are made of.
    """

    @cached_property
    def encrypted_dns(self) -> str | None:
        """Which kind of lookups the connection is for: dot, doq or doh, if any."""
        return encrypted_dns.kind(self.sni, self.alpn)

    @cached_property
    def ja3(self) -> str:
        """32 hex digits."""
        return ja3(self.offer)

    @cached_property
    def ja4(self) -> str:
        """36 characters."""
        return ja4(self.offer, self.transport)


class ServerHello(NamedTuple):
    """What a server chose. ja3s: 32 hex digits. retry: whether it is a HelloRetryRequest (RFC 8446 4.1.4)."""

    version: str
    ciphersuite: str
    ja3s: str
    retry: bool


Hello = ClientHello | ServerHello

Pick = Callable[[bytes], tuple[bytes, ...]]
"""Gives the bytes of a ClientHello that tell anything: those of its `Parts`. The same one for each layout."""


def size_of(hello: Hello) -> int:
    """About how many bytes the hello takes, beside names that all hellos share."""
    if isinstance(hello, ServerHello):
        return _EMPTY
    offer = hello.offer
    return _EMPTY + 8 * (len(offer.ciphers) + sum(map(len, offer.contents.values()))) + 40 * len(offer.extensions)


_layouts: Kept[tuple[int, int, bytes], tuple[Parts, Pick | None]] = Kept(1 << 20, lambda _layout: 1000)
"""Length, where the cipher suites end, first extensions -> the layout of the latest ClientHello that was alike in that.

It can be picked from once two that followed each other had it: browsers shuffle their extensions, and to remember what
they send would cost more than it saves.
"""
_repeated: Kept[tuple[Pick, str, tuple[bytes, ...]], ClientHello] = Kept(_CACHE_BYTES, size_of)
"""ClientHellos by what they say.

All lengths that lead to where those parts are stand in them. So a hello that is found here has that layout, though it
was guessed, and says the same as the one that was read.
"""


def decode(payload: bytes) -> Hello:
    """The hello that a TCP stream begins with, in one TLS record or in several; what stands behind it is not read.

    Before it a record may stand that changes no cipher: RFC 8446 D.4. Raises Cut where the payload ends within the
    hello, and Malformed where what is there breaks the format.
    """
    if payload[:1] == _CHANGES[0][:1]:
        return _behind_change(payload)
    if len(payload) >= _HEADERS.size:  # nearly always it is in one record, and all there
        content, major, _minor, size, kind_and_length = _HEADERS.unpack_from(payload)
        end = 9 + (kind_and_length & 0xFFFFFF)
        if content == _HANDSHAKE and major == _MAJOR and end - 5 <= size <= _RECORD_MAX and end <= len(payload):
            return message(kind_and_length >> 24, payload[9:end])
    return message(*_gather(payload))


def _behind_change(payload: bytes) -> Hello:
    if not payload.startswith(_CHANGES):
        if any(change.startswith(payload) for change in _CHANGES):
            raise Cut("the record before the hello ends early", _CHANGE + _RECORD.size + 1)
        return message(*_gather(payload))
    try:
        return message(*_gather(payload[_CHANGE:]))
    except Cut as cut:
        raise Cut(str(cut), cut.needed + _CHANGE) from None


def message(kind: int, body: bytes, transport: str = TCP) -> Hello:
    """The hello that is a handshake message of this type, whose body came whole over TCP or QUIC. Raises Malformed."""
    if kind == CLIENT_HELLO:
        return _client(body, transport)
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
        if content != _HANDSHAKE or major != _MAJOR or not 0 < size <= _RECORD_MAX:
            raise Malformed(f"what stands at offset {at} is no record of a TLS handshake")
        at += _RECORD.size
        fragments += payload[at : at + size]
        at += size
        if len(fragments) >= _MESSAGE:
            if fragments[0] not in {CLIENT_HELLO, SERVER_HELLO}:
                raise Malformed(f"the handshake begins with a message of type {fragments[0]}, which is no hello")
            end = _MESSAGE + int.from_bytes(fragments[1:_MESSAGE])
        if len(fragments) >= end:
            return fragments[0], bytes(fragments[_MESSAGE:end])
        if at > len(payload):
            raise Cut("the hello ends within a record", len(payload) + min(at - len(payload), end - len(fragments)))
    raise Malformed(f"the hello is in more than {_RECORDS_MAX} records")


def _client(body: bytes, transport: str) -> ClientHello:
    behind = hello_fields.suites_end(body)
    alike = len(body), behind, body[behind : behind + _ALIKE]
    layout = _layouts[alike]
    if layout is not None and (pick := layout[1]) is not None:
        known = _repeated[pick, transport, pick(body)]
        if known is not None:
            return known
    offer, parts = hello_fields.offer(body)
    hello = _hello(offer, transport)
    if layout is None or layout[0] != parts:
        _layouts.keep(alike, (parts, None))
    elif len(parts) <= _KEPT_PARTS:
        pick = _pick(parts)
        _layouts.keep(alike, (parts, pick))
        _repeated.keep((pick, transport, pick(body)), hello)
    return hello


@lru_cache(maxsize=1024)
def _pick(parts: Parts) -> Pick:
    return itemgetter(*(slice(start, end) for start, end in parts))


def _hello(offer: Offer, transport: str) -> ClientHello:
    get = offer.contents.get
    host, protocols, versions, groups = get(SERVER_NAME), get(ALPN), get(VERSIONS), get(GROUPS)
    if POINT_FORMATS in offer.contents:
        hello_fields.point_formats(offer.contents[POINT_FORMATS])  # only fingerprints tell it, but it is malformed now
    if SIGNATURE_ALGORITHMS in offer.contents:
        hello_fields.signature_algorithms(offer.contents[SIGNATURE_ALGORITHMS])
    return ClientHello(
        None if host is None else _host(host),
        None if protocols is None else _protocols(protocols),
        # RFC 8446 4.2.1: without the extension it is TLS 1.2 at the most, whatever else the hello says
        version_name(min(offer.version, _TLS_1_2)) if versions is None else _version(versions),
        _suites(offer.ciphers),
        None if groups is None else _groups(groups),
        offer.ech,
        transport,
        offer,
    )


@kept
def _host(extension: bytes) -> str | None:
    host = hello_fields.host_name(extension)
    return None if host is None else safe(host)


@kept
def _protocols(extension: bytes) -> tuple[str, ...]:
    return tuple(map(safe, hello_fields.protocols(extension)))


@kept
def _version(extension: bytes) -> str:
    return highest_version(hello_fields.versions(extension))


@kept
def _suites(listed: bytes) -> tuple[str, ...]:
    return tuple(map(cipher_name, hello_fields.numbers(listed)))


@kept
def _groups(extension: bytes) -> tuple[str, ...]:
    return tuple(map(group_name, hello_fields.groups(extension)))


def _choice(choice: Choice) -> ServerHello:
    version = choice.version if choice.supported_version is None else choice.supported_version
    return ServerHello(version_name(version), cipher_name(choice.cipher), ja3s(choice), choice.retry)


_kept_choice = lru_cache(maxsize=1024)(_choice)

"""TLS hellos off the wire: what a client offers, and what a server chose (RFC 8446 4.1 and 5.1; RFC 5246 7.4.1, 6.2.1).

In: the payload of the TCP segment in which the hello begins. Out: a `ClientHello` or a `ServerHello` of printable text,
or `Malformed`, or `Cut`. Offers that repeat are decoded once; the caches are bounded.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import NamedTuple

from ingrain.wire import tls_extensions
from ingrain.wire.malformed import Cut, Malformed
from ingrain.wire.tls_extensions import ALPN, KEY_SHARE, SERVER_NAME, SUPPORTED_VERSIONS
from ingrain.wire.tls_registry import cipher_name, version_name

_HEADERS = Struct("!BBBHI")  # of a record, and of the message that begins it
_RECORD = Struct("!BBBH")  # content type, version (major, minor), length
_MESSAGE = Struct("!I")  # type (8 bits), length (24)
_HANDSHAKE, _MAJOR, _RECORD_MAX = 22, 3, 1 << 14
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_U16 = Struct("!H")
_SESSION_ID_AT, _SESSION_ID_MAX = 34, 32  # it stands behind the version and the random bytes
_CLIENT_TELLS = 3  # extensions: server_name, ALPN, supported_versions


class ClientHello(NamedTuple):
    """What a client offers.

    sni: the host name, None where it gave none. alpn: protocols in its order, None where it offered none. version: the
    highest that it offers, e.g. `TLS 1.3`. ciphersuites: IANA names in its order, with signalling values and GREASE.
    """

    sni: str | None
    alpn: tuple[str, ...] | None
    version: str
    ciphersuites: tuple[str, ...]


class ServerHello(NamedTuple):
    """What a server chose: the version and the cipher suite, which a HelloRetryRequest (RFC 8446 4.1.4) tells too."""

    version: str
    ciphersuite: str


Hello = ClientHello | ServerHello

Layout = tuple[int, int, int]
"""Of a ClientHello: where its session id ends, and where its key share begins and ends."""

_KEPT, _KEPT_BYTES = 1024, 1024  # hellos, and the bytes of each that say the same: some 2 MB, 20 MB at worst
_layouts: dict[int, Layout] = {}
"""Length of a ClientHello -> the layout of the latest of that length."""
_repeated: dict[tuple[Layout, bytes], ClientHello] = {}
"""ClientHellos by their layout and by what they say: all but the random bytes, session id and key share, new in each.

All that leads to a layout stands in those bytes. So a hello that is found here has that layout, though it was guessed.
"""


def decode(payload: bytes) -> Hello:
    """The hello that the payload begins with, in one TLS record or in several; what stands behind it is not read.

    A hello may go on in the next segment (those with post-quantum key shares mostly do), and of a long segment only the
    beginning may have been captured. Such a hello is told where what is missing cannot change it: a client's when each
    of the three extensions that are told has come, a server's when its supported version has, and either when nothing
    of them can follow. Else Cut is raised. Raises Malformed where what is there breaks the format.
    """
    if len(payload) >= _HEADERS.size:
        content, major, _minor, size, kind_and_length = _HEADERS.unpack_from(payload)
        length = kind_and_length & 0xFFFFFF
        if content == _HANDSHAKE and major == _MAJOR and length + 4 <= size <= _RECORD_MAX:
            return _hello(kind_and_length >> 24, length, payload[9 : 9 + length])
    return _hello(*_gather(payload))


def _hello(kind: int, length: int, body: bytes) -> Hello:
    if kind == _CLIENT_HELLO:
        return _client(body, length)
    if kind == _SERVER_HELLO:
        return _server(body, length)
    raise Malformed(f"the handshake begins with a message of type {kind}, which is no hello")


def _gather(payload: bytes) -> tuple[int, int, bytes]:
    """Type, length and body (as far as it is there) of the first message, whose fragments are in several records."""
    message = bytearray()
    at, end = 0, _MESSAGE.size
    while at + _RECORD.size <= len(payload) and len(message) < end:
        content, major, _minor, size = _RECORD.unpack_from(payload, at)
        if content != _HANDSHAKE or major != _MAJOR or not 0 < size <= _RECORD_MAX:
            raise Malformed(f"what stands at offset {at} is no record of a TLS handshake")
        at += _RECORD.size
        message += payload[at : at + size]
        at += size
        if len(message) >= _MESSAGE.size:
            end = _MESSAGE.size + int.from_bytes(message[1:4])
    if len(message) < _MESSAGE.size:
        raise Cut("the handshake message ends within its header")
    return message[0], end - _MESSAGE.size, bytes(message[_MESSAGE.size : end])


def _client(body: bytes, length: int) -> ClientHello:
    if len(body) < length:
        return _offer(body, length)[0]
    layout = _layouts.get(length)
    if layout is not None:
        known = _repeated.get((layout, _said(body, layout)))
        if known is not None:
            return known
    hello, layout = _offer(body, length)
    said = _said(body, layout)
    if len(said) <= _KEPT_BYTES:
        for cache in (_layouts, _repeated):
            if len(cache) >= _KEPT:
                cache.clear()
        _layouts[length] = layout
        _repeated[layout, said] = hello
    return hello


def _said(body: bytes, layout: Layout) -> bytes:
    behind_id, share, behind_share = layout
    return b"".join((body[:2], body[_SESSION_ID_AT : _SESSION_ID_AT + 1], body[behind_id:share], body[behind_share:]))


def _offer(body: bytes, length: int) -> tuple[ClientHello, Layout]:
    found: dict[int, tuple[int, int]] = {}
    ended = False
    try:
        behind_id = at = _behind_session_id(body)
        (size,) = _U16.unpack_from(body, at)
        at += 2
        if not size or size % 2:
            raise Malformed(f"{size} bytes are no list of cipher suites")
        suites = body[at : at + size]
        at += size
        compressions = body[at]
        if not compressions:
            raise Malformed("the client offers no compression method, not even none")
        at += 1 + compressions
        tls_extensions.find(body, at, length, found)
    except (IndexError, StructError):
        ended = True
    share = found.pop(KEY_SHARE, (length, length))
    told = {kind: body[start:end] for kind, (start, end) in found.items() if end <= len(body)}
    if len(told) < len(found) or (ended and len(told) < _CLIENT_TELLS):
        raise _ended("ClientHello", body, length)
    names, protocols = told.get(SERVER_NAME), told.get(ALPN)
    hello = ClientHello(
        None if names is None else tls_extensions.host_name(names),
        None if protocols is None else tls_extensions.protocols(protocols),
        tls_extensions.offered_version(told.get(SUPPORTED_VERSIONS), body[:2]),
        _suites(suites),
    )
    return hello, (behind_id, *share)


def _server(body: bytes, length: int) -> ServerHello:
    found: dict[int, tuple[int, int]] = {}
    ended = False
    try:
        at = _behind_session_id(body)
        (cipher,) = _U16.unpack_from(body, at)
        tls_extensions.find(body, at + 3, length, found)  # behind the suite stands the compression method, a byte
    except (IndexError, StructError):
        ended = True
    start, end = found.get(SUPPORTED_VERSIONS, (0, 2))
    if end > len(body) or (ended and not start):
        raise _ended("ServerHello", body, length)
    if end - start != 2:  # noqa: PLR2004 - bytes of a version
        raise Malformed(f"the server's supported version is {end - start} bytes long, not 2")
    return _choice(int.from_bytes(body[start:end]), cipher)


def _ended(name: str, body: bytes, length: int) -> Malformed | Cut:
    if len(body) == length:
        return Malformed(f"the {name} ends within a part of it, at offset {length}")
    return Cut(f"{len(body)} of the {name}'s {length} bytes are there, and not all that is told")


def _behind_session_id(body: bytes) -> int:
    size = body[_SESSION_ID_AT]
    if size > _SESSION_ID_MAX:
        raise Malformed(f"the session id is {size} bytes long, more than {_SESSION_ID_MAX}")
    return _SESSION_ID_AT + 1 + size


@lru_cache(maxsize=1024)
def _choice(version: int, cipher: int) -> ServerHello:
    return ServerHello(version_name(version), cipher_name(cipher))


def _suites(suites: bytes) -> tuple[str, ...]:
    return _few_suites(suites) if len(suites) <= _KEPT_BYTES else _few_suites.__wrapped__(suites)


@lru_cache(maxsize=256)
def _few_suites(suites: bytes) -> tuple[str, ...]:
    return tuple([cipher_name(number) for (number,) in _U16.iter_unpack(suites)])

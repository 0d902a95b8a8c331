"""The fields of whole TLS hellos as numbers and bytes, in their order on the wire (RFC 8446 4.1.2, 4.1.3).

In: the body of a ClientHello or a ServerHello. Out: an `Offer` or a `Choice`, or `Malformed`. Lists stay the bytes that
they are: what is made of one is kept by these, and most hellos have lists that were there before.
"""

from __future__ import annotations

from struct import Struct, unpack
from struct import error as StructError  # noqa: N812 - it is a class
from typing import NamedTuple

from ingrain.wire.malformed import Malformed

SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN, VERSIONS = 0, 10, 11, 13, 16, 43
ECH = 0xFE0D  # encrypted_client_hello: RFC 9849 5
_READ = frozenset({SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN, VERSIONS, ECH})
_FRESH = frozenset({35, 41, 44, 51, 57})
"""Extensions of which nothing is told, and in which something else stands in each hello: session_ticket (RFC 5077),
pre_shared_key, cookie, key_share (RFC 8446), quic_transport_parameters (RFC 9001 8.2)."""

_MATTER = _READ | _FRESH

_HEADER = Struct("!HH")  # of an extension: type, length
_U16 = Struct("!H")
_CHOICE = Struct("!HB")  # cipher suite, compression method
_RANDOM, _SESSION_ID, _SESSION_ID_MAX = slice(2, 34), 34, 32
_HOST_NAME, _OUTER = 0, b"\0"
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The random bytes of a ServerHello that is a HelloRetryRequest: RFC 8446 4.1.3."""


class Offer(NamedTuple):
    """What a client offers: lists as they stand on the wire, without their length, GREASE (RFC 8701) among their items.

    version: the hello's own ("legacy") one. ciphers, groups, signature_algorithms, versions (of supported_versions):
    `numbers` of two bytes each; point_formats: of one byte; protocols (of ALPN): see `protocols`. All but ciphers are
    empty where the extension is missing. extensions: their types. host: the name in server_name, None without one.
    ech: whether this is the outer hello of an encrypted one, or pretends to be (only the server knows: RFC 9849 6.2).
    """

    version: int
    ciphers: bytes
    extensions: tuple[int, ...]
    host: bytes | None
    groups: bytes
    point_formats: bytes
    signature_algorithms: bytes
    protocols: bytes
    versions: bytes
    ech: bool


Parts = tuple[tuple[int, int], ...]
"""Begin and end of all bytes of a ClientHello on which anything of its offer depends: hellos of one length that are the
same there are the same offer. What is left out is new in each: random bytes, session id, keys, tickets."""


class Choice(NamedTuple):
    """What a server chose.

    version: the hello's own one; supported_version: that of the extension which overrides it, None where there is none.
    extensions: their types, in its order. retry: whether it is a HelloRetryRequest.
    """

    version: int
    cipher: int
    extensions: tuple[int, ...]
    supported_version: int | None
    retry: bool


def offer(body: bytes) -> tuple[Offer, Parts]:
    """What the ClientHello offers, and where that stands. Raises Malformed."""
    try:
        begin = at = _behind_session_id(body)
        (size,) = _U16.unpack_from(body, at)
        at += 2
        if not size:
            raise Malformed("the client offers no cipher suite")
        ciphers = body[at : at + size]
        at += size
        compressions = body[at]
        if not compressions:
            raise Malformed("the client offers no compression method, not even none")
        kinds, places = _extensions(body, at + 1 + compressions)
    except (IndexError, StructError):
        raise Malformed(f"the ClientHello ends within a part of it, at offset {len(body)}") from None
    read: dict[int, bytes] = {}
    parts = [(0, 2), (_SESSION_ID, _SESSION_ID + 1)]
    for kind, start, end in places:
        if kind not in _FRESH:
            if kind in read:
                raise Malformed(f"extension {kind} stands there twice")  # RFC 8446 4.2
            read[kind] = body[start:end]
        if kind in _FRESH or kind == ECH:  # of which only the type, its first byte, is told
            parts.append((begin, start + (kind == ECH)))
            begin = end
    parts.append((begin, len(body)))
    if size % 2:
        raise Malformed(f"{size} bytes are no list of cipher suites")
    names = read.get(SERVER_NAME)
    found = Offer(
        int.from_bytes(body[:2]),
        ciphers,
        kinds,
        None if names is None else _host_name(_list(SERVER_NAME, names, items=1)),
        _list(GROUPS, read.get(GROUPS)),
        _list(POINT_FORMATS, read.get(POINT_FORMATS), width=1, items=1),
        _list(SIGNATURE_ALGORITHMS, read.get(SIGNATURE_ALGORITHMS)),
        _list(ALPN, read.get(ALPN), items=1),
        _list(VERSIONS, read.get(VERSIONS), width=1),
        read.get(ECH, b"")[:1] == _OUTER,
    )
    return found, tuple(parts)


def choice(body: bytes) -> Choice:
    """What the ServerHello chose. Raises Malformed."""
    try:
        at = _behind_session_id(body)
        cipher, _compression = _CHOICE.unpack_from(body, at)
        kinds, places = _extensions(body, at + _CHOICE.size)
    except (IndexError, StructError):
        raise Malformed(f"the ServerHello ends within a part of it, at offset {len(body)}") from None
    chosen = [body[start:end] for kind, start, end in places if kind == VERSIONS]
    if len(chosen) > 1 or any(len(version) != 2 for version in chosen):  # noqa: PLR2004 - bytes of a version
        raise Malformed("the server's supported version stands there twice, or is not 2 bytes long")
    supported = int.from_bytes(chosen[0]) if chosen else None
    return Choice(int.from_bytes(body[:2]), cipher, kinds, supported, body[_RANDOM] == _RETRY)


def _behind_session_id(body: bytes) -> int:
    size = body[_SESSION_ID]
    if size > _SESSION_ID_MAX:
        raise Malformed(f"the session id is {size} bytes long, more than {_SESSION_ID_MAX}")
    return _SESSION_ID + 1 + size


def _extensions(body: bytes, at: int) -> tuple[tuple[int, ...], list[tuple[int, int, int]]]:
    """The types of all extensions, and type, begin and end of those that matter; before TLS 1.3 there may be none."""
    kinds: list[int] = []
    places: list[tuple[int, int, int]] = []
    length = len(body)
    if at == length:
        return (), places
    (size,) = _U16.unpack_from(body, at)
    at += 2
    if at + size != length:
        raise Malformed(f"the extensions at offset {at} end at {at + size}, the hello at {length}")
    header = _HEADER.unpack_from
    while at < length:
        kind, size = header(body, at)
        at += 4 + size
        kinds.append(kind)
        if kind in _MATTER:
            places.append((kind, at - size, at))
    if at > length:
        raise Malformed(f"the last extension ends at offset {at}, the hello at {length}")
    return tuple(kinds), places


def _list(kind: int, extension: bytes | None, *, width: int = 2, items: int = 2) -> bytes:
    """What stands behind the length (of `width` bytes) of a list that fills its extension; nothing only without one.

    items: bytes of which each of its items has a multiple.
    """
    if extension is None:
        return b""
    size = len(extension) - width
    if size <= 0 or int.from_bytes(extension[:width]) != size or size % items:
        raise Malformed(f"extension {kind} of {len(extension)} bytes is not the list that it should be, or has no item")
    return extension[width:]


def numbers(listed: bytes) -> tuple[int, ...]:
    """The numbers of 16 bits in a list of an offer."""
    return unpack(f"!{len(listed) // 2}H", listed)


def _host_name(names: bytes) -> bytes | None:
    """The host name of server_name (RFC 6066 3), None where it has only names of other types."""
    host = None
    at = 0
    while at < len(names):
        size = int.from_bytes(names[at + 1 : at + 3])
        name = names[at + 3 : at + 3 + size]
        if not name or len(name) < size:
            raise Malformed(f"the server name at offset {at} of its list is empty or longer than the list")
        if names[at] == _HOST_NAME:
            if host is not None:
                raise Malformed("there is more than one host name")
            host = name
        at += 3 + size
    return host


def protocols(listed: bytes) -> tuple[bytes, ...]:
    """The names in an offer's list of protocols (RFC 7301 3.1). Raises Malformed."""
    names = []
    at = 0
    while at < len(listed):
        behind = at + 1 + listed[at]
        name = listed[at + 1 : behind]
        if not name or behind > len(listed):
            raise Malformed(f"the protocol at offset {at} of its list is empty or longer than the list")
        names.append(name)
        at = behind
    return tuple(names)

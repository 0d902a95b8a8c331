"""The fields of whole TLS hellos, in their order on the wire (RFC 8446 4.1.2, 4.1.3).

In: the body of a ClientHello or a ServerHello. Out: an `Offer` or a `Choice`, or `Malformed`. A client's lists stay
bytes until somebody asks what is in them: most hellos have lists that others had before, and what was made of those is
kept.
"""

from __future__ import annotations

from struct import Struct, unpack
from struct import error as StructError  # noqa: N812 - it is a class
from typing import NamedTuple

from ingrain.wire.kept import kept
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
    """What a client offers, GREASE (RFC 8701) included.

    version: the hello's own ("legacy") one. ciphers: the list of suites, two bytes each. extensions: their types, in
    its order. contents: by type, of those whose contents matter, as `host_name` and the functions beside it read them.
    """

    version: int
    ciphers: bytes
    extensions: tuple[int, ...]
    contents: dict[int, bytes]

    @property
    def ech(self) -> bool:
        """Whether this is the outer hello of an encrypted one, or pretends to be (only servers know: RFC 9849 6.2)."""
        return self.contents.get(ECH) == _OUTER


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


def suites_end(body: bytes) -> int:
    """Where the ClientHello's cipher suites end. Raises Malformed where it ends before."""
    try:
        at = _SESSION_ID + 1 + body[_SESSION_ID]
        return at + 2 + (body[at] << 8 | body[at + 1])
    except IndexError:
        raise Malformed(f"the ClientHello ends before its cipher suites, at offset {len(body)}") from None


def offer(body: bytes) -> tuple[Offer, Parts]:
    """What the ClientHello offers, and where that stands. Raises Malformed."""
    try:
        begin = at = _behind_session_id(body)
        (size,) = _U16.unpack_from(body, at)
        at += 2
        ciphers = body[at : at + size]
        at += size
        compressions = body[at]
        kinds, places = _extensions(body, at + 1 + compressions)
    except (IndexError, StructError):
        raise Malformed(f"the ClientHello ends within a part of it, at offset {len(body)}") from None
    if not size or size % 2 or not compressions:
        raise Malformed("the client's cipher suites are none, or of an odd length; or it has no compression method")
    parts = [(0, 2), (_SESSION_ID, _SESSION_ID + 1)]
    contents: dict[int, bytes] = {}
    for kind, start, end in places:
        if kind in contents:
            raise Malformed(f"extension {kind} stands there twice")  # RFC 8446 4.2
        if kind in _FRESH:
            parts.append((begin, start))
            begin = end
        elif kind == ECH:  # only its type, its first byte, says anything
            contents[kind] = body[start:end][:1]
            parts.append((begin, start + 1))
            begin = end
        else:
            contents[kind] = body[start:end]
    parts.append((begin, len(body)))
    return Offer(int.from_bytes(body[:2]), ciphers, kinds, contents), tuple(parts)


def choice(body: bytes) -> Choice:
    """What the ServerHello chose. Raises Malformed."""
    try:
        at = _behind_session_id(body)
        cipher, _compression = _CHOICE.unpack_from(body, at)
        kinds, places = _extensions(body, at + _CHOICE.size)
    except (IndexError, StructError):
        raise Malformed(f"the ServerHello ends within a part of it, at offset {len(body)}") from None
    supported = None
    for kind, start, end in places:
        if kind == VERSIONS:
            if supported is not None or end - start != 2:  # noqa: PLR2004 - bytes of a version
                raise Malformed("the server's supported version stands there twice, or is not 2 bytes long")
            supported = int.from_bytes(body[start:end])
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


def numbers(listed: bytes) -> tuple[int, ...]:
    """The numbers of 16 bits in a list without its length: an offer's ciphers."""
    return unpack(f"!{len(listed) // 2}H", listed)


@kept
def groups(extension: bytes) -> tuple[int, ...]:
    """Of supported_groups (RFC 8446 4.2.7), and this like the others raises Malformed for what is no such list."""
    return numbers(_list(extension))


@kept
def signature_algorithms(extension: bytes) -> tuple[int, ...]:
    """Of signature_algorithms (RFC 8446 4.2.3)."""
    return numbers(_list(extension))


@kept
def versions(extension: bytes) -> tuple[int, ...]:
    """Of supported_versions (RFC 8446 4.2.1)."""
    return numbers(_list(extension, width=1))


@kept
def point_formats(extension: bytes) -> tuple[int, ...]:
    """Of ec_point_formats (RFC 8422 5.1.2)."""
    return tuple(_list(extension, width=1, items=1))


@kept
def host_name(extension: bytes) -> bytes | None:
    """Of server_name (RFC 6066 3), None where it has only names of other types, or, as servers allow, an empty one."""
    listed = _list(extension, items=1)
    host = None
    at = 0
    while at < len(listed):
        size = int.from_bytes(listed[at + 1 : at + 3])
        name = listed[at + 3 : at + 3 + size]
        if len(name) < size:
            raise Malformed(f"the server name at offset {at} of its list is longer than the list")
        if listed[at] == _HOST_NAME:
            if host is not None:
                raise Malformed("there is more than one host name")
            host = name
        at += 3 + size
    return host or None


@kept
def protocols(extension: bytes) -> tuple[bytes, ...]:
    """Of application_layer_protocol_negotiation (RFC 7301 3.1)."""
    listed = _list(extension, items=1)
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


def _list(extension: bytes, *, width: int = 2, items: int = 2) -> bytes:
    """What stands behind the length (of `width` bytes) of a list that fills its extension, and is not empty.

    items: bytes of which each of its items has a multiple.
    """
    size = len(extension) - width
    if size <= 0 or int.from_bytes(extension[:width]) != size or size % items:
        raise Malformed(f"an extension of {len(extension)} bytes is not the list that it should be, or has no item")
    return extension[width:]

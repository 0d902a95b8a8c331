"""The fields of whole TLS hellos as numbers, in their order on the wire (RFC 8446 4.1.2, 4.1.3), for fingerprints.

In: the body of a ClientHello or a ServerHello, from its version on, all of it. Out: an `Offer` or a `Choice`, or
`Malformed`. It is read in two steps: `parts` walks through the body, `offer` reads the lists that it found.
"""

from __future__ import annotations

from struct import Struct, unpack
from struct import error as StructError  # noqa: N812 - it is a class
from typing import NamedTuple

from ingrain.wire.malformed import Malformed

SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN, VERSIONS = 0, 10, 11, 13, 16, 43
ECH = 0xFE0D  # encrypted_client_hello: RFC 9849 5
GREASE = frozenset(range(0x0A0A, 0x10000, 0x1010))  # RFC 8701 2
_GREASE_PROTOCOLS = frozenset(number.to_bytes(2) for number in GREASE)
_LISTS = frozenset({GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN, VERSIONS, ECH})

_HEADER = Struct("!HH")  # of an extension: type, length
_U16 = Struct("!H")
_CHOICE = Struct("!HB")  # cipher suite, compression method
_RANDOM, _SESSION_ID, _SESSION_ID_MAX = slice(2, 34), 34, 32
_OUTER = b"\0"
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The random bytes of a ServerHello that is a HelloRetryRequest: RFC 8446 4.1.3."""


class Parts(NamedTuple):
    """What a ClientHello says but for the host name: raw, hashable, and the same for all hellos that say the same.

    The bodies of extensions are None where there is no such extension; of ECH's only the first byte, its type, is kept.
    """

    version: int
    ciphers: bytes
    extensions: tuple[int, ...]
    groups: bytes | None
    point_formats: bytes | None
    signature_algorithms: bytes | None
    protocols: bytes | None
    versions: bytes | None
    ech: bytes | None


class Offer(NamedTuple):
    """What a client offers: registered numbers in its order, GREASE (RFC 8701) among them.

    version: the hello's own ("legacy") one. extensions: their types. groups, point_formats, signature_algorithms,
    protocols (of ALPN), versions (of supported_versions): what these extensions list, empty where they are missing.
    ech: whether it is the outer hello of an encrypted one, or pretends to be (RFC 9849 6.2: GREASE looks the same).
    """

    version: int
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]
    groups: tuple[int, ...] = ()
    point_formats: tuple[int, ...] = ()
    signature_algorithms: tuple[int, ...] = ()
    protocols: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = ()
    ech: bool = False

    @property
    def grease(self) -> bool:
        """Whether a GREASE value stands in any of its lists."""
        lists = (self.ciphers, self.extensions, self.groups, self.signature_algorithms, self.versions)
        return not all(map(GREASE.isdisjoint, lists)) or not _GREASE_PROTOCOLS.isdisjoint(self.protocols)


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


def client(body: bytes) -> Offer:
    """What the ClientHello offers. Raises Malformed."""
    return offer(parts(body))


def parts(body: bytes) -> Parts:
    """The parts of a ClientHello. Raises Malformed where a length does not fit, or a part that is kept comes twice."""
    try:
        (version,) = _U16.unpack_from(body)
        at = _behind_session_id(body)
        (size,) = _U16.unpack_from(body, at)
        at += 2
        if not size or size % 2:
            raise Malformed(f"{size} bytes are no list of cipher suites")
        ciphers = body[at : at + size]
        at += size
        compressions = body[at]
        if not compressions:
            raise Malformed("the client offers no compression method, not even none")
        extensions, told = _extensions(body, at + 1 + compressions)
    except (IndexError, StructError):
        raise Malformed(f"the ClientHello ends within a part of it, at offset {len(body)}") from None
    get = told.get
    ech = get(ECH)
    return Parts(
        version,
        ciphers,
        extensions,
        get(GROUPS),
        get(POINT_FORMATS),
        get(SIGNATURE_ALGORITHMS),
        get(ALPN),
        get(VERSIONS),
        None if ech is None else ech[:1],
    )


def offer(said: Parts) -> Offer:
    """What these parts offer. Raises Malformed where one is not the list that its extension defines."""
    return Offer(
        said.version,
        _numbers(said.ciphers),
        said.extensions,
        () if said.groups is None else _numbers(_listed(GROUPS, said.groups, 2)),
        () if said.point_formats is None else tuple(_listed(POINT_FORMATS, said.point_formats, 1)),
        ()
        if said.signature_algorithms is None
        else _numbers(_listed(SIGNATURE_ALGORITHMS, said.signature_algorithms, 2)),
        () if said.protocols is None else _protocols(_listed(ALPN, said.protocols, 2)),
        () if said.versions is None else _numbers(_listed(VERSIONS, said.versions, 1)),
        said.ech is not None and said.ech[:1] == bytes([_OUTER]),
    )


def server(body: bytes) -> Choice:
    """What the ServerHello chose. Raises Malformed."""
    try:
        (version,) = _U16.unpack_from(body)
        at = _behind_session_id(body)
        cipher, _compression = _CHOICE.unpack_from(body, at)
        extensions, told = _extensions(body, at + _CHOICE.size)
    except (IndexError, StructError):
        raise Malformed(f"the ServerHello ends within a part of it, at offset {len(body)}") from None
    chosen = told.get(VERSIONS)
    if chosen is not None and len(chosen) != 2:  # noqa: PLR2004 - bytes of a version
        raise Malformed(f"the server's supported version is {len(chosen)} bytes long, not 2")
    supported = None if chosen is None else int.from_bytes(chosen)
    return Choice(version, cipher, extensions, supported, body[_RANDOM] == _RETRY)


def _behind_session_id(body: bytes) -> int:
    size = body[_SESSION_ID]
    if size > _SESSION_ID_MAX:
        raise Malformed(f"the session id is {size} bytes long, more than {_SESSION_ID_MAX}")
    return _SESSION_ID + 1 + size


def _extensions(body: bytes, at: int) -> tuple[tuple[int, ...], dict[int, bytes]]:
    """The types of all extensions, and the bodies of those that hold lists; before TLS 1.3 there may be none."""
    kinds: list[int] = []
    told: dict[int, bytes] = {}
    length = len(body)
    if at == length:
        return (), told
    (size,) = _U16.unpack_from(body, at)
    at += 2
    if at + size != length:
        raise Malformed(f"the extensions at offset {at} end at {at + size}, the hello at {length}")
    header = _HEADER.unpack_from
    while at < length:
        kind, size = header(body, at)
        at += 4 + size
        kinds.append(kind)
        if kind in _LISTS:
            if kind in told:
                raise Malformed(f"extension {kind} stands there twice")  # RFC 8446 4.2
            told[kind] = body[at - size : at]
    if at > length:
        raise Malformed(f"the last extension ends at offset {at}, the hello at {length}")
    return tuple(kinds), told


def _listed(kind: int, extension: bytes | None, width: int) -> bytes:
    """What stands behind the length (of `width` bytes) of a list that fills its extension; nothing only without one."""
    if extension is None:
        return b""
    if len(extension) <= width or int.from_bytes(extension[:width]) != len(extension) - width:
        raise Malformed(f"extension {kind} of {len(extension)} bytes is not the list that it should be, or has no item")
    return extension[width:]


def _numbers(listed: bytes) -> tuple[int, ...]:
    count, odd = divmod(len(listed), 2)
    if odd:
        raise Malformed(f"{len(listed)} bytes are no list of 16-bit numbers")
    return unpack(f"!{count}H", listed)


def _protocols(listed: bytes) -> tuple[bytes, ...]:
    """The protocols of ALPN: RFC 7301 3.1."""
    protocols = []
    at = 0
    while at < len(listed):
        behind = at + 1 + listed[at]
        name = listed[at + 1 : behind]
        if not name or behind > len(listed):
            raise Malformed(f"the protocol at offset {at} of its list is empty or longer than the list")
        protocols.append(name)
        at = behind
    return tuple(protocols)

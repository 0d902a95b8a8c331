"""The extensions of a TLS hello that are told (RFC 8446 4.2): where they stand, and what each says, as printable text.

In: the hello's body, or an extension's. Out: positions, or text, or `Malformed`.
"""

from __future__ import annotations

from struct import Struct

from ingrain.text import safe
from ingrain.wire.malformed import Malformed
from ingrain.wire.tls_registry import highest_version, version_name

SERVER_NAME, ALPN, SUPPORTED_VERSIONS = 0, 16, 43
KEY_SHARE = 51
_FOUND = frozenset({SERVER_NAME, ALPN, SUPPORTED_VERSIONS, KEY_SHARE})
_HEADER = Struct("!HH")  # type, length
_U16 = Struct("!H")
_LENGTH = 2  # bytes that tell how long a list is
_HOST_NAME = 0
_TLS_1_2 = 0x0303


def find(body: bytes, at: int, length: int, found: dict[int, tuple[int, int]]) -> None:
    """Put in `found` where the bodies of those four begin and end, as they are met; before TLS 1.3 there may be none.

    at: where the extensions begin. length: that of the whole hello, of which only the beginning may be there: then a
    position may lie behind it, and IndexError or struct.error is raised where the walk cannot go on. Raises Malformed
    where an extension is longer than the hello, or stands there twice.
    """
    if at == length:
        return
    (size,) = _U16.unpack_from(body, at)
    at += 2
    if at + size != length:
        raise Malformed(f"the extensions at offset {at} end at {at + size}, the hello at {length}")
    unpack = _HEADER.unpack_from
    while at < length:
        kind, size = unpack(body, at)
        at += 4 + size
        if kind in _FOUND:
            if kind in found:
                raise Malformed(f"extension {kind} stands there twice")  # RFC 8446 4.2
            found[kind] = (at - size, at)
    if at > length:
        raise Malformed(f"the last extension ends at offset {at}, the hello at {length}")


def host_name(names: bytes) -> str | None:
    """The host name of a server_name extension (RFC 6066 3), None where it has only names of other types."""
    host = None
    at = _LENGTH
    end = _end_of_list(names)
    while at < end:
        size = int.from_bytes(names[at + 1 : at + 3])
        name = names[at + 3 : at + 3 + size]
        if not name or len(name) < size:
            raise Malformed(f"the server name at offset {at} of its list is empty or longer than the list")
        if names[at] == _HOST_NAME:
            if host is not None:
                raise Malformed("there is more than one host name")
            host = name
        at += 3 + size
    return None if host is None else safe(host)


def protocols(names: bytes) -> tuple[str, ...]:
    """The protocols of an ALPN extension (RFC 7301 3.1), in its order."""
    told = []
    at = _LENGTH
    end = _end_of_list(names)
    while at < end:
        behind = at + 1 + names[at]
        name = names[at + 1 : behind]
        if not name or behind > end:
            raise Malformed(f"the protocol at offset {at} of its list is empty or longer than the list")
        told.append(safe(name))
        at = behind
    return tuple(told)


def offered_version(versions: bytes | None, legacy: bytes) -> str:
    """The highest version of a client: of its supported_versions extension, or without one (None) of its hello.

    Without one it is TLS 1.2 at the most, whatever else the hello says: RFC 8446 4.2.1.
    """
    if versions is None:
        return version_name(min(int.from_bytes(legacy), _TLS_1_2))
    if len(versions) < 3 or len(versions) % 2 == 0 or versions[0] != len(versions) - 1:  # noqa: PLR2004 - of one version
        raise Malformed("the supported versions are no list of versions")
    return highest_version([number for (number,) in _U16.iter_unpack(versions[1:])])


def _end_of_list(extension: bytes) -> int:
    """Where a list ends that fills its extension, behind the two bytes with its length."""
    if len(extension) <= _LENGTH or int.from_bytes(extension[:_LENGTH]) != len(extension) - _LENGTH:
        raise Malformed(f"an extension of {len(extension)} bytes is not the list that it should be, or has no item")
    return len(extension)

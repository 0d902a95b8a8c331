"""What a DNS record says, as text: RDATA in its presentation form (RFC 1035 3.3, 2782, 3596, 9460; 3597 for the rest).

In: a message, where the record's data begins and ends, its type and class. Out: printable ASCII, as in a master file.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Protocol

from ingrain.wire import dns_name, dns_svcb, ipv6
from ingrain.wire.malformed import Malformed

_U16 = Struct("!H")
_SRV = Struct("!HHH")  # priority, weight, port
_SOA = Struct("!IIIII")  # serial, refresh, retry, expire, minimum
_IN = 1
_A, _AAAA, _SVCB, _HTTPS = 1, 28, 64, 65
ADDRESSES = frozenset({_A, _AAAA, _SVCB, _HTTPS})
"""Types of records that hold addresses."""
_ADDRESS = 16  # bytes
_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291 2.5.5.2
_CLASS = 0x7FFF  # the top bit is multicast DNS's "flush the cache": RFC 6762 10.2
_IN_QUOTES = tuple(
    f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03d}"  # noqa: PLR2004 - ASCII
    for byte in range(256)
)
_PLAIN = bytes(byte for byte in range(256) if len(_IN_QUOTES[byte]) == 1)


class _Form(Protocol):
    def __call__(self, message: bytes, at: int, end: int, known: dict[int, bytes], /) -> str: ...


def text(message: bytes, at: int, end: int, kind: int, record_class: int, *, known: dict[int, bytes]) -> str:
    r"""The data between `at` and `end` (which is within the message) of a record of this type (`kind`) and class.

    `known` as for `dns_name.read`. A type that has no form of its own here, or not in this class, is `\# LENGTH HEX`.
    Raises Malformed where the data is not of its type's form.
    """
    form = _FORMS.get(kind)
    if form is None or (record_class != _IN and kind in _INTERNET and record_class & _CLASS != _IN):
        return unknown(message, at, end)
    try:
        return form(message, at, end, known)
    except (IndexError, StructError):
        raise Malformed(f"the data of the record of type {kind} at offset {at} ends too early") from None


def unknown(message: bytes, at: int, end: int) -> str:
    r"""The data between `at` and `end` as that of a type whose form is not known: `\# LENGTH HEX` (RFC 3597 5)."""
    return f"\\# {end - at} {message[at:end].hex()}" if end > at else "\\# 0"


def addresses(
    message: bytes, at: int, end: int, kind: int, record_class: int, *, known: dict[int, bytes]
) -> list[bytes]:
    """What a record of one of ADDRESSES says that `text` took: 16 bytes each, IPv4 mapped; none but in class IN."""
    if record_class & _CLASS != _IN:
        return []
    found = [message[at:end]] if kind in {_A, _AAAA} else dns_svcb.hints(message, at, end, known)
    return [_MAPPED[: _ADDRESS - len(address)] + address for address in found]


_ipv4 = lru_cache(maxsize=4096)(socket.inet_ntoa)


def _a(message: bytes, at: int, end: int, _known: dict[int, bytes]) -> str:
    if end - at != 4:  # noqa: PLR2004 - bytes of an address
        raise Malformed(f"the address at offset {at} is {end - at} bytes long, not 4")
    return _ipv4(message[at:end])


def _aaaa(message: bytes, at: int, end: int, _known: dict[int, bytes]) -> str:
    if end - at != 16:  # noqa: PLR2004 - bytes of an address
        raise Malformed(f"the address at offset {at} is {end - at} bytes long, not 16")
    return ipv6.text(message[at:end])


def _name(message: bytes, at: int, end: int, known: dict[int, bytes]) -> str:
    labels, behind = dns_name.read(message, at, known)
    if behind != end:
        raise Malformed(f"the name at offset {at} does not end where its record does")
    return dns_name.text(labels)


def _mx(message: bytes, at: int, end: int, known: dict[int, bytes]) -> str:
    (preference,) = _U16.unpack_from(message, at)
    return f"{preference} {_name(message, at + 2, end, known)}"


def _srv(message: bytes, at: int, end: int, known: dict[int, bytes]) -> str:
    priority, weight, port = _SRV.unpack_from(message, at)
    return f"{priority} {weight} {port} {_name(message, at + 6, end, known)}"


def _soa(message: bytes, at: int, end: int, known: dict[int, bytes]) -> str:
    primary, at = dns_name.read(message, at, known)
    mailbox, at = dns_name.read(message, at, known)
    if at + _SOA.size != end:
        raise Malformed(f"the five numbers of the SOA record at offset {at} do not end where it does")
    numbers = _SOA.unpack_from(message, at)
    return " ".join([dns_name.text(primary), dns_name.text(mailbox), *map(str, numbers)])


def _txt(message: bytes, at: int, end: int, _known: dict[int, bytes]) -> str:
    strings = []
    while at < end:
        start = at + 1
        at = start + message[at]
        string = message[start:at]
        if string.translate(None, _PLAIN):
            strings.append("".join([_IN_QUOTES[byte] for byte in string]))
        else:
            strings.append(string.decode("ascii"))
    if at != end:
        raise Malformed(f"a text of the TXT record that ends at offset {end} is longer than the record")
    return '"' + '" "'.join(strings) + '"'  # none at all is one that is empty: RFC 6763 6.1


_INTERNET: dict[int, _Form] = {_A: _a, _AAAA: _aaaa, 33: _srv, _SVCB: dns_svcb.text, _HTTPS: dns_svcb.text}
"""Types whose form is that of class IN only."""
_FORMS: dict[int, _Form] = {2: _name, 5: _name, 6: _soa, 12: _name, 15: _mx, 16: _txt, **_INTERNET}

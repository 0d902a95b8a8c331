"""SVCB and HTTPS records as text (RFC 9460): priority, target, then the parameters as `key=value`, each without quotes.

In: a message and where the record's data is. Out: its presentation form, printable ASCII.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from itertools import starmap
from struct import Struct

from ingrain.wire import dns_name, ipv6
from ingrain.wire.malformed import Malformed

_PRIORITY = Struct("!H")
_PARAMETER = Struct("!HH")  # key, length of the value
_IN_LIST = {ord("\\"): "\\\\\\\\", ord(","): "\\\\,"}
"""In an item of a comma-separated list a backslash and a comma are escaped twice over: RFC 9460 A.1."""
_ESCAPED = tuple(
    # as in a name, but that dots and the like mean nothing in a value
    chr(byte) if chr(byte) in ".@$" else dns_name.ESCAPED[byte]
    for byte in range(256)
)


def text(message: bytes, at: int, end: int, known: dict[int, bytes]) -> str:
    """The record's data at `at`, e.g. `1 . alpn=h2,h3 ipv4hint=192.0.2.1`.

    Raises Malformed for parameters that are not in ascending order of their keys, or whose value is not of their form;
    IndexError or struct.error where the data ends too early.
    """
    (priority,) = _PRIORITY.unpack_from(message, at)
    target, at = dns_name.read(message, at + _PRIORITY.size, known)
    return " ".join([str(priority), dns_name.text(target), *starmap(_parameter, _parameters(message, at, end))])


def hints(message: bytes, at: int, end: int, known: dict[int, bytes]) -> list[bytes]:
    """The addresses, 4 or 16 bytes each, where the record, which `text` took, says that its target may be reached."""
    _target, at = dns_name.read(message, at + _PRIORITY.size, known)
    sizes = ((value, _HINTS[key]) for key, value in _parameters(message, at, end) if key in _HINTS)
    return [value[place : place + size] for value, size in sizes for place in range(0, len(value), size)]


def _parameters(message: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Key and value of each; raises as `text` does, but for values."""
    last = -1
    while at < end:
        key, length = _PARAMETER.unpack_from(message, at)
        at += _PARAMETER.size
        if key <= last or at + length > end:
            raise Malformed(f"the service parameter at offset {at - 4} is out of order or longer than its record")
        yield key, message[at : at + length]
        at += length
        last = key
    if at != end:
        raise Malformed("the target of a service binding is longer than its record")


def _parameter(key: int, value: bytes) -> str:
    name, form = _FORMS.get(key, ("", _bytes))
    name = name or f"key{key}"
    shown = form(value)
    if shown is None:
        raise Malformed(f"service parameter {name} has a value that is not of its form: {value[:32].hex()}")
    return f"{name}={shown}" if shown else name


def _bytes(value: bytes) -> str | None:
    return "".join([_ESCAPED[byte] for byte in value])


def _nothing(value: bytes) -> str | None:
    return None if value else ""


def _port(value: bytes) -> str | None:
    return str(int.from_bytes(value)) if len(value) == 2 else None  # noqa: PLR2004 - 16 bits


def _keys(value: bytes) -> str | None:
    if not value or len(value) % 2:
        return None
    keys = [int.from_bytes(value[at : at + 2]) for at in range(0, len(value), 2)]
    return ",".join([_FORMS[key][0] if key in _FORMS else f"key{key}" for key in keys])


def _protocols(value: bytes) -> str | None:
    shown = []
    at = 0
    while at < len(value):
        item = value[at + 1 : at + 1 + value[at]]
        if not item or len(item) < value[at]:
            return None
        shown.append("".join([_IN_LIST.get(byte) or _ESCAPED[byte] for byte in item]))
        at += 1 + len(item)
    return ",".join(shown) or None


def _addresses(shown: Callable[[bytes], str], size: int) -> Callable[[bytes], str | None]:
    def each(value: bytes) -> Iterator[str]:
        for at in range(0, len(value), size):
            yield shown(value[at : at + size])

    return lambda value: ",".join(each(value)) if value and len(value) % size == 0 else None


def _base64(value: bytes) -> str | None:
    return base64.b64encode(value).decode("ascii") or None


_IPV4_HINT, _IPV6_HINT = 4, 6
_HINTS = {_IPV4_HINT: 4, _IPV6_HINT: 16}
"""Key -> bytes of each address in its value."""

_FORMS: dict[int, tuple[str, Callable[[bytes], str | None]]] = {
    0: ("mandatory", _keys),
    1: ("alpn", _protocols),
    2: ("no-default-alpn", _nothing),
    3: ("port", _port),
    _IPV4_HINT: ("ipv4hint", _addresses(socket.inet_ntoa, 4)),
    5: ("ech", _base64),
    _IPV6_HINT: ("ipv6hint", _addresses(ipv6.text, 16)),
    7: ("dohpath", _bytes),  # RFC 9461
    8: ("ohttp", _nothing),  # RFC 9540
}
"""Key -> its name, and its value as text (None: not of its form). Other keys: `keyNNN` and the bytes."""

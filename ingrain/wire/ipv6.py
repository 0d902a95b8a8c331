"""IPv6 addresses as text: RFC 5952, with the dotted form (section 5) for IPv4-mapped ones alone."""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache

_MAPPED = "::ffff:"


@lru_cache(maxsize=16384)
def text(raw: bytes) -> str:
    """The address of these 16 bytes."""
    shown = socket.inet_ntop(socket.AF_INET6, raw)  # several times as fast as ipaddress
    if "." in shown and not shown.startswith(_MAPPED):  # to glibc `::1:1` is `::0.1.0.1`
        return str(ipaddress.IPv6Address(raw))
    return shown

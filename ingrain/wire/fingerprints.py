"""What tells one TLS client or server program from another: fingerprints and the habits that stand in a hello.

In: the body of a whole ClientHello or ServerHello. Out: a `ClientPrint` or a `ServerPrint`, or `Malformed`. Hellos that
say the same (whatever host, random bytes, keys and tickets they carry) are told once; the caches are bounded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ingrain.wire import hello_fields, ja3, ja4
from ingrain.wire.hello_fields import Choice, Parts
from ingrain.wire.tls_registry import group_name

_KEPT_MAX = 1024  # bytes of a hello that is kept; with 1,024 of them some 2 MB, and 5 MB at worst
_CHOSEN_MAX = 64  # extensions of a choice that is kept: with 256 of them some 0.2 MB


class ClientPrint(NamedTuple):
    """What tells a client.

    ja3: 32 hex digits. ja4, ja4_quic: 36 characters, of a hello over TCP and over QUIC, which differ in the first.
    groups: IANA names of the groups (elliptic curves) that it offers, in its order and with GREASE, as the cipher
    suites are told; None where it offers none. grease: whether it sends GREASE values (RFC 8701). ech: whether this is
    the outer hello of an encrypted one (RFC 9849), so that the host name in it is not the true one; or pretends to be.
    """

    ja3: str
    ja4: str
    ja4_quic: str
    groups: tuple[str, ...] | None
    grease: bool
    ech: bool


class ServerPrint(NamedTuple):
    """What tells a server. ja3s: 32 hex digits. retry: whether it is a HelloRetryRequest (RFC 8446 4.1.4)."""

    ja3s: str
    retry: bool


def of_client(body: bytes) -> ClientPrint:
    """What this ClientHello tells, from its legacy version on. The same object for hellos that say the same.

    Raises Malformed; of a hello of which only the beginning is there, too: its fingerprint cannot be known.
    """
    parts = hello_fields.parts(body)
    size = sum([len(part) for part in (parts.ciphers, *parts[3:]) if part]) + 2 * len(parts.extensions)
    return _kept_client(parts) if size <= _KEPT_MAX else _client(parts)


def of_server(body: bytes) -> ServerPrint:
    """What this ServerHello tells, from its legacy version on. Raises Malformed."""
    choice = hello_fields.server(body)
    return (_kept_server if len(choice.extensions) <= _CHOSEN_MAX else _server)(choice)


def _client(parts: Parts) -> ClientPrint:
    offer = hello_fields.offer(parts)
    fingerprint = ja4.ja4(offer)
    return ClientPrint(
        ja3.ja3(offer),
        fingerprint,
        f"q{fingerprint[1:]}",
        tuple([group_name(number) for number in offer.groups]) or None,
        offer.grease,
        offer.ech,
    )


def _server(choice: Choice) -> ServerPrint:
    return ServerPrint(ja3.ja3s(choice), choice.retry)


_kept_client = lru_cache(maxsize=1024)(_client)
_kept_server = lru_cache(maxsize=256)(_server)

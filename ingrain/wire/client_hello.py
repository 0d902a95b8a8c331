"""TLS ClientHellos: what a client offers (RFC 8446 4.1.2).

In: the body of a ClientHello, and what carried it. Out: a `ClientHello` of printable text with its fingerprints, or
`Malformed`. Hellos that say the same are the same object, and those that differ in the host alone share their `Client`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from operator import itemgetter
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
    Offer,
    Parts,
)
from ingrain.wire.ja3 import ja3
from ingrain.wire.ja4 import ja4
from ingrain.wire.kept import Kept, kept
from ingrain.wire.tls_registry import cipher_name, group_name, highest_version, version_name

_TLS_1_2 = 0x0303
_ALIKE = 24  # bytes of extensions: clients pad their hellos to one length, whatever that of the host's name is
_PARTS = 16  # of a hello that is kept, at the most: pieces in which the bytes are that matter
_HELLOS_BYTES, _CLIENTS_BYTES, _LAYOUTS_BYTES = 3 << 20, 1 << 20, 1 << 20  # of what is kept: some 1,000 hellos
_CLIENT_BYTES = 1 << 14  # of the largest client whose hellos are kept
_SHARE = 4  # hellos that have a client in common, mostly: each counts for a part of it


class _Offered(NamedTuple):
    alpn: tuple[str, ...] | None
    version: str
    ciphersuites: tuple[str, ...]
    groups: tuple[str, ...] | None
    ech: bool
    transport: str
    offer: Offer


class Client(_Offered):
    """What a client offers, whichever host it wants; fields as those of `ClientHello`.

    transport, offer: what the fingerprints are made of, once somebody asks for them.
    """

    @cached_property
    def ja3(self) -> str:
        """32 hex digits."""
        return ja3(self.offer)

    @cached_property
    def ja4(self) -> str:
        """36 characters."""
        return ja4(self.offer, self.transport)

    @property
    def size(self) -> int:
        """About how many bytes it takes, beside names that all clients share."""
        offer = self.offer  # a protocol's name of three bytes takes sixty as text
        return 1500 + 20 * (len(offer.ciphers) + sum(map(len, offer.contents.values()))) + 40 * len(offer.extensions)


class _Wanted(NamedTuple):
    sni: str | None
    client: Client


class ClientHello(_Wanted):
    """A client's hello. sni: the host that it wants, None where it named none."""

    @property
    def alpn(self) -> tuple[str, ...] | None:
        """Protocols that it offers, in its order, None where it offers none."""
        return self.client.alpn

    @property
    def version(self) -> str:
        """The highest that it offers, e.g. `TLS 1.3`."""
        return self.client.version

    @property
    def ciphersuites(self) -> tuple[str, ...]:
        """IANA names in its order, with signalling values and GREASE."""
        return self.client.ciphersuites

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Groups for the key exchange, likewise, None where it offers none."""
        return self.client.groups

    @property
    def ech(self) -> bool:
        """Whether it is the outer hello of an encrypted one (RFC 9849), whose host name it has, or pretends to be."""
        return self.client.ech

    @property
    def ja3(self) -> str:
        """JA3 fingerprint: 32 hex digits."""
        return self.client.ja3

    @property
    def ja4(self) -> str:
        """JA4 fingerprint: 36 characters."""
        return self.client.ja4

    @cached_property
    def encrypted_dns(self) -> str | None:
        """Which kind of lookups the connection is for: dot, doq or doh, if any."""
        return encrypted_dns.kind(self.sni, self.client.alpn)

    @property
    def size(self) -> int:
        """About how many bytes it takes with its key among those that are kept."""
        return 1200 + len(self.sni or "") + self.client.size // _SHARE


Pick = Callable[[bytes], tuple[bytes, ...]]
"""Gives the bytes of a ClientHello that tell anything: those of its `Parts`. The same one for each layout."""

_layouts: Kept[tuple[int, int, bytes], tuple[Parts, Pick | None]] = Kept(_LAYOUTS_BYTES, lambda _layout: 1000)
"""Length, where the cipher suites end, first extensions -> the layout of the latest ClientHello that was alike in that.

It can be picked from once two that followed each other had it: browsers shuffle their extensions, and to remember what
they send would cost more than it saves.
"""
_hellos: Kept[tuple[Pick, str, tuple[bytes, ...]], ClientHello] = Kept(_HELLOS_BYTES, lambda hello: hello.size)
"""ClientHellos by what they say.

All lengths that lead to where those parts are stand in them. So a hello that is found here has that layout, though it
was guessed, and says the same as the one that was read.
"""
_clients: Kept[tuple[object, ...], Client] = Kept(_CLIENTS_BYTES, lambda client: client.size)
"""Clients by what they offer."""


def read(body: bytes, transport: str) -> ClientHello:
    """The hello with this body, over TCP or QUIC. Raises Malformed."""
    behind = hello_fields.suites_end(body)
    alike = len(body), behind, body[behind : behind + _ALIKE]
    layout = _layouts[alike]
    if layout is not None and (pick := layout[1]) is not None:
        known = _hellos[pick, transport, pick(body)]
        if known is not None:
            return known
    offer, parts = hello_fields.offer(body)
    if layout is None or layout[0] != parts:
        if len(parts) <= _PARTS:
            _layouts.keep(alike, (parts, None))
        return _hello(offer, transport, _client)
    pick = _pick(parts)
    _layouts.keep(alike, (parts, pick))
    hello = _hello(offer, transport, _shared)
    if hello.client.size <= _CLIENT_BYTES:
        _hellos.keep((pick, transport, pick(body)), hello)
    return hello


@lru_cache(maxsize=1024)
def _pick(parts: Parts) -> Pick:
    return itemgetter(*(slice(start, end) for start, end in parts))


def _hello(offer: Offer, transport: str, client: Callable[[Offer, str], Client]) -> ClientHello:
    host = offer.contents.pop(SERVER_NAME, None)  # the client is the same without it
    return ClientHello(None if host is None else _host(host), client(offer, transport))


def _shared(offer: Offer, transport: str) -> Client:
    """The client, which is the same for all hellos that offer this."""
    key = transport, offer.version, offer.ciphers, offer.extensions, *offer.contents.items()
    client = _clients[key]
    if client is None:
        client = _client(offer, transport)
        _clients.keep(key, client)
    return client


def _client(offer: Offer, transport: str) -> Client:
    get = offer.contents.get
    protocols, versions, groups = get(ALPN), get(VERSIONS), get(GROUPS)
    if POINT_FORMATS in offer.contents:
        hello_fields.point_formats(offer.contents[POINT_FORMATS])  # only fingerprints tell it, but it is malformed now
    if SIGNATURE_ALGORITHMS in offer.contents:
        hello_fields.signature_algorithms(offer.contents[SIGNATURE_ALGORITHMS])
    return Client(
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

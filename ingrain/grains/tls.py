"""TLS: ClientHellos and ServerHellos of TLS 1.0 to 1.3, over TCP and QUIC, on any port.

In: `struct packet` with a hello, a segment of one, or a QUIC Initial packet, for each that probes/tls.bpf.c takes for
one. Out: `tls.handshake.clienthello`, `tls.handshake.serverhello`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from ingrain.batch import TEXT, Column, Measurement
from ingrain.grains.common import COMMON, NetworkSettings
from ingrain.grains.messages import MessageGrain
from ingrain.grains.packets import Layout, Packet
from ingrain.grains.text_columns import TEXTS, text_lists, texts
from ingrain.wire import encrypted_dns, tls_hello
from ingrain.wire.ja4 import QUIC
from ingrain.wire.malformed import Cut, Malformed
from ingrain.wire.stream import Stream, Streams
from ingrain.wire.tls_hello import ClientHello, Hello, ServerHello

if TYPE_CHECKING:
    from ingrain.wire.quic import Quic

_OFFER = (
    Column("sni", TEXT, "requested host name (SNI); null if none was sent; with ech the outer, public name"),
    Column("alpn", TEXTS, "application protocols offered, in the client's order; null if none"),
    Column("client_version", TEXT, "highest version offered, e.g. TLS 1.3"),
    Column("ciphersuites", TEXTS, "cipher suites offered, in the client's order, by IANA name"),
    Column("groups", TEXTS, "key exchange groups offered, likewise; null if none"),
    Column("ja3", TEXT, "JA3 fingerprint of the client"),
    Column("ja4", TEXT, "JA4 fingerprint of the client"),
    Column("ech", pa.bool_(), "carries an encrypted ClientHello (RFC 9849), or GREASE that looks like one"),
    Column("encrypted_dns", TEXT, "dot, doq or doh if the connection is for DNS; else null"),
    Column(
        "sni_matches_dns",
        pa.bool_(),
        "whether the process looked this name up before and got this address; null without an SNI or a DNS probe, and "
        "on the server side",
    ),
)
_CHOICE = (
    Column("tls_version", TEXT, "version chosen by the server, e.g. TLS 1.3"),
    Column("ciphersuite", TEXT, "cipher suite chosen by the server, by IANA name"),
    Column("ja3s", TEXT, "JA3S fingerprint of the server"),
    Column("retry", pa.bool_(), "a HelloRetryRequest: the server asks for another key share"),
)

MEASUREMENTS = (
    Measurement("tls.handshake.clienthello", "a client started a TLS handshake", (*COMMON, *_OFFER)),
    Measurement(
        "tls.handshake.serverhello",
        "a server answered a ClientHello, or asked for another key share",
        (*COMMON, *_CHOICE),
    ),
)

Match = bool | None
"""Whether a client's name was looked up; None where that is not known."""


Beside = tuple[Match, bool]
"""And whether QUIC carried the hello."""


class TLS(MessageGrain[Hello, Beside]):
    """ClientHellos and ServerHellos, of which a HelloRetryRequest is one.

    `proto` is tcp, or quic where QUIC carries them. A hello that never becomes whole is `unfinished`.
    """

    Settings = NetworkSettings
    measurements = MEASUREMENTS
    program = "tls"

    def __init__(self) -> None:
        super().__init__()
        self._streams = Streams()
        self._quic: Quic | None = None

    def told(self, packet: Packet, at: Layout) -> Sequence[tuple[Hello, Beside]]:
        """The hellos that the segment or datagram completes."""
        if packet.offset < 0:
            return [(hello, (self._match(hello, packet, at), True)) for hello in self._from_quic(packet)]
        hello = self._from_tcp(packet, at)
        return [] if hello is None else [(hello, (self._match(hello, packet, at), False))]

    def expire(self, now: int) -> None:
        """Hellos whose rest did not come."""
        for stream in self._streams.expired(now):
            self.unfinished += len(stream.data) > 0
        if self._quic is not None:
            self._quic.expire(now)
            self.unfinished += self._quic.cut
            self._quic.cut = 0

    def kind(self, message: Hello) -> int:
        """ClientHello or ServerHello."""
        return int(isinstance(message, ServerHello))

    def columns(self, messages: Sequence[Hello]) -> dict[str, pa.Array]:
        """What is offered, or what was chosen."""
        offers = [message for message in messages if isinstance(message, ClientHello)]
        if offers:
            return {
                "sni": texts([offer.sni for offer in offers]),
                "alpn": text_lists([offer.alpn for offer in offers]),
                "client_version": texts([offer.version for offer in offers]),
                "ciphersuites": text_lists([offer.ciphersuites for offer in offers]),
                "groups": text_lists([offer.groups for offer in offers]),
                "ja3": texts([offer.ja3 for offer in offers]),
                "ja4": texts([offer.ja4 for offer in offers]),
                "ech": pa.array([offer.ech for offer in offers]),
                "encrypted_dns": texts([encrypted_dns.kind(offer.sni, offer.alpn) for offer in offers]),
            }
        choices = [message for message in messages if isinstance(message, ServerHello)]
        return {
            "tls_version": texts([choice.version for choice in choices]),
            "ciphersuite": texts([choice.ciphersuite for choice in choices]),
            "ja3s": texts([choice.ja3s for choice in choices]),
            "retry": pa.array([choice.retry for choice in choices]),
        }

    def beside(self, kind: int, values: Sequence[Beside]) -> dict[str, pa.Array]:
        """Whether names were looked up, and what carried the hellos."""
        columns = {"proto": texts(["quic" if quic else "tcp" for _match, quic in values])}
        if not kind:
            columns["sni_matches_dns"] = pa.array([match for match, _quic in values], pa.bool_())
        return columns

    def _from_tcp(self, packet: Packet, at: Layout) -> Hello | None:
        """The hello that this segment completes; mostly it holds all of it."""
        stream = None
        key = b""
        if len(self._streams):
            self.expire(packet.time)
            key = self._key(packet, at)
            stream = self._streams.known(key)
        if stream is None and packet.offset == 0 and packet.whole:
            try:
                return tls_hello.decode(packet.payload)
            except Malformed:
                self.malformed += 1
                return None
            except Cut:
                pass
        if stream is not None and stream.over:
            return None
        stream = self._streams.add(key or self._key(packet, at), packet.offset, packet.payload, packet.time)
        if stream.over:
            self.unfinished += stream.needed > 0
            return None
        return self._from_stream(stream)

    @staticmethod
    def _key(packet: Packet, at: Layout) -> bytes:
        """Tells hellos apart: on one connection a client may send two of them (RFC 8446 4.1.2)."""
        return packet.source + packet.destination + packet.row[at.begin]

    def _from_stream(self, stream: Stream) -> Hello | None:
        if not stream.data or len(stream.data) < stream.needed:
            return None
        try:
            hello = tls_hello.decode(bytes(stream.data))
        except Cut as cut:
            stream.needed = cut.needed
            return None
        except Malformed:
            self.malformed += 1
            hello = None
        stream.end()
        return hello

    def _from_quic(self, packet: Packet) -> list[Hello]:
        """The hellos that the datagram completes."""
        if self._quic is None:
            from ingrain.wire.quic import Quic  # noqa: PLC0415 the ciphers are 7 MB that most hosts need not have

            self._quic = Quic()
        try:
            messages = self._quic.read(packet.source, packet.destination, packet.payload, packet.time)
        except Malformed:
            self.malformed += 1
            return []
        hellos = []
        for kind, body in messages:
            try:
                hellos.append(tls_hello.message(kind, body, QUIC))
            except Malformed:
                self.malformed += 1
        return hellos

    def _match(self, hello: Hello, packet: Packet, at: Layout) -> Match:
        if self.lookups is None or not isinstance(hello, ClientHello) or hello.sni is None:
            return None
        if not at.of_client(packet.row, receives=False):
            return None
        client = at.client(packet.row, receives=False)
        return self.lookups.has(client, hello.sni, at.destination(packet.row), packet.time)

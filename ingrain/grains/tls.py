"""TLS: ClientHellos and ServerHellos of TLS 1.0 to 1.3, over TCP and QUIC, on any port.

In: `struct packet` with a hello, a segment of one, or a QUIC Initial packet, for each that probes/tls.bpf.c takes for
one. Out: `tls.handshake.clienthello`, `tls.handshake.serverhello`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ingrain.batch import TEXT, Column, Measurement
from ingrain.grains.common import COMMON, NetworkSettings
from ingrain.grains.grain import Made
from ingrain.grains.messages import MessageGrain, Told
from ingrain.grains.packets import Layout, Packet
from ingrain.grains.text_columns import TEXTS, distinct, text_lists, texts
from ingrain.wire import tls_hello
from ingrain.wire.client_hello import ClientHello
from ingrain.wire.ja4 import QUIC
from ingrain.wire.malformed import Cut, Malformed
from ingrain.wire.stream import Stream, Streams
from ingrain.wire.tls_hello import Hello, ServerHello

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
        "whether the process looked this name up before and got this address; null without an SNI or a DNS probe, "
        "where that may have been forgotten, and on the server side",
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

_Told = Told[Hello, Beside]


class TLS(MessageGrain[Hello, Beside]):
    """ClientHellos and ServerHellos, of which a HelloRetryRequest is one.

    `proto` is tcp, or quic where QUIC carries them. A hello that never becomes whole is `unfinished`.
    """

    Settings = NetworkSettings
    measurements = MEASUREMENTS
    program = "tls"

    def __init__(self) -> None:
        super().__init__()
        self._streams: Streams[None] = Streams()
        self._quic: Quic | None = None

    def told(self, packet: Packet, at: Layout) -> Sequence[_Told] | None:
        """The hellos that the segment or datagram completes."""
        return self._from_tcp(packet, at) if packet.offset >= 0 else self._from_quic(packet, at)

    def expire(self, now: int) -> Sequence[_Told]:
        """Hellos whose rest did not come."""
        for _key, stream in self._streams.expired(now):
            self.unfinished += len(stream.data) > 0
        if self._quic is not None:
            self._quic.expire(now)
            self.unfinished += self._quic.cut
            self._quic.cut = 0
        return ()

    def kind(self, message: Hello) -> int:
        """ClientHello or ServerHello."""
        return int(isinstance(message, ServerHello))

    def size(self, message: Hello) -> int:
        """As the decoder has it."""
        return message.size

    def columns(self, messages: Sequence[Hello], rows: pa.Array) -> Mapping[str, Callable[[], pa.Array]]:
        """What is offered, or what was chosen."""
        offers = [message for message in messages if isinstance(message, ClientHello)]
        if offers:
            clients, places = distinct([offer.client for offer in offers])
            of_client = places.take(rows)
            return {
                "sni": lambda: texts([offer.sni for offer in offers]).take(rows),
                "alpn": lambda: text_lists([client.alpn for client in clients], of_client),
                "client_version": lambda: texts([client.version for client in clients]).take(of_client),
                "ciphersuites": lambda: text_lists([client.ciphersuites for client in clients], of_client),
                "groups": lambda: text_lists([client.groups for client in clients], of_client),
                "ja3": lambda: texts([client.ja3 for client in clients]).take(of_client),
                "ja4": lambda: texts([client.ja4 for client in clients]).take(of_client),
                "ech": lambda: pa.array([client.ech for client in clients]).take(of_client),
                "encrypted_dns": lambda: texts([offer.encrypted_dns for offer in offers]).take(rows),
            }
        choices = [message for message in messages if isinstance(message, ServerHello)]
        return {
            "tls_version": lambda: texts([choice.version for choice in choices]).take(rows),
            "ciphersuite": lambda: texts([choice.ciphersuite for choice in choices]).take(rows),
            "ja3s": lambda: texts([choice.ja3s for choice in choices]).take(rows),
            "retry": lambda: pa.array([choice.retry for choice in choices]).take(rows),
        }

    def beside(self, kind: int, values: Sequence[Beside]) -> Mapping[str, Made]:
        """Whether names were looked up, and what carried the hellos."""
        columns: dict[str, Made] = {"proto": lambda: _protocols([quic for _match, quic in values])}
        if not kind:
            columns["sni_matches_dns"] = lambda: pa.array([match for match, _quic in values], pa.bool_())
        return columns

    def _from_tcp(self, packet: Packet, at: Layout) -> Sequence[_Told] | None:
        """The hello that this segment completes; mostly it holds all of it."""
        stream = None
        key = b""
        if self._streams.by_key:
            key = self._key(packet, at)
            stream = self._streams.known(key)
        if stream is None and packet.offset == 0 and packet.whole:
            try:
                hello = tls_hello.decode(packet.payload)
            except Malformed:
                self.malformed += 1
                return ()
            except Cut:
                pass
            else:
                return ((hello, (self._match(hello, packet, at), False), packet),)
        if stream is not None and stream.over:
            return None
        stream = self._streams.add(key or self._key(packet, at), packet.offset, packet.payload, packet.time, None)
        if self._streams.crowded:
            self.expire(packet.time)
        if stream.full:
            self.unfinished += stream.needed > 0
            stream.end()
            return None
        return self._from_stream(stream, packet, at)

    @staticmethod
    def _key(packet: Packet, at: Layout) -> bytes:
        """Tells hellos apart: on one connection a client may send two of them (RFC 8446 4.1.2)."""
        return packet.source + packet.destination + packet.row[at.begin]

    def _from_stream(self, stream: Stream[None], packet: Packet, at: Layout) -> Sequence[_Told] | None:
        if not stream.data or len(stream.data) < stream.needed:
            return None
        told: Sequence[_Told] = ()
        try:
            hello = tls_hello.decode(bytes(stream.data))
        except Cut as cut:
            stream.needed = cut.needed
            return None
        except Malformed:
            self.malformed += 1
        else:
            told = ((hello, (self._match(hello, packet, at), False), packet),)
        stream.end()
        return told

    def _from_quic(self, packet: Packet, at: Layout) -> Sequence[_Told] | None:
        """The hellos that the datagrams complete: mostly one datagram."""
        if self._quic is None:
            from ingrain.wire.quic import Quic  # noqa: PLC0415 the ciphers are 7 MB that most hosts need not have

            self._quic = Quic()
        unread = self.malformed + self.cut
        told: list[_Told] = []
        datagrams, absent = packet.datagrams()
        self.cut += absent
        for payload, whole in datagrams:
            try:
                messages = self._quic.read(packet.source, packet.destination, payload, packet.time)
            except Malformed:
                self.malformed += whole
                self.cut += not whole
                continue
            for kind, body in messages:
                try:
                    hello = tls_hello.message(kind, body, QUIC)
                except Malformed:
                    self.malformed += 1
                else:
                    told.append((hello, (self._match(hello, packet, at), True), packet))
        return told if told or self.malformed + self.cut > unread else None

    def _match(self, hello: Hello, packet: Packet, at: Layout) -> Match:
        if self.lookups is None or not isinstance(hello, ClientHello) or hello.sni is None:
            return None
        if self.wanted is not None and "sni_matches_dns" not in self.wanted:
            return None
        row = packet.row
        if not at.of_client(row, receives=False):
            return None
        return self.lookups.has(at.client(row, receives=False), hello.sni, at.destination(row), packet.time)


def _protocols(quic: Sequence[bool]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.array(quic, np.int32)), pa.array(["tcp", "quic"]))

"""TLS: what clients offer and what servers choose, TLS 1.0 to 1.3, over TCP on any port.

In: `struct packet` with a hello, for each segment that probes/tls.bpf.c takes for one. Out:
`tls.handshake.clienthello`, `tls.handshake.serverhello`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ingrain.batch import TEXT, Column, Measurement
from ingrain.grains.common import COMMON, NetworkSettings
from ingrain.grains.messages import MessageGrain
from ingrain.grains.text_columns import TEXTS, text_lists, texts
from ingrain.wire import tls_hello
from ingrain.wire.tls_hello import ClientHello, Hello, ServerHello

_OFFER = (
    Column("sni", TEXT, "host name that the client wants; null where it names none"),
    Column("alpn", TEXTS, "application protocols that it offers, in its order; null where it offers none"),
    Column("client_version", TEXT, "highest version that it offers, e.g. TLS 1.3"),
    Column("ciphersuites", TEXTS, "cipher suites that it offers, in its order, by their IANA names"),
)
_CHOICE = (
    Column("tls_version", TEXT, "version that the server chose, e.g. TLS 1.3"),
    Column("ciphersuite", TEXT, "cipher suite that it chose, by its IANA name"),
)

MEASUREMENTS = (
    Measurement("tls.handshake.clienthello", "a client began a TLS handshake", (*COMMON, *_OFFER)),
    Measurement(
        "tls.handshake.serverhello", "a server answered it, or asked for another key share", (*COMMON, *_CHOICE)
    ),
)


class TLS(MessageGrain[Hello]):
    """ClientHellos and ServerHellos, of which a HelloRetryRequest is one.

    A hello that goes on in a later segment is a record where nothing that is missing can change it; else it is cut.
    """

    Settings = NetworkSettings
    measurements = MEASUREMENTS
    program = "tls"

    def read(self, payload: bytes, *, whole: bool) -> Hello:  # noqa: ARG002 - a hello tells its length itself
        """The hello."""
        return tls_hello.decode(payload)

    def kind(self, message: Hello) -> int:
        """ClientHello or ServerHello."""
        return int(isinstance(message, ServerHello))

    def columns(self, messages: Sequence[Hello]) -> list[pa.Array]:
        """What is offered, or what was chosen."""
        offers = [message for message in messages if isinstance(message, ClientHello)]
        if offers:
            return [
                texts([offer.sni for offer in offers]),
                text_lists([offer.alpn for offer in offers]),
                texts([offer.version for offer in offers]),
                text_lists([offer.ciphersuites for offer in offers]),
            ]
        choices = [message for message in messages if isinstance(message, ServerHello)]
        return [
            texts([choice.version for choice in choices]),
            texts([choice.ciphersuite for choice in choices]),
        ]

"""An HTTP/3 server and clients of aioquic, over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent
from aioquic.tls import CipherSuite, SessionTicket

V1, V2 = 0x00000001, 0x6B3343CF
ROUND_TRIP_S = 30.0
"""What peers take for it at first: nothing is lost here, so what a busy machine answers late must not be sent again."""


class Answering(QuicConnectionProtocol):
    """Answers every request with a status and nothing else."""

    _http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol == "h3":
            self._http = H3Connection(self._quic)
        if self._http is None:
            return
        for heard in self._http.handle_event(event):
            if isinstance(heard, HeadersReceived):
                self._http.send_headers(heard.stream_id, [(b":status", b"204")], end_stream=True)
                self.transmit()


@asynccontextmanager
async def serving(pem: Path, host: str, port: int, *, retry: bool = False) -> AsyncIterator[None]:
    """A server of QUIC v1 and v2; `retry`: it has clients prove their address first."""
    settings = QuicConfiguration(
        is_client=False, alpn_protocols=["h3", "hq-interop"], supported_versions=[V1, V2],
        max_datagram_frame_size=65536, initial_rtt=ROUND_TRIP_S,
    )  # fmt: skip
    settings.load_cert_chain(pem, pem)
    tickets: dict[bytes, SessionTicket] = {}
    server = await serve(
        host, port, configuration=settings, create_protocol=Answering, retry=retry, session_ticket_fetcher=tickets.get,
        session_ticket_handler=lambda ticket: tickets.update({ticket.ticket: ticket}),
    )  # fmt: skip
    try:
        yield
    finally:
        server.close()
        await asyncio.sleep(0.1)


@dataclass(frozen=True)
class Client:
    """What a client varies."""

    name: str | None = "quic.test"
    protocols: Iterable[str] = ("h3",)
    version: int = V1
    versions: tuple[int, ...] = (V1,)
    ciphers: tuple[CipherSuite, ...] = ()
    again: bool = False

    async def visit(self, host: str, port: int) -> None:
        """A handshake, and where it is `again`, another with the session of the first."""
        tickets: list[SessionTicket] = []
        for _ in range(1 + self.again):
            settings = QuicConfiguration(
                is_client=True, server_name=self.name, alpn_protocols=list(self.protocols), verify_mode=ssl.CERT_NONE,
                original_version=self.version, supported_versions=list(self.versions),
                session_ticket=tickets[-1] if tickets else None, cipher_suites=list(self.ciphers) or None,
                initial_rtt=ROUND_TRIP_S,
            )  # fmt: skip
            async with connect(host, port, configuration=settings, session_ticket_handler=tickets.append) as connection:
                await connection.ping()

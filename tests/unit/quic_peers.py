"""QUIC for tests: handshakes of aioquic's clients and servers, and Initial packets that its ciphers sealed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from aioquic.buffer import Buffer, encode_uint_var
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import encode_quic_retry, pull_quic_header

V1, V2 = 0x00000001, 0x6B3343CF
CLIENT, SERVER = ("192.0.2.1", 40000), ("192.0.2.2", 443)
MINE = b"mine"
ORIGINAL_ID = bytes.fromhex("8394c8f03e515708")
MILLISECOND = 1_000_000


@dataclass
class Datagrams:
    """What two peers sent each other: whether by the client, and the payload."""

    sent: list[tuple[bool, bytes]] = field(default_factory=list)
    done: bool = False
    version: int = 0


@dataclass
class Peers:
    """A client and a server with these settings; `retry`: the server has the client prove its address first."""

    pem: Path
    client_version: int = V1
    client_versions: tuple[int, ...] = (V1,)
    server_versions: tuple[int, ...] = (V1, V2)
    protocols: tuple[str, ...] = ("h3",)
    name: str = "q.test"
    retry: bool = False

    def handshake(self) -> Datagrams:
        client = QuicConnection(
            configuration=QuicConfiguration(
                is_client=True, server_name=self.name, alpn_protocols=list(self.protocols), verify_mode=ssl.CERT_NONE,
                original_version=self.client_version, supported_versions=list(self.client_versions),
            )
        )  # fmt: skip
        server_settings = QuicConfiguration(
            is_client=False, alpn_protocols=["h3"], supported_versions=list(self.server_versions)
        )
        server_settings.load_cert_chain(self.pem, self.pem)
        server: QuicConnection | None = None
        seen = Datagrams()
        client.connect(SERVER, now=0.0)
        original, retried = b"", not self.retry
        for now in range(1, 8):
            for payload, _address in client.datagrams_to_send(now=now / 100):
                seen.sent.append((True, payload))
                if server is None:
                    header = pull_quic_header(Buffer(data=payload))
                    if not retried:
                        original, retried = header.destination_cid, True
                        version = header.version or 0
                        answer = encode_quic_retry(version, b"retry-id", header.source_cid, original, b"token")
                        seen.sent.append((False, answer))
                        client.receive_datagram(answer, SERVER, now=now / 100)
                        break
                    server = QuicConnection(
                        configuration=server_settings,
                        original_destination_connection_id=original or header.destination_cid,
                        retry_source_connection_id=b"retry-id" if original else None,
                    )
                server.receive_datagram(payload, CLIENT, now=now / 100)
            for payload, _address in server.datagrams_to_send(now=now / 100) if server else ():
                seen.sent.append((False, payload))
                client.receive_datagram(payload, SERVER, now=now / 100)
        seen.done = client._handshake_complete
        seen.version = client._version or 0
        return seen


def crypto(offset: int, data: bytes) -> bytes:
    return b"\x06" + encode_uint_var(offset) + encode_uint_var(len(data)) + data


def ack(largest: int, ranges: int = 0) -> bytes:
    return b"\x02" + encode_uint_var(largest) + b"\x05" + encode_uint_var(ranges) + b"\x00" + b"\x00\x00" * ranges


def initial(
    frames: bytes,
    *,
    number: int = 0,
    version: int = V1,
    client: bool = True,
    keys_of: bytes = ORIGINAL_ID,
    destination: bytes | None = None,
    source: bytes | None = None,
    token: bytes = b"",
    fixed: bool = True,
) -> bytes:
    """A sealed Initial packet with these frames; the client's own connection id is `MINE`, unless it is said.

    fixed: the bit that every packet has at 1, unless it is greased (RFC 9287).
    """
    frames += bytes(max(0, 20 - len(frames)))
    if destination is None:
        destination = keys_of if client else MINE
    if source is None:
        source = MINE if client else b"theirs"
    first = {V1: 0x80, V2: 0x90}[version] | fixed << 6 | 1
    plain = (
        bytes([first]) + version.to_bytes(4) + bytes([len(destination)]) + destination + bytes([len(source)]) + source
    )
    plain += encode_uint_var(len(token)) + token + (0x4000 | len(frames) + 18).to_bytes(2) + number.to_bytes(4)[2:]
    pair = CryptoPair()
    pair.setup_initial(cid=keys_of, is_client=client, version=version)
    return pair.encrypt_packet(plain, frames, number)

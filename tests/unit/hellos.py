"""TLS hellos for tests: handshakes of two real peers, and hellos put together by hand."""

from __future__ import annotations

import ssl
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CLIENT_HELLO, SERVER_HELLO = 1, 2
SERVER_NAME, ALPN, SUPPORTED_VERSIONS, KEY_SHARE, ECH = 0, 16, 43, 51, 0xFE0D


def certificate(folder: Path) -> Path:
    """A file with a new key and a certificate of its own."""
    file = folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a.test", "-days", "1",
         "-keyout", file, "-out", folder / "only.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + (folder / "only.pem").read_text())
    return file


@dataclass(frozen=True)
class Handshake:
    """What two peers sent, a flight at a time, and what they themselves say came of it."""

    flights: list[tuple[str, bytes]]
    version: str
    cipher: str
    alpn: str | None

    def hellos(self, sender: str) -> list[bytes]:
        """The flights of one side that begin with a hello in the clear."""
        kind = CLIENT_HELLO if sender == "client" else SERVER_HELLO
        return [sent for who, sent in self.flights if who == sender and sent[0] == 22 and sent[5] == kind]


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = None) -> Handshake:
    """A handshake of two OpenSSLs over nothing but memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    flights: list[tuple[str, bytes]] = []
    done = False
    while not done:
        done = True
        for who, side, sent_to in (("client", ours, to_server), ("server", theirs, to_client)):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                done = False
            sent = sent_to.read()
            if sent:
                flights.append((who, sent))
                sent_to.write(sent)
    cipher = ours.cipher()
    assert cipher
    return Handshake(flights, str(ours.version()), cipher[0], ours.selected_alpn_protocol())


def sized(raw: bytes, width: int = 2) -> bytes:
    """The bytes behind their length."""
    return len(raw).to_bytes(width) + raw


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!H", kind) + sized(body)


def server_name(host: bytes) -> bytes:
    return extension(SERVER_NAME, sized(b"\x00" + sized(host)))


def alpn(*protocols: bytes) -> bytes:
    return extension(ALPN, sized(b"".join(sized(one, 1) for one in protocols)))


def supported_versions(*versions: int) -> bytes:
    return extension(SUPPORTED_VERSIONS, sized(b"".join(struct.pack("!H", one) for one in versions), 1))


def numbers(kind: int, *listed: int) -> bytes:
    """An extension that is a list of 16-bit numbers: supported_groups, signature_algorithms."""
    return extension(kind, sized(b"".join(struct.pack("!H", one) for one in listed)))


def key_share(key: bytes) -> bytes:
    return extension(KEY_SHARE, sized(struct.pack("!H", 29) + sized(key)))


def client_body(
    *extensions: bytes,
    suites: Sequence[int] = (0x1301,),
    legacy: int = 0x0303,
    session_id: bytes = b"",
    random: bytes = bytes(32),
) -> bytes:
    """A ClientHello's body; without extensions it ends before them, as it may before TLS 1.3."""
    offered = sized(b"".join(struct.pack("!H", one) for one in suites))
    body = struct.pack("!H", legacy) + random + sized(session_id, 1) + offered + b"\x01\x00"
    return body + sized(b"".join(extensions)) if extensions else body


def server_body(*extensions: bytes, cipher: int = 0x1301, legacy: int = 0x0303, session_id: bytes = b"") -> bytes:
    body = struct.pack("!H", legacy) + bytes(32) + sized(session_id, 1) + struct.pack("!H", cipher) + b"\x00"
    return body + sized(b"".join(extensions)) if extensions else body


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + sized(body, 3)


def records(*fragments: bytes) -> bytes:
    """Fragments of handshake messages, each in a record."""
    return b"".join(b"\x16\x03\x01" + sized(fragment) for fragment in fragments)


def client_hello(body: bytes) -> bytes:
    return records(message(CLIENT_HELLO, body))


def server_hello(body: bytes) -> bytes:
    return records(message(SERVER_HELLO, body))

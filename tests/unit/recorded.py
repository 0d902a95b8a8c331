"""Handshakes of real programs, recorded between them on loopback, and what tshark and Suricata say of such records."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RAW_IP = 101  # the link type of a capture file whose packets begin with their IP header
TCP, UDP = 6, 17
FIRST_PORT = 20000


@dataclass
class Connection:
    """What was sent, in its order: whether by the client, and the bytes."""

    sent: list[tuple[bool, bytes]] = field(default_factory=list)

    def stream(self, *, client: bool) -> bytes:
        return b"".join(data for by_client, data in self.sent if by_client == client)


class Relay:
    """Takes one connection after the other, passes on what both sides send to the server's port, and keeps it."""

    def __init__(self, server: int) -> None:
        self.recorded: list[Connection] = []
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            connection = Connection()
            self.recorded.append(connection)
            with client, socket.create_connection(("127.0.0.1", self._server), timeout=60) as server:
                back = threading.Thread(target=self._pass, args=(server, client, connection, False), daemon=True)
                back.start()
                self._pass(client, server, connection, by_client=True)
                back.join()

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket, connection: Connection, by_client: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):  # a side that is gone
            while data := source.recv(1 << 16):
                connection.sent.append((by_client, data))
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def run(command: Sequence[str]) -> None:
    """A client's run, whatever comes of it: what counts is what it sent."""
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120)


def python_client(port: int, context: ssl.SSLContext, name: str | None) -> None:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=name),
    ):
        pass


def packet(proto: int, source: tuple[str, int], destination: tuple[str, int], behind_ports: bytes) -> bytes:
    """An IPv4 packet; checksums are zero."""
    transport = struct.pack("!HH", source[1], destination[1]) + behind_ports
    ends = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(transport), 0, 0, 64, proto, 0) + ends + transport


def udp(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
    return packet(UDP, source, destination, struct.pack("!HH", 8 + len(payload), 0) + payload)


def tcp(connection: Connection, port: int) -> Iterable[bytes]:
    """The packets of a TCP connection from this port to 443 in which this was sent; segments are of 1,400 bytes."""
    ends = (("192.0.2.1", port), ("192.0.2.2", 443))
    numbers = [1000, 5000]  # the next of the client, of the server

    def segment(sender: int, flags: int, payload: bytes = b"") -> bytes:
        numbered = struct.pack("!IIBBHHH", numbers[sender], numbers[1 - sender], 0x50, flags, 0xFFFF, 0, 0)
        numbers[sender] += len(payload) + (flags & 0x03 > 0)
        return packet(TCP, ends[sender], ends[1 - sender], numbered + payload)

    yield segment(0, 0x02)
    yield segment(1, 0x12)
    yield segment(0, 0x10)
    for by_client, data in connection.sent:
        for at in range(0, len(data), 1400):
            yield segment(int(not by_client), 0x18, data[at : at + 1400])
            yield segment(int(by_client), 0x10)
    yield segment(0, 0x11)
    yield segment(1, 0x11)
    yield segment(0, 0x10)


def capture(file: Path, packets: Iterable[bytes]) -> Path:
    """A capture file with these packets, a millisecond apart."""
    with file.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 16, RAW_IP))
        for number, raw in enumerate(packets):
            stamp = (1_700_000_000 + number // 1000, number % 1000 * 1000)
            out.write(struct.pack("<IIII", *stamp, len(raw), len(raw)) + raw)
    return file


def tshark(file: Path, *names: str, where: str) -> list[dict[str, str]]:
    """These fields of the packets that the display filter selects."""
    command = ["tshark", "-r", str(file), "-Y", where, "-T", "fields", *(f"-e{name}" for name in names)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


_SURICATA = """%YAML 1.1
---
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types:
        - tls: {custom: [sni, version, ja3, ja3s, ja4]}
        - quic: {ja4: on}
app-layer:
  protocols:
    tls: {enabled: yes, detection-ports: {dp: 443}, ja3-fingerprints: yes, ja4-fingerprints: yes}
    quic: {enabled: yes, ja3-fingerprints: yes, ja4-fingerprints: yes}
"""


def suricata(file: Path, folder: Path) -> list[dict[str, Any]]:
    """What its EVE log says of TLS and QUIC in this capture."""
    (folder / "suricata.yaml").write_text(_SURICATA)
    subprocess.run(
        ["suricata", "-c", folder / "suricata.yaml", "-r", file, "-l", folder, "-k", "none", "-S", "/dev/null"],
        check=True, capture_output=True,
    )  # fmt: skip
    return [json.loads(line) for line in (folder / "eve.json").read_text().splitlines()]

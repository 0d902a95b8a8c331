"""Messages that come with a handshake's packets, and so to the listener: they are told as any others, and once."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from conftest import Start, Watch

Watcher = Callable[..., Watch]

PEERS = """
import socket, ssl, struct, sys
from pathlib import Path
server, client = socket.socket(), socket.socket()
server.bind(("127.0.0.1", 0))

def hello():
    out, context = ssl.MemoryBIO(), ssl.create_default_context()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="early.test").do_handshake()
    except ssl.SSLWantReadError:
        return out.read()

def message(flags, answers=b"", count=0):
    question = b"\\x05early\\x04test\\0\\0\\x01\\0\\x01"
    body = struct.pack("!HHHHHH", 7, flags, 1, count, 0, 0) + question + answers
    return struct.pack("!H", len(body)) + body

def send(data, sizes):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at, end in zip(sizes, [*sizes[1:], None]):
        part = data[at:end]
        if how == "fast open" and not at:
            client.sendto(part, 0x20000000, server.getsockname())  # MSG_FASTOPEN
        else:
            client.sendall(part)

def accepted(size):
    taken, _ = server.accept()
    came = b""
    while len(came) < size:
        came += taken.recv(1 << 16)
    return taken

how, *sizes = sys.argv[1:]
sizes = [*map(int, sizes)]
if how == "fast open":
    # for clients and servers, without a cookie, for all listeners (Documentation/networking/ip-sysctl.rst)
    Path("/proc/sys/net/ipv4/tcp_fastopen").write_text(str(0x1 | 0x2 | 0x4 | 0x200))
    server.setsockopt(socket.IPPROTO_TCP, 23, 16)  # TCP_FASTOPEN
server.listen()
if how == "deferred":
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
if how != "fast open":
    client.connect(server.getsockname())
"""

QUERY = """
send(message(0x0100), sizes)
taken = accepted(len(message(0x0100)))
answer = message(0x8180, b"\\xc0\\x0c\\0\\x01\\0\\x01\\0\\0\\0\\x3c\\0\\x04\\xc0\\0\\2\\1", 1)
taken.sendall(answer)
client.recv(1 << 16)
client.sendall(message(0x0100))  # once more, over the same connection
taken.recv(1 << 16)
"""

QUERY_BYTES, RECORD_BYTES = 2 + 12 + 12 + 4, 16
"""Of the query, which stands in the answer too, and of what the answer has beside it."""

HELLO = """
send(hello(), sizes)
accepted(len(hello()))
"""

ways = pytest.mark.parametrize("way", ["plain", "deferred", "fast open"])
cuts = pytest.mark.parametrize("sizes", [[0], [0, 1], [0, 10], [0, 20], [0, 7, 30]], ids=str)


@ways
@cuts
def test_dns_whose_first_bytes_come_with_the_handshake_is_told(
    watch: Watcher, start: Start, namespace: str, way: str, sizes: list[int]
) -> None:
    watched = watch("DNS")
    with watched():
        run(start, namespace, PEERS + QUERY, way, sizes)
    for measurement, told in (("dns.query", 2), ("dns.answer", 1)):
        rows = watched.rows(measurement)
        assert sorted((row["direction"], row["q_name"]) for row in rows) == sorted(
            [("in", "early.test"), ("out", "early.test")] * told
        )
    (probe,) = watched.account.probes
    assert (probe.malformed, probe.unfinished, probe.lost) == (0, 0, 0)


@ways
@cuts
def test_a_hello_whose_first_bytes_come_with_the_handshake_is_told(
    watch: Watcher, start: Start, namespace: str, way: str, sizes: list[int]
) -> None:
    watched = watch("TLS")
    with watched():
        run(start, namespace, PEERS + HELLO, way, sizes)
    rows = watched.rows("tls.handshake.clienthello")
    assert sorted((row["direction"], row["sni"]) for row in rows) == [("in", "early.test"), ("out", "early.test")]
    (probe,) = watched.account.probes
    assert (probe.malformed, probe.unfinished, probe.lost) == (0, 0, 0)


@ways
def test_bytes_that_come_with_the_handshake_are_counted(watch: Watcher, start: Start, namespace: str, way: str) -> None:
    watched = watch("Network")
    with watched():
        run(start, namespace, PEERS + QUERY, way, [0, 10])
    for way_seen in ("out", "in"):
        assert len(watched.rows(f"connection.{way_seen}")) == 1
        assert sum(row["value"] for row in watched.rows(f"volume.{way_seen}")) == 3 * QUERY_BYTES + RECORD_BYTES


def run(start: Start, namespace: str, code: str, way: str, sizes: list[int]) -> None:
    program = start("ip", "netns", "exec", namespace, sys.executable, "-c", code, way, *map(str, sizes))
    said, _ = program.communicate(timeout=60)
    assert program.returncode == 0, said

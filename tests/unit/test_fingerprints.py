"""JA3, JA3S and JA4, as their definitions' examples have them, and as tshark and Suricata tell them of real clients."""

from __future__ import annotations

import hashlib
import random
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from hellos import (
    CLIENT_HELLO,
    alpn,
    certificate,
    client_body,
    client_hello,
    extension,
    key_share,
    numbers,
    server_body,
    server_hello,
    server_name,
    sized,
    supported_versions,
)
from hypothesis import given
from hypothesis import strategies as st
from recorded import FIRST_PORT, Connection, Relay, capture, python_client, run, suricata, tcp, tshark
from serving import CACHE, accepts, free_port, until

from ingrain.wire import hello_fields, tls_hello
from ingrain.wire.client_hello import ClientHello
from ingrain.wire.ja3 import ja3_text, ja3s_text
from ingrain.wire.tls_hello import ServerHello, decode
from ingrain.wire.tls_registry import GREASE

GREASED = sorted(GREASE)
V = ssl.TLSVersion


def offered(body: bytes, transport: str = "t") -> ClientHello:
    hello = tls_hello.message(CLIENT_HELLO, body, transport)
    assert isinstance(hello, ClientHello)
    return hello


def point_formats(*listed: int) -> bytes:
    return extension(11, sized(bytes(listed), 1))


def numbered(text: str) -> list[int]:
    return [int(one, 16) for one in text.split(",")]


@pytest.mark.parametrize(
    ("body", "text", "ja3"),
    [
        (
            client_body(
                server_name(b"a.test"), numbers(10, 23, 24, 25), point_formats(0),
                legacy=769, suites=(47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4),
            ),
            "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0",
            "ada70206e40642a3e4461f35503241d5",
        ),
        (
            client_body(legacy=769, suites=(4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99)),
            "769,4-5-10-9-100-98-3-6-19-18-99,,,",
            "de350869b8c85de67a350c8d186f11e6",
        ),
    ],
)  # fmt: skip
def test_ja3_is_that_of_its_definitions_examples(body: bytes, text: str, ja3: str) -> None:
    assert ja3_text(hello_fields.offer(body)[0]) == text
    assert offered(body).ja3 == ja3


# The example of technical_details/JA4.md, each list in the order in which its "original" raw form has it.
SUITES = numbered("1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035")
ORDER = numbered("001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015")
ALGORITHMS = numbered("0403,0804,0401,0503,0805,0501,0806,0601")
PARTS = {
    0x0000: server_name(b"a.test"),
    0x0010: alpn(b"h2", b"http/1.1"),
    0x000D: numbers(13, *ALGORITHMS),
    0x002B: supported_versions(0x7A7A, 0x0304, 0x0303),
    0x000A: numbers(10, 0x2A2A, 29, 23, 24),
    0x000B: point_formats(0),
}
EXAMPLE = [PARTS.get(kind, extension(kind, b"")) for kind in ORDER]


def test_ja4_is_that_of_its_definitions_example() -> None:
    body = client_body(*EXAMPLE, suites=SUITES)
    assert offered(body).ja4 == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert offered(body, "q").ja4 == "q13d1516h2_8daaf6152771_e5627efa2ab1"


def test_a_hello_over_another_transport_is_not_told_as_the_one_that_was_seen_before() -> None:
    body = client_body(*EXAMPLE, suites=SUITES)
    assert [offered(body, transport).ja4[0] for transport in "tqtq"] == ["t", "q", "t", "q"]


def test_ja4_without_signature_algorithms_is_that_of_its_definition() -> None:
    bare = [extension(13, sized(b"\x0a\x0a")) if part == PARTS[13] else part for part in EXAMPLE]
    assert offered(client_body(*bare, suites=SUITES)).ja4 == "t13d1516h2_8daaf6152771_6d807ffa2a79"


def test_empty_lists_are_zeros_in_ja4() -> None:
    assert offered(client_body(suites=(0x0A0A,))).ja4 == "t12i000000_000000000000_000000000000"
    only = client_body(server_name(b"a"), alpn(b"h2"), suites=(0x1301,))
    assert offered(only).ja4.endswith("d0102h2_" + offered(only).ja4[11:23] + "_000000000000")


def test_ja4_counts_to_99() -> None:
    body = client_body(*(extension(60 + kind, b"") for kind in range(120)), suites=range(1, 150))
    assert offered(body).ja4.startswith("t12i999900_")


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        (b"h2", "h2"), (b"http/1.1", "h1"), (b"x", "xx"),
        (b"\xab", "ab"), (b"\xab\xcd", "ad"), (b"\x30\xab", "3b"), (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
        (b"\x2a\x2a", "h1"),
    ],
)  # fmt: skip
def test_the_protocol_in_ja4_is_that_of_its_definition(protocol: bytes, told: str) -> None:
    assert offered(client_body(alpn(protocol, b"http/1.1"))).ja4[8:10] == told


@pytest.mark.parametrize(
    ("versions", "legacy", "told"),
    [
        ((0x0A0A, 0x0304, 0x0303), 0x0303, "13"), ((0x0303, 0x0304), 0x0303, "13"), ((0x0302,), 0x0303, "11"),
        ((), 0x0301, "10"), ((), 0x0303, "12"), ((), 0x0304, "13"), ((), 0x0300, "s3"), ((), 0x0002, "s2"),
        ((0xFEFC, 0xFEFD), 0xFEFD, "d2"), ((0x7F1C,), 0x0303, "00"), ((), 0x0505, "00"),
    ],
)  # fmt: skip
def test_the_version_in_ja4_is_the_highest_number(versions: tuple[int, ...], legacy: int, told: str) -> None:
    parts = [supported_versions(*versions)] if versions else []
    assert offered(client_body(*parts, legacy=legacy)).ja4[1:3] == told


@given(
    st.permutations(EXAMPLE), st.permutations(SUITES), st.lists(st.tuples(st.sampled_from(GREASED), st.integers(0, 99)))
)
def test_neither_order_nor_grease_changes_ja4_and_grease_does_not_change_ja3(
    parts: list[bytes], suites: list[int], greased: list[tuple[int, int]]
) -> None:
    plain = offered(client_body(*parts, suites=suites))
    for value, place in greased:
        parts.insert(place % len(parts), extension(value, b"\0"))
        suites.insert(place % len(suites), value)
    hello = offered(client_body(*parts, suites=suites))
    assert hello.ja4 == plain.ja4 == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert hello.ja3 == plain.ja3


TLS_PEER = str(CACHE / "bin" / "tls_peer")
"""A client of Go's, which tests/native/install.sh builds."""

LACKING = [name for name in ("openssl", "curl", "gnutls-cli", "node", TLS_PEER) if not shutil.which(name)]


def clients(port: int) -> Iterator[list[str]]:
    """Commands of real clients, as varied as their options let them be."""
    openssl = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}"]
    for options in (
        "", "-servername a.test -alpn h2,http/1.1", "-noservername", "-tls1_3", "-tls1_2 -servername a.test",
        "-tls1 -cipher DEFAULT:@SECLEVEL=0", "-tls1_1 -cipher ALL:@SECLEVEL=0 -alpn x", "-no_ticket -alpn spdy/3",
        "-groups P-384:X25519", "-groups ffdhe2048:P-256 -tls1_3", "-sigalgs RSA+SHA256:ECDSA+SHA384 -noservername",
        "-ciphersuites TLS_CHACHA20_POLY1305_SHA256 -cipher AES256-SHA", "-legacy_renegotiation -comp -status",
        "-psk_identity me -psk 0011 -no_tls1_3", "-curves P-521 -servername xn--bcher-kva.test -nextprotoneg h2",
        "-servername " + "a" * 60 + ".test -max_protocol TLSv1.2", "-ct -requestCAfile /dev/null",
    ):  # fmt: skip
        yield [*openssl, *options.split()]
    for options in ("", "--http1.1", "--tls-max 1.2", "--ciphers ECDHE-RSA-AES128-GCM-SHA256", "--no-alpn"):
        yield ["curl", "-sk", *options.split(), "--resolve", f"c.test:{port}:127.0.0.1", f"https://c.test:{port}/"]
    for priority in (
        "NORMAL", "SECURE256", "NORMAL:-VERS-TLS1.3", "PERFORMANCE:%COMPAT", "NORMAL:-GROUP-ALL:+GROUP-X25519",
    ):  # fmt: skip
        yield ["gnutls-cli", "--insecure", "--priority", priority, "--alpn", "h2", "-p", str(port), "127.0.0.1"]
    options = f"{{host:'127.0.0.1',port:{port},servername:'n.test',rejectUnauthorized:false,ALPNProtocols:['h2']}}"
    yield ["node", "-e", f"require('tls').connect({options},function(){{this.end()}})"]
    yield ["node", "-e", f"fetch('https://127.0.0.1:{port}/').catch(()=>0)"]
    yield [TLS_PEER, f"127.0.0.1:{port}"]


@pytest.fixture(scope="module")
def connections(tmp_path_factory: pytest.TempPathFactory) -> list[Connection]:
    """What real clients and servers sent each other, servers that ask for another key share among them."""
    if LACKING:
        pytest.skip(f"not installed: {', '.join(LACKING)}")
    folder = tmp_path_factory.mktemp("fingerprints")
    pem = certificate(folder)
    recorded: list[Connection] = []
    for options in (
        ["-cipher", "ALL:@SECLEVEL=0"],
        ["-groups", "P-521:P-256", "-alpn", "http/1.1"],
        ["-tls1_2", "-no_ticket"],
    ):
        port = free_port()
        command = ["openssl", "s_server", "-accept", str(port), "-cert", str(pem), "-www", *options]
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until("openssl to listen", partial(accepts, port))
            relay = Relay(port)
            for client in clients(relay.port):
                run(client)
                assert server.poll() is None, client
            for name in ("p.test", None):
                python_client(relay.port, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), name)
            relay.close()
            recorded += relay.recorded
        finally:
            server.kill()
            server.wait()
    return recorded


def hellos(stream: bytes) -> list[bytes]:
    """Where hellos begin in what one side sent: a record with one message, or more behind a ServerHello."""
    found, at = [], 0
    while at + 9 < len(stream):
        size = int.from_bytes(stream[at + 3 : at + 5])
        kind, length = stream[at + 5], int.from_bytes(stream[at + 6 : at + 9])
        if stream[at] == 22 and ((kind == 1 and length + 4 == size) or (kind == 2 and length + 4 <= size)):
            found.append(stream[at:])
        at += 5 + size
    return found


def made(count: int) -> list[Connection]:
    """TLS 1.3 hellos as no program makes them, each answered: any numbers, any order, GREASE anywhere."""
    pick = random.Random(1)

    def some(most: int) -> list[int]:
        choices = ((pick.randrange(1 << 16), pick.choice(GREASED), 0x1301, 29) for _ in range(pick.randint(1, most)))
        return [pick.choice(one) for one in choices]

    connections = []
    for _ in range(count):
        parts = [extension(kind, pick.randbytes(pick.randrange(9))) for kind in set(some(12)) if kind > 60]
        parts += [numbers(10, *some(8))] * pick.randrange(2) + [numbers(13, *some(9))] * pick.randrange(2)
        parts += [point_formats(0, *range(pick.randrange(3)))] * pick.randrange(2)
        parts += [supported_versions(pick.choice(GREASED), 0x0304, pick.choice(GREASED), 0x0303)]
        parts += [alpn(*pick.sample((b"h2", b"http/1.1", b"h3", b"x", b"spdy/3"), 3))] * pick.randrange(2)
        parts += [server_name(b"m.test")] * pick.randrange(2)
        pick.shuffle(parts)
        client = client_hello(client_body(*parts, suites=[0x1301, *some(30)], random=pick.randbytes(32)))
        answered = [extension(43, b"\x03\x04"), key_share(pick.randbytes(32)), extension(65281, b"\0")]
        pick.shuffle(answered)
        server = server_hello(server_body(*answered, cipher=pick.choice((0x1301, 0x1302, 0x1303))))
        connections.append(Connection([(True, client), (False, server)]))
    return connections


def told(connections: Sequence[Connection], *, client: bool) -> list[tuple[int, bytes, ClientHello | ServerHello]]:
    """Of each hello of one side: the connection's port, the hello's body, and what is told of it."""
    sides = ((FIRST_PORT + number, one.stream(client=client)) for number, one in enumerate(connections))
    return [
        (port, hello[9 : 9 + int.from_bytes(hello[6:9])], decode(hello))
        for port, side in sides
        for hello in hellos(side)
    ]


@pytest.fixture(scope="module")
def all_connections(connections: list[Connection]) -> list[Connection]:
    return connections + made(300)


@pytest.fixture(scope="module")
def file(all_connections: list[Connection], tmp_path_factory: pytest.TempPathFactory) -> Path:
    packets = [raw for number, one in enumerate(all_connections) for raw in tcp(one, FIRST_PORT + number)]
    return capture(tmp_path_factory.mktemp("capture") / "tls.pcap", packets)


def test_real_clients_differ_and_servers_that_want_another_key_share_are_among_them(
    connections: list[Connection],
) -> None:
    clients = [hello for _port, _body, hello in told(connections, client=True) if isinstance(hello, ClientHello)]
    servers = [hello for _port, _body, hello in told(connections, client=False) if isinstance(hello, ServerHello)]
    assert len({hello.ja4 for hello in clients}) > 15
    assert {hello.retry for hello in servers} == {True, False}


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_ja3_and_ja3s_are_those_that_tshark_tells(all_connections: list[Connection], file: Path) -> None:
    names = ("tcp.srcport", "tls.handshake.ja3_full", "tls.handshake.ja3")
    theirs = [tuple(row.values()) for row in tshark(file, *names, where="tls.handshake.ja3")]
    clients = told(all_connections, client=True)
    assert len(theirs) > 300
    assert theirs == [
        (str(port), ja3_text(hello_fields.offer(body)[0]), hello.ja3)
        for port, body, hello in clients if isinstance(hello, ClientHello)
    ]  # fmt: skip
    names = ("tcp.dstport", "tls.handshake.ja3s_full", "tls.handshake.ja3s")
    theirs = [tuple(row.values()) for row in tshark(file, *names, where="tls.handshake.ja3s")]
    assert theirs == [
        (str(port), ja3s_text(hello_fields.choice(body)), hello.ja3s)
        for port, body, hello in told(all_connections, client=False) if isinstance(hello, ServerHello)
    ]  # fmt: skip


@pytest.mark.skipif(not shutil.which("suricata"), reason="Suricata is not installed")
def test_ja3_ja3s_and_ja4_are_those_that_suricata_tells(
    all_connections: list[Connection], file: Path, tmp_path: Path
) -> None:
    events = {event["src_port"]: event["tls"] for event in suricata(file, tmp_path)}
    # Of each side the first, which asks for another key share or is asked to.
    clients = {port: (body, hello) for port, body, hello in reversed(told(all_connections, client=True))}
    servers = {port: hello for port, _body, hello in reversed(told(all_connections, client=False))}
    for port, event in events.items():
        body, offer = clients[port]
        choice = servers.get(port)
        assert isinstance(offer, ClientHello)
        assert (offer.sni, offer.ja3) == (event.get("sni"), event["ja3"]["hash"])
        assert (choice.ja3s if isinstance(choice, ServerHello) else None) == event.get("ja3s", {}).get("hash")
        assert event["ja4"] == (offer.ja4 if offer_has_algorithms(body) else with_underscore(body, offer.ja4))
    # It logs TLS 1.2 once the certificate has come too, which a server that went away in the middle did not send.
    whole = {port for port, hello in servers.items() if isinstance(hello, ServerHello) and hello.version == "TLS 1.3"}
    assert len(whole) > 300
    assert whole <= events.keys()
    assert any(servers[port].version == "TLS 1.2" for port in events if port in servers)


def offer_has_algorithms(body: bytes) -> bool:
    extension = hello_fields.offer(body)[0].contents.get(hello_fields.SIGNATURE_ALGORITHMS)
    return extension is not None and bool(set(hello_fields.signature_algorithms(extension)) - GREASE)


def with_underscore(body: bytes, ja4: str) -> str:
    """JA4 with the underscore that Suricata 7 hashes where no signature algorithm follows.

    JA4.md: "If there are no signature algorithms in the hello packet, then the string ends without an underscore".
    """
    kinds = sorted(set(hello_fields.offer(body)[0].extensions) - GREASE - {0, 16})
    text = ",".join(f"{kind:04x}" for kind in kinds) + "_"
    return ja4[:-12] + hashlib.sha256(text.encode()).hexdigest()[:12]

"""What peers take, though it is odd, is told; what they take is said by OpenSSL and tshark."""

from __future__ import annotations

import shutil
import ssl
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.opcode
import dns.update
import pytest
from dns_messages import stream
from frames import CLIENT, SERVER, Tape, pcap, query, udp
from hellos import CLIENT_HELLO, SERVER_HELLO, certificate, message, records, server_body, server_name, sized
from quic_peers import V1, V2, crypto, initial
from replaying import Replay
from test_replay import hello

HOST = "odd.test"
NAME = HOST.encode()
LEGACY = 9  # where a hello's own version stands, in the first record of a stream


def at(place: int, value: int) -> Callable[[bytes], bytes]:
    return lambda sent: sent[:place] + bytes([value]) + sent[place + 1 :]


def nameless(sent: bytes) -> bytes:
    """The hello with a host name of no bytes."""
    full, empty = server_name(NAME), server_name(b"")
    assert full in sent
    body = sent[43:].replace(full, empty)
    session = 1 + body[0]
    suites = 2 + int.from_bytes(body[session : session + 2])
    begin = session + suites + 2
    body = body[:begin] + sized(body[begin + 2 :])
    return records(message(CLIENT_HELLO, sent[9:43] + body))


def scattered(sent: bytes) -> bytes:
    """The hello in records between which others hold nothing."""
    return records(sent[5:100], b"", b"", sent[100:])


ODD = [
    pytest.param(at(2, 5), HOST, id="a record of version 3.5"),
    pytest.param(at(2, 0xFF), HOST, id="a record of version 3.255"),
    pytest.param(at(LEGACY, 4), HOST, id="a hello of version 4"),
    pytest.param(at(LEGACY, 0xFE), HOST, id="a hello of version 254"),
    pytest.param(lambda sent: records(b"") + sent, HOST, id="an empty record before it"),
    pytest.param(scattered, HOST, id="empty records within it"),
    pytest.param(nameless, None, id="an empty host name"),
]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tolerance"))


def answered(pem: Path, flight: bytes) -> bool:
    """Whether OpenSSL answers it with a ServerHello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    received.write(flight)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(received, sent, server_side=True).do_handshake()
    return sent.read()[5:6] == b"\x02"


@pytest.mark.parametrize(("change", "host"), ODD)
@pytest.mark.parametrize("size", [10_000, 7], ids=["whole", "in small segments"])
def test_a_hello_that_a_server_answers_is_told(
    pem: Path, replay: Replay, change: Callable[[bytes], bytes], host: str | None, size: int
) -> None:
    flight = change(hello(HOST))
    assert answered(pem, flight)
    tape = Tape()
    tape.connection([(place, flight[place : place + size]) for place in range(0, len(flight), size)])
    done = replay(pcap(tape.frames), "TLS")
    assert [row["sni"] for row in done.rows("tls.handshake.clienthello")] == [host]
    probe = done.probe("TLS")
    assert (probe["malformed"], probe["unfinished"], probe["cut"]) == (0, 0, 0)


def test_a_hello_too_long_to_be_read_is_counted(pem: Path, replay: Replay) -> None:
    sent = hello(HOST)
    session = 44 + sent[43]
    suites = sent[session + 2 : session + 2 + int.from_bytes(sent[session : session + 2])]
    begin = session + 2 + len(suites)
    body = sent[9:session] + sized((suites * 40_000)[:65_534]) + sent[begin:]
    long = message(CLIENT_HELLO, body)
    flight = records(*[long[place : place + 16_384] for place in range(0, len(long), 16_384)])
    assert answered(pem, flight)
    tape = Tape()
    tape.connection([(place, flight[place : place + 1400]) for place in range(0, len(flight), 1400)])
    done = replay(pcap(tape.frames), "TLS")
    assert done.probe("TLS")["malformed"] == 1


def tshark(tape: Tape, folder: Path, shown: str, field: str, *options: str) -> list[str]:
    """This field of the packets that a display filter lets through."""
    if not shutil.which("tshark"):
        pytest.skip("not installed: tshark")
    file = folder / "seen.pcap"
    file.write_bytes(pcap(tape.frames))
    command = ["tshark", "-r", str(file), *options, "-Y", shown, "-T", "fields", "-E", "aggregator=\n", "-e", field]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("version", [V1, V2])
def test_initial_packets_whose_fixed_bit_is_greased_are_told(replay: Replay, tmp_path: Path, version: int) -> None:
    tape = Tape()
    offered, chosen = hello(HOST)[5:], message(SERVER_HELLO, server_body())
    for number, fixed in enumerate((True, False)):
        client, chosen_id = (CLIENT[0], CLIENT[1] + number), bytes([number]) * 8
        sent = initial(crypto(0, offered) + bytes(700), version=version, keys_of=chosen_id)
        tape.add(udp(client, SERVER, sent))
        sent = initial(crypto(0, chosen) + bytes(1100), version=version, keys_of=chosen_id, client=False, fixed=fixed)
        tape.add(udp(SERVER, client, sent))
    theirs = tshark(tape, tmp_path, "tls.handshake.type == 2", "udp.dstport")
    assert theirs == [str(CLIENT[1]), str(CLIENT[1] + 1)]
    done = replay(pcap(tape.frames), "TLS")
    assert [str(row["d_port"]) for row in done.rows("tls.handshake.serverhello")] == theirs


def notify(number: int) -> bytes:
    made = dns.message.make_query("zone.test", "SOA", id=number)
    made.set_opcode(dns.opcode.NOTIFY)
    return bytes(made.to_wire())


def update(number: int) -> bytes:
    made = dns.update.UpdateMessage("zone.test", id=number)
    made.add("host", 300, "A", "192.0.2.66")
    made.present("other")
    return bytes(made.to_wire())


def keepalive(number: int) -> bytes:
    """RFC 8490 7.1."""
    return struct.pack("!HHHHHH", number, 6 << 11, 0, 0, 0, 0) + struct.pack("!HHII", 1, 8, 15_000, 15_000)


@pytest.mark.parametrize("other", [notify, update, keepalive])
@pytest.mark.parametrize("size", [10_000, 5], ids=["whole", "in small segments"])
def test_queries_beside_other_requests_of_a_connection_are_told_and_nothing_else_is(
    replay: Replay, tmp_path: Path, other: Callable[[int], bytes], size: int
) -> None:
    tape = Tape()
    server = SERVER[0], 53
    for number, messages in enumerate(
        [(other(1), query("b.test", 2)), (query("a.test", 1), other(2), query("b.test", 3))]
    ):
        sent = stream(*messages)
        payloads = [(place, sent[place : place + size]) for place in range(0, len(sent), size)]
        tape.connection(payloads, client=(CLIENT[0], CLIENT[1] + number), server=server)
    tape.add(udp(CLIENT, server, other(9)))
    theirs = tshark(tape, tmp_path, "dns.flags.opcode == 0", "dns.qry.name")
    done = replay(pcap(tape.frames), "DNS")
    ours = [row["q_name"] for row in done.rows("dns.query")]
    assert sorted(ours) == ["a.test", "b.test", "b.test"]
    assert {*theirs} >= {"a.test", "b.test"}
    assert done.rows("dns.answer") == []
    probe = done.probe("DNS")
    assert (probe["malformed"], probe["unfinished"], probe["cut"]) == (0, 0, 0)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 16])
def test_packets_with_many_headers_of_ipv6_are_told(replay: Replay, tmp_path: Path, count: int) -> None:
    source, destination = bytes.fromhex("20010db8" + 22 * "0" + "01"), bytes.fromhex("20010db8" + 22 * "0" + "02")
    asked = query("headers.test")
    datagram = struct.pack("!HHHH", 40000, 53, 8 + len(asked), 0) + asked
    options = b"".join(bytes([60 if left else 17, 0, 1, 4, 0, 0, 0, 0]) for left in reversed(range(count)))
    payload = options + datagram
    head = struct.pack("!IHBB", 6 << 28, len(payload), 60 if count else 17, 64) + source + destination
    tape = Tape()
    tape.add(bytes(12) + b"\x86\xdd" + head + payload)
    assert tshark(tape, tmp_path, "dns", "dns.qry.name") == ["headers.test"]
    done = replay(pcap(tape.frames), "DNS")
    assert [(row["q_name"], row["s_ip"]) for row in done.rows("dns.query")] == [("headers.test", "2001:db8::1")]

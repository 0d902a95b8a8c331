"""TLS hellos in QUIC: the standards' own packets, aioquic's peers, every order and damage, and bounds that hold."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hellos import (
    alpn,
    certificate,
    client_body,
    extension,
    key_share,
    message,
    server_body,
    server_name,
    supported_versions,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from quic_peers import CLIENT, MILLISECOND, ORIGINAL_ID, SERVER, V1, V2, Peers, ack, crypto, initial
from recorded import capture, suricata, tshark, udp

from ingrain.wire import quic, stream, tls_hello
from ingrain.wire.client_hello import ClientHello
from ingrain.wire.ja4 import QUIC
from ingrain.wire.malformed import Malformed
from ingrain.wire.quic import Message, Quic
from ingrain.wire.quic_keys import initial_keys, open_initial
from ingrain.wire.tls_hello import ServerHello

FIRST = 1_700_000_000 * 10**9
BODY = client_body(server_name(b"a.test"), alpn(b"h3"), supported_versions(0x0304), key_share(bytes(1216)))
HELLO = message(1, BODY)
CHOSEN = server_body(extension(43, b"\x03\x04"))


def told(found: list[Message]) -> list[ClientHello | ServerHello]:
    return [tls_hello.message(kind, body, QUIC) for kind, body in found]


def read_all(sent: list[tuple[bool, bytes]], reader: Quic | None = None) -> tuple[list[Message], int]:
    """The messages in these datagrams, and how many of them were malformed."""
    reader = Quic() if reader is None else reader
    found, malformed = [], 0
    for number, (by_client, payload) in enumerate(sent):
        source, destination = (CLIENT, SERVER) if by_client else (SERVER, CLIENT)
        try:
            found += reader.read(source, destination, payload, FIRST + number * MILLISECOND)
        except Malformed:
            malformed += 1
    return found, malformed


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("quic"))


# RFC 9001 A.1 and RFC 9369 A.1: the keys; A.2: the client's packet (its beginning and its end); A.3: the server's.
KEYS = [
    (V1, True, "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"),
    (V1, False, "cf3a5331653c364c88f0f379b6067e37", "0ac1493ca1905853b0bba03e", "c206b8d9b9f0f37644430b490eeaa314"),
    (V2, True, "8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"),
    (V2, False, "82db637861d55e1d011f19ea71d5d2a7", "dd13c276499c0249d3310652", "edf6d05c83121201b436e16877593c3a"),
]
CLIENT_FRAME = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
    "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
    "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
    "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
    "0d0010000e0403050306030203080408050806002d00020101001c0002400100"
    "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
    "75300901100f088394c8f03e51570806048000ffff"
)
SERVER_PACKETS = {
    V1: "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a"
    "5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3"
    "dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84"
    "022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4"
    "2158407dd074ee",
    V2: "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698"
    "baeea26b91eb761d9b89237bbf87263017915358230035f7fd3945d88965cf17"
    "f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2"
    "c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca8"
    "4bed8521e2e140",
}


@pytest.mark.parametrize(("version", "client", "key", "iv", "header"), KEYS)
def test_keys_are_those_of_the_standards(version: int, client: bool, key: str, iv: str, header: str) -> None:  # noqa: FBT001
    keys = initial_keys(version, ORIGINAL_ID, client=client)
    assert [part.hex() for part in keys] == [key, iv, header]


@pytest.mark.parametrize("version", [V1, V2])
def test_the_standards_server_packet_opens_with_its_hello(version: int) -> None:
    packet = bytes.fromhex(SERVER_PACKETS[version])
    number, frames = open_initial(initial_keys(version, ORIGINAL_ID, client=False), packet, 18, 0)
    assert number == 1
    assert frames.hex().startswith("02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739")
    reader = Quic()
    sent = initial(CLIENT_FRAME + bytes(917), version=version, source=b"")
    (offered,) = told(reader.read(CLIENT, SERVER, sent, FIRST))
    (chosen,) = told(reader.read(SERVER, CLIENT, packet, FIRST))
    assert isinstance(offered, ClientHello)
    assert (offered.sni, offered.alpn, offered.version, offered.ja4[0]) == ("example.com", ("alpn",), "TLS 1.3", "q")
    assert isinstance(chosen, ServerHello)
    assert (chosen.version, chosen.ciphersuite) == ("TLS 1.3", "TLS_AES_128_GCM_SHA256")


@pytest.mark.parametrize(
    "peers",
    [
        {},
        {"client_version": V2, "client_versions": (V2,)},
        {"client_versions": (V2, V1), "server_versions": (V2, V1)},  # agree on v2 over a first packet of v1
        {"retry": True},
        {"client_version": V2, "client_versions": (V2,), "retry": True},
        {"protocols": ("h3", *(f"protocol-{number}" for number in range(250)))},  # over several packets
    ],
    ids=["v1", "v2", "v1 to v2", "v1 with a Retry", "v2 with a Retry", "large"],
)
def test_the_hellos_of_real_peers_are_told(pem: Path, peers: dict[str, object]) -> None:
    made = Peers(pem, **peers)  # type: ignore[arg-type] # the fields above
    seen = made.handshake()
    assert seen.done
    reader = Quic()
    initials = [
        (by_client, payload) for by_client, payload in seen.sent
        if payload[0] & 0x80 and payload[0] & 0x30 == (0x10 if payload[1:5] == V2.to_bytes(4) else 0)
    ]  # fmt: skip
    found, malformed = read_all(initials, reader)
    # Having agreed on v2, aioquic's client calls its next packet one of v2 and seals it with the keys of v1.
    assert malformed == (len(made.client_versions) > 1)
    offered, *again, chosen = told(found)
    # RFC 9000 17.2.5.2 has it send the same hello again after a Retry; aioquic makes one with other random bytes.
    assert again == [offered] * made.retry
    assert isinstance(offered, ClientHello)
    assert isinstance(chosen, ServerHello)
    assert (offered.sni, offered.alpn, offered.version) == ("q.test", made.protocols, "TLS 1.3")
    assert chosen.version == "TLS 1.3"
    assert chosen.ciphersuite in offered.ciphersuites
    assert seen.version == (V2 if V2 in made.client_versions else V1)
    assert reader.held == reader.cut == 0
    assert read_all(seen.sent)[0] == found


@pytest.mark.skipif(not shutil.which("suricata") or not shutil.which("tshark"), reason="no Suricata or no tshark")
def test_what_is_told_of_real_peers_is_what_suricata_and_tshark_tell(pem: Path, tmp_path: Path) -> None:
    hellos, packets = [], []
    for number, protocols in enumerate((("h3",), ("hq-interop", "h3"), ("x",))):
        sent = Peers(pem, protocols=protocols, name=f"{number}.test").handshake().sent
        hellos += [hello for hello in told(read_all(sent)[0]) if isinstance(hello, ClientHello)]
        client = (CLIENT[0], CLIENT[1] + number)
        packets += [udp(client, SERVER, data) if out else udp(SERVER, client, data) for out, data in sent]
    file = capture(tmp_path / "quic.pcap", packets)
    names = ("tls.handshake.extensions_server_name", "tls.handshake.ja3")
    theirs = {tuple(row.values()) for row in tshark(file, *names, where="tls.handshake.type == 1")}
    assert theirs == {(hello.sni, hello.ja3) for hello in hellos}
    events = [event["quic"] for event in suricata(file, tmp_path) if "sni" in event["quic"]]
    assert {(event["sni"], event["ja3"]["hash"], event["ja4"]) for event in events} == {
        (hello.sni, hello.ja3, hello.ja4) for hello in hellos
    }


@given(st.integers(0, 2**32), st.sampled_from([V1, V2]))
@settings(max_examples=50)
def test_frames_in_any_order_over_several_packets_are_put_together(seed: int, version: int) -> None:
    pick = random.Random(seed)
    cuts = sorted({0, len(HELLO), *(pick.randrange(len(HELLO)) for _ in range(12))})
    frames = [crypto(start, HELLO[start:end]) for start, end in pairwise(cuts)]
    frames += [*pick.choices(frames, k=3), b"\1", bytes(7), ack(3), ack(9, 2), b"\x03\0\0\0\0\1\2\3"]
    pick.shuffle(frames)
    packets = [b"".join(frames[number::3]) for number in range(3)]
    sent = [(True, initial(one, number=number, version=version)) for number, one in enumerate(packets)]
    pick.shuffle(sent)
    assert read_all(sent) == ([(1, BODY)], 0)


def test_packets_of_other_kinds_in_the_datagram_are_passed_over() -> None:
    early = b"\xd0" + V1.to_bytes(4) + b"\x08" + ORIGINAL_ID + b"\x00\x40\x20" + bytes(32)
    first, second = initial(crypto(0, HELLO[:700])), initial(crypto(700, HELLO[700:]), number=1)
    assert read_all([(True, first + early + second + b"\x40 the rest")]) == ([(1, BODY)], 0)
    other = initial(crypto(700, HELLO[700:]), number=1, destination=b"another id")
    assert read_all([(True, first + other)]) == ([], 0)  # RFC 9000 12.2


def test_packets_that_follow_a_damaged_one_are_read() -> None:
    damaged = bytearray(initial(crypto(0, b"junk")))
    damaged[-1] ^= 1
    assert read_all([(True, bytes(damaged) + initial(crypto(0, HELLO)))]) == ([(1, BODY)], 0)


def test_both_hellos_of_a_hello_retry_request_are_told_though_their_random_bytes_are_the_same() -> None:
    again = client_body(server_name(b"a.test"), alpn(b"h3"), supported_versions(0x0304), key_share(bytes(97)))
    retry = server_body(extension(43, b"\x03\x04"), extension(51, b"\x00\x17"))
    first = initial(crypto(0, HELLO))
    sent = [
        (True, first),
        (False, initial(ack(0) + crypto(0, message(2, retry)), client=False, destination=b"mine")),
        (True, first),
        (True, initial(ack(0) + crypto(len(HELLO), message(1, again)), number=1, destination=b"theirs")),
        (
            False,
            initial(crypto(len(message(2, retry)), message(2, CHOSEN)), number=1, client=False, destination=b"mine"),
        ),
    ]
    found, malformed = read_all(sent)
    assert (found, malformed) == ([(1, BODY), (2, retry), (1, again), (2, CHOSEN)], 0)


def test_a_hello_that_is_repeated_after_a_retry_is_told_once() -> None:
    sent = [
        (True, initial(crypto(0, HELLO))),
        (True, initial(crypto(0, HELLO[:500]), number=1, keys_of=b"retry-id", token=b"token")),
        (True, initial(crypto(500, HELLO[500:]), number=2, keys_of=b"retry-id", token=b"token")),
        (False, initial(crypto(0, message(2, CHOSEN)), client=False, keys_of=b"retry-id", destination=b"mine")),
    ]
    assert read_all(sent) == ([(1, BODY), (2, CHOSEN)], 0)


def test_a_new_connection_between_the_same_ends_is_told() -> None:
    other = client_body(server_name(b"b.test"))
    sent = [(True, initial(crypto(0, HELLO))), (True, initial(crypto(0, message(1, other)), keys_of=b"a new one"))]
    assert read_all(sent) == ([(1, BODY), (1, other)], 0)


@pytest.mark.parametrize("ids", [(b"one", b"two"), (b"", b"two"), (b"one", b"")])
def test_connections_between_the_same_ends_at_the_same_time_are_told_apart(ids: tuple[bytes, bytes]) -> None:
    """RFC 9000 5: a client may have several over one socket, each with a connection id of its own."""
    offers = [client_body(server_name(b"%d.test" % number), key_share(bytes(600))) for number in range(2)]
    choices = [server_body(extension(43, b"\x03\x04"), cipher=0x1301 + number) for number in range(2)]
    keys = [b"first of one", b"first of two"]
    sent = []
    for begin, end, number in ((0, 300, 0), (300, None, 1)):
        for one in (0, 1):
            hello = crypto(begin, message(1, offers[one])[begin:end])
            sent.append((True, initial(hello, number=number, keys_of=keys[one], source=ids[one])))
    for one in (0, 1):
        chosen = crypto(0, message(2, choices[one]))
        sent.append((False, initial(chosen, client=False, keys_of=keys[one], destination=ids[one])))
    expected = [(1, offers[0]), (1, offers[1]), (2, choices[0]), (2, choices[1])]
    assert read_all(sent) == (expected, 0)


def test_two_peers_that_connect_to_each_other_over_the_same_ends_are_told_apart() -> None:
    body = client_body(server_name(b"b.test"))
    theirs = initial(crypto(0, message(1, body)), keys_of=b"theirs", source=b"yours")
    chosen = crypto(0, message(2, CHOSEN))
    sent = [
        (True, initial(crypto(0, HELLO))),
        (False, theirs),
        (True, initial(chosen, client=False, keys_of=b"theirs", destination=b"yours")),
        (False, initial(chosen, client=False)),
    ]
    assert read_all(sent) == ([(1, BODY), (1, body), (2, CHOSEN), (2, CHOSEN)], 0)


def test_a_servers_packet_without_its_clients_is_malformed() -> None:
    packet = initial(crypto(0, message(2, CHOSEN)), client=False, destination=b"mine")
    assert read_all([(False, packet)]) == ([], 1)
    assert read_all([(True, initial(crypto(0, HELLO))), (False, packet)]) == ([(1, BODY), (2, CHOSEN)], 0)


def test_what_is_no_hello_ends_its_side_and_is_counted() -> None:
    reader = Quic()
    for junk in (message(2, CHOSEN), message(11, bytes(50)), b"\1\1\0\1"):
        assert read_all([(True, initial(crypto(0, junk), keys_of=junk[:9].ljust(9)))], reader) == ([], 0)
    assert (reader.cut, reader.held) == (3, 0)


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xc0", b"\x40" + bytes(40), bytes(1200), b"\xc0\x00\x00\x00\x00" + bytes(40),
        b"\xc0\x00\x00\x00\x01\xff" + bytes(300), b"\xc0\x00\x00\x00\x01\x00\x00\x00\x3f" + bytes(9),
        b"\xf0\x00\x00\x00\x01\x00\x00\x00\x20" + bytes(40), b"\xc0\x00\x00\x00\x01\x00\x00\x00\x05" + bytes(9),
        b"\xc0\x00\x00\x00\x01\x15" + bytes(21) + b"\x00\x00\x20" + bytes(40),
        initial(b"\x08\x00" + bytes(40)), initial(b"\x06\x00\x40\xff" + bytes(20)),
        initial(b"\x02\x00\x00\xff" + b"\xff" * 30),
        initial(bytes(30) + b"\x06"), initial(bytes(30) + b"\x1c\x00\x00\x20 short"), initial(bytes(30) + b"\x06\xff"),
        initial(b"".join(crypto(number, b"x") for number in range(257))),
    ],
)  # fmt: skip
def test_what_is_no_initial_packet_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        Quic().read(CLIENT, SERVER, payload, FIRST)


def test_the_end_of_a_connection_may_stand_behind_the_hello() -> None:
    assert read_all([(True, initial(crypto(0, HELLO) + b"\x1c\x01\x00\x03bye"))]) == ([(1, BODY)], 0)


@given(st.data())
@settings(max_examples=300)
def test_any_damage_is_malformed_and_leaves_nothing_behind(data: st.DataObject) -> None:
    packet = bytearray(initial(crypto(0, HELLO[:600]) + ack(5), version=data.draw(st.sampled_from([V1, V2]))))
    for _ in range(data.draw(st.integers(1, 3))):
        packet[data.draw(st.integers(0, len(packet) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(packet)))
    reader = Quic()
    try:
        assert reader.read(CLIENT, SERVER, bytes(packet[:cut]), FIRST) == []
    except Malformed:
        assert (len(reader), reader.held) == (0, 0)
    else:
        assert cut == len(packet)  # damage that undid itself


@given(st.binary(max_size=300), st.sampled_from([V1, V2]), st.booleans())
@settings(max_examples=300)
def test_any_frames_are_read_or_malformed(frames: bytes, version: int, by_client: bool) -> None:  # noqa: FBT001
    reader = Quic()
    reader.read(CLIENT, SERVER, initial(b"\1", version=version), FIRST)
    ends = (CLIENT, SERVER) if by_client else (SERVER, CLIENT)
    try:
        found = reader.read(
            *ends, initial(frames, number=1, version=version, client=by_client, destination=b"any"), FIRST
        )
    except Malformed:
        return
    assert all(kind in {1, 2} and isinstance(body, bytes) for kind, body in found)


@given(st.binary(max_size=200))
def test_any_bytes_are_malformed(junk: bytes) -> None:
    for payload in (junk, b"\xc3\x00\x00\x00\x01" + junk, b"\xd3" + V2.to_bytes(4) + b"\x08" + bytes(8) + junk):
        with pytest.raises(Malformed):
            Quic().read(CLIENT, SERVER, payload, FIRST)


def test_packet_numbers_are_whole_though_only_their_end_is_sent() -> None:
    keys = initial_keys(V1, ORIGINAL_ID, client=True)
    for number in (0x10000, 0x1FFFF, 0x7FFFFFF):
        packet = initial(crypto(0, HELLO), number=number)
        assert open_initial(keys, packet, 22, number - 5)[0] == number
        assert open_initial(keys, packet, 22, number + 5)[0] == number


def test_connections_are_bounded_and_the_hellos_of_those_let_go_of_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic, "CONNECTIONS", 3)
    reader = Quic()
    packet = initial(crypto(0, HELLO[:500]))
    for port in range(10):
        reader.read(("192.0.2.1", port), SERVER, packet, FIRST)
        reader.expire(FIRST)
        assert len(reader) <= 3
    assert reader.cut == 0
    reader.expire(FIRST + stream.IDLE_NS)
    assert (len(reader), reader.held, reader.cut) == (0, 0, 10)


def test_one_connection_holds_no_more_than_the_bound() -> None:
    reader = Quic()
    for number in range(300):
        packet = initial(crypto(1 + number * 1000, bytes(1000)), number=number)
        assert reader.read(CLIENT, SERVER, packet, FIRST) == []
        assert reader.held <= stream.STREAM_BYTES
    assert (reader.held, reader.cut) == (0, 1)


def test_ciphers_are_loaded_with_the_first_packet() -> None:
    check = (
        "import sys; from ingrain.wire.quic import Quic; from ingrain.wire.malformed import Malformed\n"
        "def loaded(): return any(name.split('.')[0] == 'cryptography' for name in sys.modules)\n"
        "assert not loaded()\n"
        f"Quic().read(1, 2, {initial(crypto(0, HELLO))!r}, 0)\nassert loaded()"
    )
    subprocess.run([sys.executable, "-c", check], check=True)

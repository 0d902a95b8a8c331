"""Hellos that QUIC carries, as the TLS grain tells them: the same columns, and every datagram accounted for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hellos import CLIENT_HELLO, alpn, certificate, client_body, key_share, message, server_name
from hypothesis import given
from hypothesis import strategies as st
from packets import IN, OUT, UDP, drained, rows
from quic_peers import V1, V2, Datagrams, Peers, ack, crypto, initial

from ingrain.grains.tls import TLS
from ingrain.wire import quic as wire_quic
from ingrain.wire import stream as wire_stream

CLIENT = {
    "proto": UDP, "pid": 4711, "comm": b"firefox", "cgroup_id": 77, "direction": OUT,
    "s_ip": "192.0.2.1", "s_port": 40000, "d_ip": "192.0.2.2", "d_port": 443,
}  # fmt: skip
SERVER = CLIENT | {"direction": IN, "s_ip": "192.0.2.2", "s_port": 443, "d_ip": "192.0.2.1", "d_port": 40000}
SECOND = 1_000_000_000

Row = dict[str, Any]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("quic"))


def told(grain: TLS, payloads: Sequence[bytes], *flows: Row) -> list[Row]:
    return rows(*grain.decode(drained("tls", payloads, *(flows or (CLIENT,)))))


def told_of(grain: TLS, seen: Datagrams) -> list[Row]:
    """What is told of the datagrams of a handshake that the kernel half takes for Initial packets of QUIC."""
    sent = [(by_client, payload) for by_client, payload in seen.sent if payload[0] & 0xC0 == 0xC0]
    return told(grain, [payload for _by, payload in sent], *(CLIENT if by else SERVER for by, _payload in sent))


@pytest.mark.parametrize(("versions", "version"), [((V1,), V1), ((V2,), V2)], ids=["v1", "v2"])
def test_both_hellos_of_a_real_handshake_are_told(pem: Path, versions: tuple[int, ...], version: int) -> None:
    seen = Peers(pem, client_version=version, client_versions=versions).handshake()
    assert seen.done
    offered, chosen = told_of(TLS(), seen)
    assert (offered["measurement"], chosen["measurement"]) == (
        "tls.handshake.clienthello",
        "tls.handshake.serverhello",
    )
    assert (offered["proto"], chosen["proto"]) == ("quic", "quic")
    assert (offered["sni"], offered["alpn"], offered["client_version"]) == ("q.test", ["h3"], "TLS 1.3")
    assert offered["ja4"].startswith("q13d")
    assert (offered["process"], offered["direction"], chosen["direction"]) == ("firefox", "out", "in")
    assert (chosen["tls_version"], chosen["retry"]) == ("TLS 1.3", False)


def test_a_hello_over_tcp_and_one_over_quic_stand_side_by_side_with_their_protocols() -> None:
    body = client_body(server_name(b"a.test"), alpn(b"h3"))
    over_quic = initial(crypto(0, message(CLIENT_HELLO, body)))
    over_tcp = b"\x16\x03\x01" + len(message(CLIENT_HELLO, body)).to_bytes(2) + message(CLIENT_HELLO, body)
    found = told(TLS(), [over_quic, over_tcp], CLIENT, CLIENT | {"proto": 6})
    assert [(row["proto"], row["sni"], row["ja4"][0]) for row in found] == [
        ("quic", "a.test", "q"),
        ("tcp", "a.test", "t"),
    ]
    assert found[0]["ja3"] == found[1]["ja3"]


def parts_of_a_hello() -> list[bytes]:
    """A hello in ten pieces, two to a packet."""
    whole = message(CLIENT_HELLO, client_body(server_name(b"many.test"), alpn(b"h3"), key_share(bytes(1200))))
    size = len(whole) // 10 + 1
    pieces = [crypto(at, whole[at : at + size]) for at in range(0, len(whole), size)]
    random.Random(3).shuffle(pieces)
    return [initial(pieces[at] + pieces[at + 1], number=at) for at in range(0, 10, 2)]


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=4))
def test_a_hello_over_several_packets_is_told_once_whatever_their_order(order: list[int], twice: list[int]) -> None:
    packets = parts_of_a_hello()
    sent = [packets[one] for one in [*order, *twice]]
    grain = TLS()
    (row,) = told(grain, sent)
    assert (row["sni"], row["proto"]) == ("many.test", "quic")
    assert (grain.parts, grain.further, grain.malformed) == (len(sent) - 1, 0, 0)


def test_packets_without_a_hello_are_parts_and_those_that_do_not_open_are_malformed() -> None:
    grain = TLS()
    hello = initial(crypto(0, message(CLIENT_HELLO, client_body(server_name(b"a.test")))))
    sealed = bytearray(initial(ack(0), number=1))
    sealed[-1] ^= 1
    assert len(told(grain, [hello, initial(ack(0), number=1), bytes(sealed), b"\xc0\x00\x00\x00\x01"])) == 1
    assert (grain.parts, grain.malformed) == (1, 2)


def test_a_hello_in_a_packet_that_opens_but_is_none_is_malformed() -> None:
    grain = TLS()
    assert not told(grain, [initial(crypto(0, message(CLIENT_HELLO, b"\x03\x03 too short")))])
    assert (grain.malformed, grain.parts) == (1, 0)


def test_a_hello_of_which_not_all_came_is_unfinished_once_its_connection_is_idle() -> None:
    grain = TLS()
    assert not told(grain, parts_of_a_hello()[:4], CLIENT | {"time": SECOND})
    grain.expire(SECOND + wire_stream.IDLE_NS - 1)
    assert grain.unfinished == 0
    grain.expire(SECOND + wire_stream.IDLE_NS)
    assert (grain.parts, grain.unfinished) == (4, 1)


@given(st.lists(st.one_of(st.binary(max_size=60), st.integers(0, 4), st.integers(0, 2000)), max_size=12))
def test_whatever_the_bytes_the_account_adds_up(plan: list[bytes | int]) -> None:
    packets = parts_of_a_hello()
    sent = []
    for one in plan:
        if isinstance(one, bytes):
            sent.append(b"\xc0\x00\x00\x00\x01" + one)
        elif one < len(packets):
            sent.append(packets[one])
        else:
            damaged = bytearray(packets[0])
            damaged[one % len(damaged)] ^= 0x55
            sent.append(bytes(damaged))
    grain = TLS()
    found = told(grain, sent)
    assert len(sent) + grain.further == len(found) + grain.malformed + grain.cut + grain.parts


def test_memory_is_bounded_under_a_flood_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_quic, "CONNECTIONS", 64)
    part = initial(crypto(0, message(CLIENT_HELLO, client_body(server_name(b"a.test")))[:-1]))
    grain = TLS()
    for number in range(300):
        told(grain, [part], CLIENT | {"s_port": 1 + number})
        assert grain._quic
        assert len(grain._quic) <= 65
    assert grain.parts == 300

"""Hellos over many TCP segments, whatever their order; what a client sends twice on purpose, and what never comes."""

from __future__ import annotations

import itertools
import tracemalloc
from hashlib import md5
from typing import Any

import pytest
from hellos import (
    CLIENT_HELLO,
    ECH,
    SERVER_HELLO,
    alpn,
    client_body,
    client_hello,
    extension,
    key_share,
    message,
    numbers,
    records,
    server_body,
    server_hello,
    server_name,
    supported_versions,
)
from hypothesis import given
from hypothesis import strategies as st
from packets import IN, OUT, drained, rows

from ingrain.grains.tls import TLS
from ingrain.wire import stream as wire_stream

CURL = {
    "pid": 4711, "uid": 1000, "comm": b"curl", "cgroup_id": 77, "direction": OUT,
    "s_ip": "192.0.2.9", "s_port": 40000, "d_ip": "192.0.2.44", "d_port": 443,
}  # fmt: skip
BACK = CURL | {"direction": IN, "s_ip": "192.0.2.44", "s_port": 443, "d_ip": "192.0.2.9", "d_port": 40000}
SECOND = 1_000_000_000
RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446 4.1.3
CHANGE = b"\x14\x03\x03\x00\x01\x01"

BODY = client_body(server_name(b"a.test"), alpn(b"h2"), supported_versions(0x0304), key_share(bytes(1216)))
HELLO = client_hello(BODY)
"""Some 1,400 bytes, as hellos with a post-quantum key share are."""
(WHOLE,) = rows(*TLS().decode(drained("tls", [HELLO], CURL)))

Row = dict[str, Any]


def told(grain: TLS, segments: list[tuple[int, bytes]], *flows: Row) -> list[Row]:
    offsets, payloads = [at for at, _payload in segments], [payload for _at, payload in segments]
    return rows(*grain.decode(drained("tls", payloads, *(flows or (CURL,)), offsets=offsets)))


def same(row: Row) -> bool:
    return {key: row[key] for key in row if key != "timestamp"} == {
        key: WHOLE[key] for key in WHOLE if key != "timestamp"
    }


def adds_up(grain: TLS, received: int, count: int) -> bool:
    return received + grain.further == count + grain.malformed + grain.cut + grain.parts


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 8, 9, 10, 11, 100, len(HELLO) - 1])
def test_a_hello_in_two_segments_is_told_with_the_second_and_the_first_is_a_part(cut: int) -> None:
    grain = TLS()
    assert told(grain, [(0, HELLO[:cut])]) == []
    (row,) = told(grain, [(cut, HELLO[cut:])])
    assert same(row)
    assert (grain.parts, grain.further, grain.unfinished) == (1, 0, 0)


def test_a_hello_in_segments_of_one_byte_is_told() -> None:
    grain = TLS()
    (row,) = told(grain, [(at, HELLO[at : at + 1]) for at in range(len(HELLO))])
    assert same(row)
    assert grain.parts == len(HELLO) - 1


@given(st.data())
def test_any_segmentation_any_order_any_overlap_gives_one_record(data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(1, len(HELLO) - 1), min_size=1, max_size=20))
    edges = sorted({0, *cuts, len(HELLO)})
    pieces = [(start, HELLO[start:end]) for start, end in itertools.pairwise(edges)]
    overlaps = data.draw(st.lists(st.tuples(st.integers(0, len(HELLO) - 1), st.integers(1, 600)), max_size=5))
    pieces += [(at, HELLO[at : at + size]) for at, size in overlaps]
    pieces = data.draw(st.permutations(pieces))
    pieces.append((len(HELLO), b"\x17\x03\x03\x00\x20"))  # what follows it
    grain = TLS()
    found: list[Row] = []
    at = 0
    while at < len(pieces):  # over several drains
        size = data.draw(st.integers(1, len(pieces)))
        found += told(grain, pieces[at : at + size])
        at += size
    (row,) = found
    assert same(row)
    assert (grain.malformed, grain.cut, grain.unfinished) == (0, 0, 0)
    assert adds_up(grain, len(pieces), 1)
    assert grain._streams.held == 0


@given(st.data())
def test_whatever_the_bytes_the_account_adds_up(data: st.DataObject) -> None:
    damaged = bytearray(HELLO[:400])
    for _ in range(data.draw(st.integers(0, 6))):
        damaged[data.draw(st.integers(0, 60))] = data.draw(st.integers(0, 255))
    starts = data.draw(st.lists(st.integers(0, 399), max_size=20))
    pieces = [(at, bytes(damaged[at : at + data.draw(st.integers(1, 200))])) for at in starts]
    pieces.insert(data.draw(st.integers(0, len(pieces))), (0, bytes(damaged)))
    grain = TLS()
    found = told(grain, pieces)
    assert adds_up(grain, len(pieces), len(found))
    grain.finish()
    assert len(grain._streams) == grain._streams.held == 0


def test_a_hello_over_many_records_and_segments_is_told() -> None:
    whole = message(CLIENT_HELLO, BODY)
    wire = records(*(whole[at : at + 60] for at in range(0, len(whole), 60)))
    (row,) = told(TLS(), [(at, wire[at : at + 50]) for at in range(0, len(wire), 50)])
    assert same(row)


def test_hellos_of_several_connections_that_alternate_are_told_apart() -> None:
    hosts = [b"%d.test" % number for number in range(4)]
    wires = [client_hello(client_body(server_name(host), key_share(bytes(1000)))) for host in hosts]
    pieces = [(at, wire[at : at + 400]) for at in range(0, max(map(len, wires)), 400) for wire in wires]
    flows = [CURL | {"s_port": 40000 + place % 4} for place in range(len(pieces))]
    found = told(TLS(), pieces, *flows)
    assert [(row["s_port"], row["sni"]) for row in found] == [(40000 + n, f"{n}.test") for n in range(4)]


def test_after_a_retry_both_hellos_of_a_client_and_of_a_server_are_told() -> None:
    """RFC 8446 4.1.4 and D.4: HelloRetryRequest, then the client's second hello behind a change_cipher_spec."""
    first = client_hello(client_body(server_name(b"a.test"), supported_versions(0x0304), numbers(10, 29, 23)))
    second = CHANGE + HELLO
    choice = server_body(extension(43, b"\x03\x04"), extension(51, b"\x00\x17"))
    retry = server_hello(choice[:2] + RETRY_RANDOM + choice[34:]) + CHANGE
    chosen = server_hello(server_body(extension(43, b"\x03\x04")))
    grain = TLS()
    exchange = [(first, CURL, 0), (retry, BACK, 0), (second, CURL, len(first)), (chosen, BACK, len(retry))]
    found: list[Row] = []
    for payload, flow, begin in exchange:
        events = drained("tls", [payload[:50], payload[50:]], flow, offsets=[0, 50])
        events.events["begin"] += begin
        events.events["seq"] += begin
        found += rows(*grain.decode(events))
    assert [row["measurement"].removeprefix("tls.handshake.") for row in found] == [
        "clienthello", "serverhello", "clienthello", "serverhello",
    ]  # fmt: skip
    assert found[0]["groups"] == ["x25519", "secp256r1"]
    assert [found[1]["retry"], found[3]["retry"]] == [True, False]
    assert same(found[2])
    assert (found[1]["ja3s"], found[3]["ja3s"]) == (
        md5(b"771,4865,43-51").hexdigest(),
        md5(b"771,4865,43").hexdigest(),
    )
    assert (grain.parts, grain.unfinished) == (4, 0)


def test_a_hello_behind_a_change_of_cipher_that_is_cut_anywhere_is_told() -> None:
    wire = CHANGE + HELLO
    for cut in range(1, 30):
        (row,) = told(TLS(), [(0, wire[:cut]), (cut, wire[cut:])])
        assert same(row)


def test_an_encrypted_hello_shows_its_outer_name_and_says_that_there_is_another() -> None:
    outer = client_hello(client_body(server_name(b"public.test"), extension(ECH, b"\x00" + bytes(200))))
    (row,) = told(TLS(), [(0, outer)])
    assert (row["sni"], row["ech"]) == ("public.test", True)


def test_groups_are_told_by_their_names_grease_too() -> None:
    wire = client_hello(client_body(numbers(10, 0x1A1A, 0x11EC, 29, 0xFF42)))
    (row,) = told(TLS(), [(0, wire)])
    assert row["groups"] == ["GREASE_0x1A1A", "X25519MLKEM768", "x25519", "0xFF42"]


def test_a_hello_of_which_not_all_came_is_unfinished_once_its_stream_is_idle() -> None:
    grain = TLS()
    told(grain, [(0, HELLO[:700])], CURL | {"time": SECOND})
    grain.expire(SECOND + wire_stream.IDLE_NS - 1)
    assert grain.unfinished == 0
    grain.expire(SECOND + wire_stream.IDLE_NS)
    assert (grain.parts, grain.unfinished) == (1, 1)


def test_a_segment_captured_in_part_leaves_its_hello_unfinished() -> None:
    grain = TLS()
    assert not rows(*grain.decode(drained("tls", [HELLO[:700]], CURL, sent=[len(HELLO)])))
    grain.finish()
    assert (grain.parts, grain.cut, grain.unfinished) == (1, 0, 1)


def test_segments_that_came_early_of_what_is_no_hello_are_not_unfinished() -> None:
    grain = TLS()
    assert not told(grain, [(1448, b"body of a download"), (2896, b"and more of it")])
    grain.finish()
    assert (grain.parts, grain.malformed, grain.unfinished) == (2, 0, 0)


def test_very_many_early_segments_of_what_is_no_hello_are_let_go_of_and_not_unfinished() -> None:
    grain = TLS()
    assert not told(grain, [(1000 + 2 * place, b"x") for place in range(wire_stream.PIECES + 5)])
    assert (grain._streams.held, grain.unfinished) == (0, 0)


def test_a_hello_that_needs_more_than_a_stream_may_hold_is_unfinished_and_let_go_of() -> None:
    grain = TLS()
    wire = records(*[message(CLIENT_HELLO, bytes(65_000))[at : at + 16_000] for at in range(0, 65_000, 16_000)])
    ahead = [(70_000, bytes(80_000))]
    assert not told(grain, [(0, wire[:60_000]), *ahead])
    assert (grain._streams.held, grain.unfinished) == (0, 1)


def test_what_stands_behind_a_whole_hello_is_not_looked_at() -> None:
    (row,) = told(TLS(), [(0, HELLO + b"\x15\x03\x01\x00\x02\x02\x28 and anything")])
    assert same(row)


def test_a_server_hello_with_its_certificate_behind_it_in_one_record_is_told_without_waiting() -> None:
    certificate = message(11, bytes(5000))
    wire = records(message(SERVER_HELLO, server_body(cipher=0xC02F)) + certificate)
    (row,) = told(TLS(), [(0, wire[:1000])], BACK)
    assert row["ciphersuite"] == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"


def test_memory_is_bounded_under_a_flood_of_hellos_that_never_become_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_stream, "TOTAL_BYTES", 1 << 20)
    monkeypatch.setattr(wire_stream, "STREAMS", 1 << 10)
    grain = TLS()
    most = 0
    tracemalloc.start()
    for number in range(40):
        flows = [CURL | {"s_port": 100 * number + port} for port in range(100)]
        told(grain, [(0, HELLO[:1300])] * 100, *flows)
        assert grain._streams.held <= (1 << 20) + len(HELLO)
        assert len(grain._streams) <= (1 << 10) + 1
        if number == 10:
            most = tracemalloc.get_traced_memory()[0]
    assert tracemalloc.get_traced_memory()[0] < 1.2 * most
    tracemalloc.stop()
    grain.finish()
    assert (grain.parts, grain.unfinished, grain._streams.held) == (4000, 4000, 0)

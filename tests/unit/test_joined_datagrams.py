"""Datagrams that a sender handed to the kernel joined (UDP GSO): each is read for itself, and none goes uncounted."""

from __future__ import annotations

from typing import Any

import pytest
from dns_messages import answer, query
from hellos import CLIENT_HELLO, client_body, message, server_name
from hypothesis import given
from hypothesis import strategies as st
from packets import OUT, UDP, drained, rows
from quic_peers import crypto, initial

from ingrain.grains.dns import DNS
from ingrain.grains.messages import MessageGrain
from ingrain.grains.tls import TLS

FLOW = {"proto": UDP, "pid": 4711, "cgroup_id": 77, "direction": OUT, "s_ip": "192.0.2.1", "d_ip": "192.0.2.2"}


def told(grain: MessageGrain[Any, Any], payload: bytes, size: int, sent: int = 0) -> list[dict[str, Any]]:
    """What one event with datagrams of this size tells; sent: bytes on the wire, where more than was captured."""
    events = drained(grain.program, [payload], FLOW, sent=[sent or len(payload)])
    events.events["datagram"] = size
    found = rows(*grain.decode(events))
    assert 1 + grain.further == len(found) + grain.malformed + grain.cut + grain.parts
    return found


QUERIES = [query(f"name-{number}.test", number=number) for number in range(6)]
SIZE = len(QUERIES[0])
NAMES = [f"name-{number}.test" for number in range(6)]


def hellos(count: int) -> tuple[bytes, int]:
    """Initial packets of connections, padded to one length, and that length."""
    packets = []
    for number in range(count):
        body = client_body(server_name(b"%d.test" % number))
        frames = crypto(0, message(CLIENT_HELLO, body)).ljust(1000, b"\0")
        packets.append(initial(frames, keys_of=b"connection %d" % number, source=b"%d" % number))
    assert len(set(map(len, packets))) == 1
    return b"".join(packets), len(packets[0])


def test_each_of_joined_queries_is_told() -> None:
    grain = DNS()
    assert [row["q_name"] for row in told(grain, b"".join(QUERIES), SIZE)] == NAMES
    assert (grain.malformed, grain.cut) == (0, 0)


@pytest.mark.parametrize("captured", range(SIZE, 6 * SIZE))
def test_of_joined_queries_beyond_what_was_captured_the_whole_ones_are_told_and_the_others_cut(captured: int) -> None:
    grain = DNS()
    found = told(grain, b"".join(QUERIES)[:captured], SIZE, sent=6 * SIZE)
    assert [row["q_name"] for row in found] == NAMES[: captured // SIZE]
    assert (grain.malformed, grain.cut) == (0, 6 - captured // SIZE)


def test_an_answer_of_which_the_beginning_was_captured_is_told_as_far_as_it_goes() -> None:
    grain = DNS()
    whole = answer("a.test", "A", "192.0.2.1", "192.0.2.2")
    found = told(grain, whole + whole[:-3], len(whole), sent=4 * len(whole))
    assert [[one["data"] for one in row["answers"]] for row in found] == [["192.0.2.1", "192.0.2.2"], ["192.0.2.1"]]
    assert (grain.malformed, grain.cut) == (0, 2)


def test_a_joined_datagram_that_is_broken_is_malformed_and_hides_no_other() -> None:
    grain = DNS()
    broken = QUERIES[0][:12] + b"\xff" * (SIZE - 12)
    assert [row["q_name"] for row in told(grain, QUERIES[0] + broken + QUERIES[2], SIZE)] == [NAMES[0], NAMES[2]]
    assert (grain.malformed, grain.cut) == (1, 0)


def test_each_of_joined_quic_datagrams_is_told() -> None:
    payload, size = hellos(5)
    grain = TLS()
    assert [row["sni"] for row in told(grain, payload, size)] == [f"{number}.test" for number in range(5)]
    assert (grain.malformed, grain.cut) == (0, 0)


@pytest.mark.parametrize("missing", [1, 500, 1040, 2000])
def test_of_joined_quic_datagrams_beyond_what_was_captured_the_whole_ones_are_told_and_the_others_cut(
    missing: int,
) -> None:
    payload, size = hellos(5)
    whole = (len(payload) - missing) // size
    grain = TLS()
    found = told(grain, payload[:-missing], size, sent=len(payload))
    assert [row["sni"] for row in found] == [f"{number}.test" for number in range(whole)]
    assert (grain.malformed, grain.cut) == (0, 5 - whole)


def test_a_quic_datagram_that_is_longer_than_what_was_captured_is_cut_and_not_malformed() -> None:
    payload, size = hellos(1)
    grain = TLS()
    assert not told(grain, payload[:-1], 0, sent=size)
    assert (grain.malformed, grain.cut) == (0, 1)


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 1000), st.sampled_from([DNS, TLS]))
def test_whatever_lengths_an_event_claims_the_account_adds_up(
    payload: bytes, size: int, sent: int, kind: type[MessageGrain[Any, Any]]
) -> None:
    told(kind(), payload, size, sent)

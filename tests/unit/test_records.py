"""What is in a perf buffer, split: whole, in order, nothing invented, whatever the bytes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perf import lost, sample

from ingrain.kernel.records import Drained, fixed, select, with_packets

EVENT = np.dtype([("time", "<u8"), ("port", "<u2"), ("name", "S6")])
PACKET = np.dtype([("time", "<u8"), ("captured", "<u4"), ("payload", "<u4"), ("payload_len", "<u4"), ("unused", "<u4")])


def event(time: int, port: int = 53, name: bytes = b"dig") -> bytes:
    return struct.pack("<QH6s", time, port, name)


def packet(time: int, headers: bytes, payload: bytes) -> bytes:
    captured = len(headers) + len(payload)
    return struct.pack("<QIIII", time, captured, len(headers), len(payload), 0) + headers + payload


def raw(*records: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(records), np.uint8)


times = st.integers(0, 2**64 - 1)
records = st.lists(st.one_of(times.map(lambda t: ("event", t)), st.integers(0, 2**40).map(lambda n: ("lost", n))))


@given(records)
def test_every_event_comes_out_once_and_in_order_with_lost_records_between(what: list[tuple[str, int]]) -> None:
    drained = fixed(raw(*(sample(event(n)) if kind == "event" else lost(n) for kind, n in what)), EVENT)
    assert drained.events["time"].tolist() == [n for kind, n in what if kind == "event"]
    assert drained.lost == sum(n for kind, n in what if kind == "lost")
    assert drained.corrupt == 0


def test_events_of_another_size_in_between_are_read_too() -> None:
    longer = sample(event(2) + b"a later kernel half's new field")
    drained = fixed(raw(sample(event(1)), longer, longer, sample(event(3, port=443, name=b"curl"))), EVENT)
    assert drained.events["time"].tolist() == [1, 2, 2, 3]
    assert drained.events["port"].tolist() == [53, 53, 53, 443]
    assert drained.events["name"].tolist() == [b"dig", b"dig", b"dig", b"curl"]


@given(st.lists(st.tuples(times, st.binary(max_size=60), st.binary(max_size=300))))
def test_packets_come_out_with_their_own_payload_and_no_padding(what: list[tuple[int, bytes, bytes]]) -> None:
    drained = with_packets(raw(*(sample(packet(*one)) for one in what)), PACKET)
    assert drained.events["time"].tolist() == [time for time, _headers, _payload in what]
    assert drained.payloads == [payload for _time, _headers, payload in what]
    assert drained.corrupt == 0


@pytest.mark.parametrize("split", [fixed, with_packets])
@given(junk=st.binary(max_size=400))
def test_bytes_that_are_no_records_are_counted_and_never_raise(split: object, junk: bytes) -> None:
    dtype = EVENT if split is fixed else PACKET
    drained: Drained = split(np.frombuffer(junk, np.uint8), dtype)  # type: ignore[operator]
    assert drained.corrupt <= len(junk)
    if not len(drained.events) and not drained.lost:
        assert drained.corrupt == len(junk)


def test_a_packet_whose_length_points_outside_its_record_is_counted_as_corrupt() -> None:
    lying = sample(struct.pack("<QIIII", 1, 5000, 4, 4996, 0) + b"short")
    drained = with_packets(raw(lying, sample(packet(2, b"hdr", b"data"))), PACKET)
    assert drained.events["time"].tolist() == [2]
    assert drained.payloads == [b"data"]
    assert drained.corrupt == len(lying)


@given(st.lists(st.tuples(times, st.integers(0, 2**16 - 1), st.booleans())))
def test_selected_events_are_copies_of_those_rows_and_no_others(what: list[tuple[int, int, bool]]) -> None:
    memory = bytearray().join(sample(event(time, port)) for time, port, _chosen in what)
    events = fixed(np.frombuffer(memory, np.uint8), EVENT).events
    chosen = select(events, np.array([one for _time, _port, one in what], dtype=bool))
    memory[:] = bytes(len(memory))
    assert chosen["time"].tolist() == [time for time, _port, one in what if one]
    assert chosen["port"].tolist() == [port for _time, port, one in what if one]

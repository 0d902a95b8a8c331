"""A perf buffer's memory, laid out by hand as linux/perf_event.h says: read across its end, tail published."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from perf import SIZE, Memory

from ingrain.kernel.ring import Ring


@given(st.lists(st.binary(max_size=SIZE), max_size=12))
def test_all_bytes_come_out_in_order_whatever_wraps(pieces: list[bytes]) -> None:
    memory = Memory()
    ring = Ring(memory.address)
    read = 0
    for piece in pieces:
        memory.write(piece)
        assert ring.waiting() == len(piece)
        into = np.zeros(SIZE, np.uint8)
        ring.move_out(into)
        assert into[: len(piece)].tobytes() == piece
        assert not into[len(piece) :].any()
        assert ring.waiting() == 0
        read += len(piece)
        assert memory.tail == read


def test_what_was_read_stays_when_the_kernel_writes_over_it() -> None:
    memory = Memory()
    ring = Ring(memory.address)
    memory.write(b"a" * SIZE)
    into = np.empty(ring.waiting(), np.uint8)
    ring.move_out(into)
    memory.write(b"b" * SIZE)
    assert into.tobytes() == b"a" * SIZE
    assert ring.size == SIZE


def test_what_comes_after_the_look_waits_for_the_next() -> None:
    memory = Memory()
    ring = Ring(memory.address)
    memory.write(b"seen")
    into = np.empty(ring.waiting(), np.uint8)
    memory.write(b"later")
    ring.move_out(into)
    assert into.tobytes() == b"seen"
    assert ring.waiting() == len(b"later")

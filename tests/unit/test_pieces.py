"""Pieces of batches: all that is in a batch, in its order, and little text at a time however often it stands there."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from chain import VOLUME, batch_of, tagged
from hypothesis import given
from hypothesis import strategies as st

from ingrain.account import Station
from ingrain.backends.bodies import JsonArray, JsonLines
from ingrain.backends.cardinality import Cardinality
from ingrain.backends.console import Console, ConsoleSettings
from ingrain.backends.lines import json_lines
from ingrain.backends.output import Output
from ingrain.backends.pieces import pieces
from ingrain.backends.series import series
from ingrain.backends.writers import JsonLinesWriter
from ingrain.batch import TEXT, Batch

TEXTS = st.none() | st.text(max_size=20)
ANSWER = pa.struct([("name", TEXT), ("ttl", pa.uint32())])
LISTS = st.none() | st.lists(st.none() | st.fixed_dictionaries({"name": TEXTS, "ttl": st.integers(0, 9)}), max_size=4)
COLUMNS = st.one_of(
    st.lists(TEXTS, max_size=40).map(lambda rows: pa.array(rows, TEXT)),
    st.lists(TEXTS, max_size=40).map(lambda rows: pa.array(rows, pa.string())),
    st.lists(LISTS, max_size=40).map(lambda rows: pa.array(rows, pa.list_(ANSWER))),
    st.lists(st.none() | st.integers(0, 9), max_size=40).map(lambda rows: pa.array(rows, pa.int64())),
)


def text(value: Any) -> int:
    """The bytes of text in a value."""
    match value:
        case str():
            return len(value.encode())
        case dict():
            return sum(map(text, value.values()))
        case list():
            return sum(map(text, value))
    return 0


@given(COLUMNS, st.integers(0, 5), st.integers(1, 30), st.integers(1, 100))
def test_all_records_are_in_pieces_in_their_order_none_larger_than_it_may_be(
    column: pa.Array, first: int, rows: int, size: int
) -> None:
    batch = tagged("tag", column.slice(first))
    made = list(pieces(batch, rows, size))
    assert [line for piece in made for line in json_lines(piece).to_pylist()] == json_lines(batch).to_pylist()
    held = [[text(one) for one in piece.records.column("tag").to_pylist()] for piece in made]
    assert all(len(one) <= rows and (sum(one) <= size or len(one) == 1) for one in held)


def test_where_it_is_the_text_that_is_too_much_a_piece_has_none_but_its_own() -> None:
    batch = batch_of(VOLUME, [{"value": 1, "packets": 1, "process": f"process {n:02}"} for n in range(100)])
    assert [len(piece.records.column("process").dictionary) for piece in pieces(batch, 100, 400)] == [40, 40, 20]


@pytest.fixture
def pool() -> Iterator[pa.MemoryPool]:
    """Of all that Arrow takes inside."""
    own, before = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(own)
    yield own
    pa.set_memory_pool(before)


def console(batch: Batch) -> None:
    descriptor = os.open(os.devnull, os.O_WRONLY)
    Console(ConsoleSettings(format="json"), Station("console"), Output(descriptor)).deliver(batch)
    os.close(descriptor)


def statsd(batch: Batch) -> None:
    assert sum(len(some.text) for some in series(batch, "", Cardinality(10_000), use_tags=True)) == len(batch)


@pytest.mark.parametrize(
    "write",
    [
        lambda batch: JsonLinesWriter(io.BytesIO(), VOLUME, batch.records.schema, 1 << 30).write(batch.records),
        lambda batch: JsonArray(io.BytesIO(), VOLUME, batch.records.schema, 1 << 20).write(batch.records),
        lambda batch: JsonLines(io.BytesIO(), VOLUME, batch.records.schema, 1 << 20).write(batch.records),
        console,
        statsd,
    ],
)
def test_a_long_line_in_every_record_is_never_rendered_for_all_of_them_at_once(
    write: Callable[[Batch], object], pool: pa.MemoryPool
) -> None:
    rows = [{"value": 1, "packets": 1, "process": "x" * 16_000, "d_port": port} for port in range(4096)]
    write(batch_of(VOLUME, rows))
    assert pool.max_memory() < 24 << 20

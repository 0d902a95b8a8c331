"""Bodies of requests: every record in one of them, none larger than it may be, each of them whole JSON when halved."""

from __future__ import annotations

import io
import json
import math
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from chain import LOAD, VOLUME, batch_of, tagged
from hypothesis import given
from hypothesis import strategies as st

from ingrain.backends.bodies import Body, JsonArray, JsonLines
from ingrain.backends.ingraind import ingraind_lines
from ingrain.batch import TEXT, Batch

TEXTS = st.text(max_size=20) | st.sampled_from(["},\n{", "]\n", '"', "\\", "\x00\x1f", "x" * 300, ""])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "timestamp": st.integers(0, 1 << 62),
            "value": st.integers(-(1 << 63), (1 << 63) - 1),
            "packets": st.integers(0, 1 << 40),
            "process": st.none() | TEXTS,
            "d_port": st.none() | st.integers(0, 65535),
        }
    ),
    max_size=30,
)
BODIES = pytest.mark.parametrize("kind", [JsonArray, JsonLines])


def bodies_of(kind: type[Body], batch: Batch, limit: int) -> list[bytes]:
    """All bodies that it takes."""
    made = []
    records = batch.records
    while records.num_rows:
        file = io.BytesIO()
        writer = kind(file, batch.measurement, records.schema, limit)
        taken = writer.write(records)
        assert taken
        records = records.slice(taken)
        writer.finish()
        made.append(file.getvalue())
    return made


def read(kind: type[Body], body: bytes) -> list[dict[str, Any]]:
    if kind is JsonArray:
        array: list[dict[str, Any]] = json.loads(body)
        return array
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.decode().split("\n")[:-1]]


def told(kind: type[Body], rows: list[dict[str, Any]]) -> list[Any]:
    key = "measurement" if kind is JsonArray else "value"
    return [row[key] for row in rows]


@BODIES
@given(ROWS, st.integers(1, 3000))
def test_no_body_is_larger_than_it_may_be_unless_a_record_is_and_all_records_are_in_them_in_order(
    kind: type[Body], rows: list[dict[str, Any]], limit: int
) -> None:
    made = bodies_of(kind, batch_of(VOLUME, rows), limit)
    assert [one for body in made for one in told(kind, read(kind, body))] == [row["value"] for row in rows]
    assert all(len(body) <= limit or len(read(kind, body)) == 1 for body in made)
    for one, other in pairwise(made):
        first = len(json.dumps(read(kind, other)[0], ensure_ascii=False, separators=(",", ":")).encode())
        assert len(one) + first + len(kind.ending) > limit, "it was full"


@BODIES
@given(ROWS)
def test_a_body_in_halves_down_to_its_records_has_each_of_them_once(
    kind: type[Body], rows: list[dict[str, Any]]
) -> None:
    def taken_apart(body: bytes) -> list[bytes]:
        halves = kind.halves(body)
        return [body] if halves is None else [part for half in halves for part in taken_apart(half)]

    for body in bodies_of(kind, batch_of(VOLUME, rows), 1 << 20):
        parts = taken_apart(body)
        assert [len(read(kind, part)) for part in parts] == [1] * len(rows)
        assert [row for part in parts for row in read(kind, part)] == read(kind, body)


def test_halves_are_about_as_large_as_each_other() -> None:
    rows = [{"value": number, "packets": 1} for number in range(1000)]
    (body,) = bodies_of(JsonArray, batch_of(VOLUME, rows), 1 << 20)
    halves = JsonArray.halves(body)
    assert halves
    assert math.isclose(len(halves[0]), len(halves[1]), rel_tol=0.01)


def test_more_records_than_are_rendered_at_a_time_go_into_one_body() -> None:
    rows = [{"value": number, "packets": 1} for number in range(5000)]
    (body,) = bodies_of(JsonLines, batch_of(VOLUME, rows), 1 << 30)
    assert told(JsonLines, read(JsonLines, body)) == list(range(5000))


def test_an_array_has_the_layout_that_ingraind_posts() -> None:
    rows: list[dict[str, Any]] = [
        {"timestamp": 1_740_830_400_000_000_001, "value": 1500, "packets": 2, "process": "curl", "d_port": 443},
        {"timestamp": 1_740_830_400_000_000_002, "value": 0, "packets": 1, "process": None, "d_port": None},
    ]
    (body,) = bodies_of(JsonArray, batch_of(VOLUME, rows), 1 << 20)
    assert json.loads(body) == [
        {
            "timestamp": 1_740_830_400_000_000_001,
            "kind": 1,
            "name": "volume.out_byte",
            "measurement": 1500,
            "packets": 2,
            "tags": {"process": "curl", "d_port": "443"},
        },
        {
            "timestamp": 1_740_830_400_000_000_002,
            "kind": 1,
            "name": "volume.out_byte",
            "measurement": 0,
            "packets": 1,
            "tags": {},
        },
    ]


def test_a_gauge_is_told_as_one_and_what_is_no_bytes_as_a_count() -> None:
    (row,) = read(JsonArray, bodies_of(JsonArray, batch_of(LOAD, [{"value": 7, "process": "init"}]), 1 << 20)[0])
    assert (row["kind"], row["name"], row["measurement"]) == (2, "load_count", 7)


def test_items_of_a_list_have_a_comma_between_them_as_in_ingraind() -> None:
    lists = pa.array([["h2", "http/1.1"], [], None], pa.list_(TEXT))
    told = [json.loads(line)["tags"] for line in ingraind_lines(tagged("alpn", lists), "\n").to_pylist()]
    assert told == [{"alpn": "h2,http/1.1"}, {"alpn": ""}, {}]


def test_a_batch_without_tags_has_an_empty_table_of_them() -> None:
    batch = batch_of(LOAD, [{"value": 1}])
    bare = batch.with_records(batch.records.drop_columns(["process"]))
    assert json.loads(ingraind_lines(bare, "").to_pylist()[0])["tags"] == {}

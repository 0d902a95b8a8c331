"""Sums by group and any column as text, checked against the same thing said in plain Python."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain import columns
from ingrain.batch import TEXT

ANSWER = pa.struct([("type", TEXT), ("data", pa.string()), ("ttl", pa.uint32())])
WORDS = st.one_of(st.none(), st.sampled_from(["", " ", "a", "b", "a b", "1", "1 2"]))
ANSWERS = st.one_of(
    st.none(),
    st.lists(
        st.one_of(st.none(), st.fixed_dictionaries({"type": WORDS, "data": WORDS, "ttl": st.integers(0, 2)})),
        max_size=3,
    ),
)
COLUMNS = {
    "process": (TEXT, WORDS),
    "port": (pa.uint16(), st.one_of(st.none(), st.integers(0, 3))),
    "alpn": (pa.list_(pa.string()), st.one_of(st.none(), st.lists(WORDS, max_size=3))),
    "suites": (pa.list_(TEXT), st.one_of(st.none(), st.lists(WORDS, max_size=3))),
    "answers": (pa.list_(ANSWER), ANSWERS),
    "owner": (ANSWER, st.one_of(st.none(), st.fixed_dictionaries({"type": WORDS, "data": WORDS, "ttl": st.just(1)}))),
}


@st.composite
def record_batches(draw: st.DrawFn) -> pa.RecordBatch:
    rows = draw(st.integers(0, 12))
    skipped = draw(st.integers(0, rows))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True, min_size=1))
    arrays = [pa.array(draw(st.lists(COLUMNS[n][1], min_size=rows, max_size=rows)), COLUMNS[n][0]) for n in names]
    return pa.RecordBatch.from_arrays(arrays, names=names).slice(skipped)


def flat(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(flat(item) for item in value)
    if isinstance(value, dict):
        return " ".join(flat(item) for item in value.values())
    return "" if value is None else str(value)


@given(record_batches())
def test_rows_share_a_group_exactly_when_their_values_are_equal(records: pa.RecordBatch) -> None:
    rows = [repr(row) for row in records.to_pylist()]
    group, first = columns.groups(records, records.schema.names)
    in_order = list(dict.fromkeys(rows))
    assert [in_order[number] for number in group] == rows
    assert [rows[row] for row in first] == in_order
    assert first.tolist() == [rows.index(row) for row in in_order]


def test_without_keys_all_rows_are_one_group() -> None:
    records = pa.record_batch({"a": [1, 2, 3]})
    group, first = columns.groups(records, [])
    assert group.tolist() == [0, 0, 0]
    assert first.tolist() == [0]


def test_no_rows_are_no_groups() -> None:
    records = pa.record_batch({"a": pa.array([], TEXT)})
    group, first = columns.groups(records, ["a"])
    assert len(group) == len(first) == 0


def test_many_wide_keys_do_not_overflow_the_code() -> None:
    rows = 3000
    wide = {f"k{i}": pa.array(np.arange(rows)) for i in range(8)}  # 3000 ** 8 is far more than 64 bits hold
    group, first = columns.groups(pa.record_batch(wide), list(wide))
    assert group.tolist() == first.tolist() == list(range(rows))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-(2**40), 2**40)), min_size=1))
def test_sums_and_lasts_are_those_of_each_group(rows: list[tuple[int, int]]) -> None:
    records = pa.record_batch({"key": [key for key, _ in rows]})
    group, first = columns.groups(records, ["key"])
    values = np.array([value for _, value in rows], dtype=np.int64)
    keys = [rows[row][0] for row in first]
    assert columns.sums(values, group, len(first)).tolist() == [sum(v for k, v in rows if k == key) for key in keys]
    assert columns.lasts(values, group, len(first)).tolist() == [dict(rows)[key] for key in keys]


def test_sums_are_exact_where_floats_are_not() -> None:
    values = np.array([2**62, 1, 1], dtype=np.int64)
    assert columns.sums(values, np.zeros(3, dtype=np.int64), 1).tolist() == [2**62 + 2]


INTS = np.iinfo(np.int64)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([INTS.min, INTS.max, 1 << 62, -1, 1]) | st.integers(-9, 9)))
)
def test_a_sum_that_its_type_does_not_hold_is_the_greatest_or_least_that_it_does(rows: list[tuple[int, int]]) -> None:
    group = np.array([key for key, _ in rows], dtype=np.int64)
    values = np.array([value for _, value in rows], dtype=np.int64)
    exact = [sum(value for key, value in rows if key == one) for one in range(3)]
    assert columns.sums(values, group, 3).tolist() == [min(max(total, INTS.min), INTS.max) for total in exact]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_sum_of_floats_is_finite(sign: float) -> None:
    (total,) = columns.sums(np.array([1.5e308, 1.5e308]) * sign, np.zeros(2, dtype=np.int64), 1)
    assert total == sign * sys.float_info.max


@given(record_batches())
def test_any_column_reads_as_its_values_in_text(records: pa.RecordBatch) -> None:
    for name in records.schema.names:
        text = columns.as_text(records.column(name))
        assert text.type == TEXT
        assert text.to_pylist() == [None if v is None else flat(v) for v in records.column(name).to_pylist()]


@pytest.mark.parametrize(
    "column",
    [
        pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), pa.array(["a", "b"])),
        pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int64()), pa.array(["a", "b"], pa.large_string())),
    ],
)
def test_a_dictionary_with_other_types_becomes_text(column: pa.DictionaryArray) -> None:
    assert columns.as_text(column).type == TEXT
    assert columns.as_text(column).to_pylist() == ["b", None, "a"]


@given(record_batches())
def test_encoded_columns_have_an_index_for_every_row(records: pa.RecordBatch) -> None:
    for name in records.schema.names:
        encoded = columns.encode(records.column(name))
        assert encoded.indices.null_count == 0
        if not pa.types.is_nested(records.schema.field(name).type):
            assert encoded.to_pylist() == records.column(name).to_pylist()


def test_a_null_in_the_dictionary_and_a_null_index_are_the_same_value() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.int32()), pa.array(["a", None]))
    group, _ = columns.groups(pa.record_batch({"tag": column}), ["tag"])
    assert group.tolist() == [0, 1, 1]


def test_a_value_that_stands_twice_in_a_dictionary_is_one_value() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None], pa.int32()), pa.array(["a", "b", "a"]))
    assert columns.groups(pa.record_batch({"tag": column}), ["tag"])[0].tolist() == [0, 1, 0, 2]


@given(st.lists(st.one_of(st.none(), st.sampled_from([0, 1, 2**17 - 1, 2**17, 2**62, 2**63, 2**64 - 1])), max_size=6))
def test_whole_numbers_are_told_apart_over_their_full_range(numbers: list[int | None]) -> None:
    group, _ = columns.groups(pa.record_batch({"cgroup_id": pa.array(numbers, pa.uint64())}), ["cgroup_id"])
    in_order = list(dict.fromkeys(numbers))
    assert [in_order[number] for number in group] == numbers


@given(st.lists(st.sampled_from([-(2**63), -5, 0, 2**63 - 1]), max_size=6))
def test_negative_numbers_are_told_apart_too(numbers: list[int]) -> None:
    group, _ = columns.groups(pa.record_batch({"delta": pa.array(numbers, pa.int64())}), ["delta"])
    in_order = list(dict.fromkeys(numbers))
    assert [in_order[number] for number in group] == numbers


def test_merged_batches_keep_their_rows_and_share_one_dictionary() -> None:
    batches = [pa.record_batch({"process": pa.array(names, TEXT)}) for names in (["a", "b"], ["b", None], ["c"])]
    merged = columns.merge(batches)
    assert merged.column("process").to_pylist() == ["a", "b", "b", None, "c"]
    assert merged.column("process").dictionary.to_pylist() == ["a", "b", "c"]


def test_nothing_here_loads_the_query_engine() -> None:
    program = """
import sys, pyarrow as pa
from ingrain import columns
records = pa.record_batch({"a": pa.array([["x"], None])})
columns.merge([records, records]); columns.groups(records, ["a"]); columns.as_text(records.column("a"))
print([m for m in sys.modules if m in ("pyarrow.acero", "pyarrow._acero", "pyarrow.dataset", "pandas")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")

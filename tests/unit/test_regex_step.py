"""Regex replaces the values in which a pattern is found, whole, on the distinct values of a column."""

from __future__ import annotations

import re
import string
from typing import Any

import pyarrow as pa
import pytest
from chain import VOLUME, batch_of, chain, tagged
from hypothesis import given
from hypothesis import strategies as st

from ingrain.batch import TEXT, Batch
from ingrain.steps.regex import Pattern, Regex, RegexSettings

ANSWERS = pa.list_(pa.struct([("type", TEXT), ("data", pa.string()), ("ttl", pa.uint32())]))


def replaced(batch: Batch, *patterns: tuple[str, str, str]) -> Batch:
    settings = RegexSettings(patterns=[Pattern(key=k, regex=r, replace_with=w) for k, r, w in patterns])
    with chain((Regex, settings)) as steps:
        steps.tell(batch)
        steps.flush()
        assert steps.stations[0].detail["errors"] == 0
        (out,) = steps.batches
        out.records.validate(full=True)
        return out


def values(batch: Batch, *patterns: tuple[str, str, str]) -> list[Any]:
    (tag,) = batch.tags
    column: list[Any] = replaced(batch, *patterns).records.column(tag).to_pylist()
    return column


def test_a_value_in_which_the_pattern_is_found_is_replaced_whole() -> None:
    batch = tagged("process", pa.array(["conn12", "my-conn7-x", "conn", "sshd", "conn12"], TEXT))
    proxy = "docker_conn_proxy"
    assert values(batch, ("process", r"conn\d+", proxy)) == [proxy, proxy, "conn", "sshd", proxy]


def test_the_replacement_is_a_constant_not_a_template() -> None:
    assert values(tagged("process", pa.array(["ab"], TEXT)), ("process", "(a)", r"\1 $1 \0")) == [r"\1 $1 \0"]


def test_patterns_apply_in_their_order_each_to_what_the_one_before_it_left() -> None:
    batch = tagged("process", pa.array(["a", "b", "c"], TEXT))
    assert values(batch, ("process", "^a$", "b"), ("process", "^b$", "c"), ("process", "^a$", "x")) == ["c", "c", "c"]


def test_values_that_became_one_stand_once_in_the_dictionary() -> None:
    batch = tagged("process", pa.array([f"conn{number}" for number in range(1000)] + ["proxy"], TEXT))
    column = replaced(batch, ("process", r"conn\d+", "proxy")).records.column("process")
    assert column.dictionary.to_pylist() == ["proxy"]
    assert column.to_pylist() == ["proxy"] * 1001


def test_a_null_stays_null_even_where_the_pattern_finds_everything() -> None:
    assert values(tagged("process", pa.array(["a", None], TEXT)), ("process", "", "x")) == ["x", None]


def test_a_tag_that_the_batch_lacks_is_left_alone() -> None:
    batch = tagged("process", pa.array(["a"], TEXT))
    assert replaced(batch, ("path", "a", "x")).records.equals(batch.records)


def test_values_and_the_timestamp_cannot_be_replaced() -> None:
    batch = batch_of(VOLUME, [{"value": 1, "packets": 1, "process": "a"}])
    assert replaced(batch, ("value", "1", "9"), ("timestamp", ".", "9")).records.equals(batch.records)


def test_later_spellings_of_a_tag_are_understood() -> None:
    assert values(tagged("process", pa.array(["a"], TEXT)), ("process_str", "a", "b")) == ["b"]


@pytest.mark.parametrize("port", [443, 80])
def test_a_number_is_matched_as_text_and_its_type_does_not_depend_on_the_match(port: int) -> None:
    out = replaced(tagged("d_port", pa.array([port, None], pa.uint16())), ("d_port", "^443$", "https"))
    assert out.records.column("d_port").type == TEXT
    assert out.records.column("d_port").to_pylist() == ["https" if port == 443 else "80", None]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.list_(TEXT), pa.list_(pa.field("alpn", pa.string()))])
def test_each_item_of_a_list_is_a_value(kind: pa.DataType) -> None:
    batch = tagged("alpn", pa.array([["h2", "http/1.1"], None, [], [None, "h3"]], kind))
    out = replaced(batch, ("alpn", "^h[23]$", "new"))
    assert out.records.column("alpn").to_pylist() == [["new", "http/1.1"], None, [], [None, "new"]]
    assert out.records.column("alpn").type == kind


def test_answers_are_matched_by_their_data() -> None:
    rows = [[{"type": "A", "data": "10.0.0.1", "ttl": 5}, None, {"type": "A", "data": "8.8.8.8", "ttl": 1}], None, []]
    out = replaced(tagged("answers", pa.array(rows, ANSWERS)), ("answers", r"^10\.", "internal"))
    assert out.records.column("answers").type == ANSWERS
    changed = [{"type": "A", "data": "internal", "ttl": 5}, None, {"type": "A", "data": "8.8.8.8", "ttl": 1}]
    assert out.records.column("answers").to_pylist() == [changed, None, []]


def test_a_struct_without_data_is_left_alone() -> None:
    batch = tagged("other", pa.array([{"a": "x"}], pa.struct([("a", pa.string())])))
    assert values(batch, ("other", "x", "y")) == [{"a": "x"}]


def test_a_slice_of_a_batch_is_replaced_like_any_other() -> None:
    whole = tagged("answers", pa.array([[{"type": "A", "data": d, "ttl": 1}] for d in "abcd"] + [None], ANSWERS))
    part = whole.with_records(whole.records.slice(2))
    assert values(part, ("answers", "[ac]", "x")) == [
        [{"type": "A", "data": "x", "ttl": 1}],
        [{"type": "A", "data": "d", "ttl": 1}],
        None,
    ]


SIMPLE = st.text("abc", min_size=1, max_size=2)
PATTERNS = st.one_of(SIMPLE, SIMPLE.map("^{}".format), SIMPLE.map("{}$".format), SIMPLE.map("{}+c".format))


@given(
    st.lists(st.one_of(st.none(), st.text(string.ascii_letters[:3], max_size=4))),
    st.lists(st.tuples(PATTERNS, SIMPLE), max_size=3),
)
def test_the_result_is_that_of_searching_every_row(rows: list[str | None], patterns: list[tuple[str, str]]) -> None:
    expected = list(rows)
    for regex, replace_with in patterns:
        expected = [row if row is None or not re.search(regex, row) else replace_with for row in expected]
    out = values(tagged("t", pa.array([*rows, "zzz"], TEXT)), *(("t", regex, w) for regex, w in patterns))
    assert out == [*expected, "zzz"]


@pytest.mark.parametrize(
    ("regex", "said"),
    [
        ("(?=a)", r"invalid perl operator: \(\?="),
        ("(?<!a)b", r"invalid perl operator: \(\?<"),
        (r"(a)\1", r"invalid escape sequence: \\1"),
        ("conn(", r"missing \): conn\("),
        ("a{5000}", r"invalid repetition size: \{5000\}"),
    ],
)
def test_a_regex_that_re2_does_not_take_is_refused_with_what_it_said(regex: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^regex: RE2 does not take it: {said}.*no lookarounds and no backreferences"):
        Pattern(key="process", regex=regex, replace_with="x")


def test_a_replacement_may_not_hold_control_characters() -> None:
    with pytest.raises(ValueError, match=r"^replace_with: .*control"):
        Pattern(key="process", regex="a", replace_with="x\nfoo:1|c")


def test_a_regex_that_takes_exponential_time_elsewhere_ends_here() -> None:
    # A backtracking engine needs 2**50 steps for this one; the suite's time limit is what would fail.
    batch = tagged("process", pa.array(["a" * 50 + "!", "b"], TEXT))
    assert values(batch, ("process", "^(a+)+$", "x")) == ["a" * 50 + "!", "b"]

"""Times as people say them mean what people mean, in their own zone, also where its clocks change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.query import when

NOW = datetime(2026, 3, 29, 10, 30, tzinfo=UTC)
"""A Sunday; eleven hours before it was 00:30 in Berlin, and at 02:00 the clocks there went to 03:00."""


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("now", "2026-03-29T10:30"),
        ("90m", "2026-03-29T09:00"),
        ("1d", "2026-03-28T10:30"),  # 24 hours, though the day had 23
        ("2 hours ago", "2026-03-29T08:30"),
        ("1h30m", "2026-03-29T09:00"),
        ("1 week, 2 days ago", "2026-03-20T10:30"),
        ("0.5d", "2026-03-28T22:30"),
        ("today", "2026-03-28T23:00"),
        ("Yesterday", "2026-03-27T23:00"),
        ("today 12:00", "2026-03-29T10:00"),
        ("yesterday 14:30", "2026-03-28T13:30"),
        ("9:15", "2026-03-29T07:15"),
        ("sunday", "2026-03-28T23:00"),
        ("monday 08:00:01", "2026-03-23T07:00:01"),
        ("2026-03-01", "2026-02-28T23:00"),
        ("2026-07-01 12:00", "2026-07-01T10:00"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00"),
        ("2026-03-01T12:00:00-05:00", "2026-03-01T17:00"),
    ],
)
def test_a_time_is_what_people_mean(said: str, meant: str) -> None:
    assert when.moment(said, NOW) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "said", ["", "ago", "soon", "1 fortnight", "25:00", "2026-13-01", "1d2", "-1d", "today noon", "9" * 400 + "d", "\0"]
)
def test_what_is_no_time_is_refused_with_what_is_expected(said: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        when.moment(said, NOW)


@given(st.text(max_size=40) | st.from_regex(r"\d{1,30}(\.\d+)? ?(s|m|h|d|w)( ago)?"))
def test_any_text_is_a_time_or_refused(said: str) -> None:
    with suppress(ValueError):
        assert when.moment(said, NOW).tzinfo is UTC


@given(st.integers(0, 10**6), st.sampled_from(["s", "m", "h", "d", "w"]))
def test_a_length_ago_is_that_long_before_now(number: int, unit: str) -> None:
    length = when.length(f"{number}{unit}")
    if length < timedelta(days=365 * 1000):
        assert NOW - when.moment(f"{number} {unit} ago", NOW) == length

"""Times as people say them mean what people mean, in their own zone, also where its clocks change."""

from __future__ import annotations

import time
import zoneinfo
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day

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
        ("2026-07-01 9:30", "2026-07-01T07:30"),
        ("2026-07-01T9:30 UTC", "2026-07-01T09:30"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00"),
        ("2026-03-01T12:00:00-05:00", "2026-03-01T17:00"),
        ("an hour ago", "2026-03-29T09:30"),
        ("a week ago", "2026-03-22T10:30"),
        ("sunday 12:00", "2026-03-29T10:00"),
        ("sunday 23:00", "2026-03-22T22:00"),  # later than now it is not yet
        ("Last Monday", "2026-03-22T23:00"),
        ("last sunday", "2026-03-21T23:00"),
        ("last sunday 9:00", "2026-03-22T08:00"),
        ("this week", "2026-03-22T23:00"),
        ("last week", "2026-03-15T23:00"),
        ("last month", "2026-01-31T23:00"),
        ("last year", "2024-12-31T23:00"),
        ("2026-03-01 14:30 UTC", "2026-03-01T14:30"),
        ("2026-03-01 14:30 utc", "2026-03-01T14:30"),
        ("2026-07-01 14:30 America/New_York", "2026-07-01T18:30"),
        ("2026-03-01 14:30 +02:00", "2026-03-01T12:30"),
        ("yesterday 14:30 UTC", "2026-03-28T14:30"),
        ("yesterday UTC", "2026-03-28T00:00"),
    ],
)
def test_a_time_is_what_people_mean(said: str, meant: str) -> None:
    assert when.moment(said, NOW) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "ago",
        "last",
        "last 5",
        "an ago",
        "14:30 Mars/Olympus",
        "monday tuesday",
        "soon",
        "1 fortnight",
        "25:00",
        "2026-13-01",
        "1d2",
        "-1d",
        "today noon",
        "9" * 400 + "d",
        "\0",
    ],
)
def test_what_is_no_time_is_refused_with_what_is_expected(said: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        when.moment(said, NOW)


@given(st.text(max_size=40) | st.from_regex(r"\d{1,30}(\.\d+)? ?(s|m|h|d|w)( ago)?"))
def test_any_text_is_a_time_or_refused(said: str) -> None:
    with suppress(ValueError):
        assert when.moment(said, NOW).tzinfo is UTC


def test_what_names_no_zone_is_of_the_one_that_is_given() -> None:
    tokyo = when.zone("Asia/Tokyo")
    assert when.moment("today", NOW, tokyo) == datetime(2026, 3, 28, 15, tzinfo=UTC)
    assert when.moment("2026-03-01 12:00", NOW, tokyo) == datetime(2026, 3, 1, 3, tzinfo=UTC)
    assert when.moment("2026-03-01 12:00 UTC", NOW, tokyo) == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert when.moment("1h", NOW, tokyo) == NOW - timedelta(hours=1)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1)), st.sampled_from(when._DAYS), st.times())  # noqa: DTZ001 - made UTC below
def test_a_weekday_is_never_later_than_now_and_never_longer_ago_than_a_week(
    now: datetime, day: str, at: time_of_day
) -> None:
    aware = now.replace(tzinfo=UTC)
    meant = when.moment(f"{day} {at:%H:%M}", aware, UTC)
    assert timedelta(0) <= aware - meant < timedelta(days=7)
    assert when._DAYS[meant.weekday()] == day
    assert when.moment(f"last {day}", aware, UTC) < aware.replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.mark.parametrize("host_has_zones", [True, False])
def test_a_zone_is_known_also_where_the_host_knows_none(*, host_has_zones: bool) -> None:
    try:
        if not host_has_zones:
            zoneinfo.reset_tzpath([])
            zoneinfo.ZoneInfo.clear_cache()
        berlin = when.zone("Europe/Berlin")
        assert NOW.astimezone(berlin).hour == 12
        assert when.zone("utc") is UTC
        for name in ("", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe"):
            with pytest.raises(ValueError, match="there is no time zone"):
                when.zone(name)
    finally:
        zoneinfo.reset_tzpath()
        zoneinfo.ZoneInfo.clear_cache()


@given(st.integers(0, 10**6), st.sampled_from(["s", "m", "h", "d", "w"]))
def test_a_length_ago_is_that_long_before_now(number: int, unit: str) -> None:
    length = when.length(f"{number}{unit}")
    if length < timedelta(days=365 * 1000):
        assert NOW - when.moment(f"{number} {unit} ago", NOW) == length

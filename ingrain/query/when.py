"""Times as people say them: `1d`, `2 hours ago`, `yesterday`, `monday 14:30`, ISO 8601.

What names no zone is meant in the local one (TZ, or the host's); lengths are exact also where the clocks change.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

EXPECTED = (
    'expected a length ("90m", "1d", "2 hours ago"), a day ("today", "yesterday", "monday", "2026-03-01"), a time '
    '("14:30"), both ("yesterday 14:30"), or ISO 8601 ("2026-03-01T14:30:00+01:00")'
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNIT = r"(\d+(?:\.\d+)?)\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"
_LENGTH = re.compile(rf"(?:{_UNIT}(?:\s+|,\s*|(?=\d)|\Z))+")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def length(text: str) -> timedelta:
    """A length of time: `90s`, `1h30m`, `2 weeks`. Raises ValueError, which says what is expected."""
    text = text.strip().lower()
    if not _LENGTH.fullmatch(text):
        raise ValueError(f'{text!r} is no length of time: expected one like "90m", "1d" or "2 weeks"')
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit[0]] for number, unit in re.findall(_UNIT, text)))
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long") from error


def moment(text: str, now: datetime) -> datetime:
    """The moment that is meant, in UTC. now: with its zone. Raises ValueError, which says what is expected.

    A length is as long before now; a day is its first moment; a time alone is today's; a weekday is its last.
    """
    said = text.strip().lower()
    try:
        if said == "now":
            return now.astimezone(UTC)
        if _LENGTH.fullmatch(said.removesuffix("ago").rstrip()):
            return now.astimezone(UTC) - length(said.removesuffix("ago"))
        day, _, time = said.partition(" ")
        base = _day(day, now.astimezone().replace(tzinfo=None))
        if base is not None:
            clock = datetime.strptime(time.strip() or "00:00", "%H:%M:%S" if time.count(":") > 1 else "%H:%M").time()  # noqa: DTZ007 - a time of day alone
            return datetime.combine(base, clock).astimezone(UTC)
        if re.fullmatch(r"\d?\d:\d\d(:\d\d)?", said):
            return moment(f"today {said}", now)
        return datetime.fromisoformat(text.strip().upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time: {EXPECTED}") from error


def _day(word: str, now: datetime) -> datetime | None:
    if word in ("today", "yesterday"):
        return now - timedelta(days=word == "yesterday")
    if word in _DAYS:
        return now - timedelta(days=(now.weekday() - _DAYS.index(word)) % 7)
    return None

"""Times as people say them: `1d`, `2 hours ago`, `yesterday`, `last monday 14:30`, `2026-03-01 14:30 UTC`, ISO 8601.

What names no zone is meant in the local one (TZ, or the host's), or in the one that is given; lengths are exact also
where the clocks change.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EXPECTED = (
    'expected a length ("90m", "1d", "2 hours ago", "an hour ago"), a day ("today", "yesterday", "monday", '
    '"last monday", "2026-03-01"), the beginning of a "last week" or "this month", a time ("14:30"), a day and a time '
    '("yesterday 14:30", "2026-03-01 14:30 UTC"), or ISO 8601 ("2026-03-01T14:30:00+01:00")'
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNITS = r"(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"
_UNIT = rf"(\d+(?:\.\d+)?)\s*{_UNITS}"
_LENGTH = re.compile(rf"(?:{_UNIT}(?:\s+|,\s*|(?=\d)|\Z))+")
_ONE = re.compile(rf"an?\s+{_UNITS}\s+ago")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ONE_DIGIT = re.compile(r"(?<=\d[ t])(?=\d:)")  # before an hour that ISO 8601 has with two
_CLOCK = re.compile(r"\d?\d:\d\d(:\d\d)?")
_SAID = re.compile(
    rf"(?P<day>today|yesterday|(?P<last>last\s+)?(?P<weekday>{'|'.join(_DAYS)})|(?P<which>this|last)\s+"
    rf"(?P<period>week|month|year))?\s*(?P<clock>{_CLOCK.pattern})?"
)


def zone(name: str) -> tzinfo:
    """A time zone by its IANA name (`Europe/Berlin`). Raises ValueError where there is none of that name."""
    if name.upper() in ("UTC", "GMT", "Z"):
        return UTC
    with suppress(ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(name)
    import pytz  # noqa: PLC0415 - comes with DuckDB, and has them all; the host may have none

    try:
        with pytz.open_resource(name) as data:
            return ZoneInfo.from_file(data, key=name)
    except (ValueError, OSError) as error:
        raise ValueError(f'there is no time zone {name!r}: expected a name like "UTC" or "Europe/Berlin"') from error


def length(text: str) -> timedelta:
    """A length of time: `90s`, `1h30m`, `2 weeks`. Raises ValueError, which says what is expected."""
    text = text.strip().lower()
    if not _LENGTH.fullmatch(text):
        raise ValueError(f'{text!r} is no length of time: expected one like "90m", "1d" or "2 weeks"')
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit[0]] for number, unit in re.findall(_UNIT, text)))
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long") from error


def moment(text: str, now: datetime, local: tzinfo | None = None) -> datetime:
    """The moment that is meant, in UTC. now: with its zone. local: the zone where none is named; None: the host's.

    A length is as long before now; a day, week, month or year is its first moment; a time alone is today's; a weekday
    is the last one, also with a time: it is never later than now. Raises ValueError, which says what is expected.
    """
    said = text.strip()
    try:
        return _moment(said.lower(), now, local)
    except (ValueError, OverflowError) as error:
        before, _, last = said.rpartition(" ")
        with suppress(ValueError, OverflowError):
            return _moment(before.lower(), now, zone(last))
        raise ValueError(f"{text!r} is no time: {EXPECTED}") from error


def _moment(said: str, now: datetime, local: tzinfo | None) -> datetime:
    if said == "now":
        return now.astimezone(UTC)
    if _ONE.fullmatch(said):
        said = re.sub(r"^an?\s", "1 ", said)
    if _LENGTH.fullmatch(said.removesuffix("ago").rstrip()):
        return now.astimezone(UTC) - length(said.removesuffix("ago"))
    found = _SAID.fullmatch(said)
    if not said or not found:
        return _utc(datetime.fromisoformat(_ONE_DIGIT.sub("0", said).upper()), local)
    clock = found["clock"] or "00:00"
    at = time.fromisoformat(clock if clock[2] == ":" else f"0{clock}")
    meant = _utc(datetime.combine(_day(found, now.astimezone(local).date()), at), local)
    if found["weekday"] and meant > now:
        return _utc(meant.astimezone(local).replace(tzinfo=None) - timedelta(days=7), local)
    return meant


def _utc(moment: datetime, local: tzinfo | None) -> datetime:
    if moment.tzinfo is None and local is not None:
        moment = moment.replace(tzinfo=local)
    return moment.astimezone(UTC)


def _day(said: re.Match[str], today: date) -> date:
    """The day that is meant, the first one of a week, month or year."""
    if said["weekday"]:
        days = (today.weekday() - _DAYS.index(said["weekday"])) % 7
        return today - timedelta(days=days or 7 * bool(said["last"]))
    last = said["which"] == "last"
    match said["period"]:
        case "week":
            return today - timedelta(days=today.weekday() + 7 * last)
        case "month":
            first = today.replace(day=1)
            return (first - timedelta(days=1)).replace(day=1) if last else first
        case "year":
            return today.replace(year=today.year - last, month=1, day=1)
    return today - timedelta(days=said["day"] == "yesterday")

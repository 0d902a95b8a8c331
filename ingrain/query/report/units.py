"""Numbers, times and values as people read them, and as HTML that nothing in them can break out of."""

from __future__ import annotations

import html
from datetime import UTC, date, datetime, timedelta
from typing import Any

_LONGEST = 120  # characters of a value that are shown; all of it is in the page's data
_THOUSAND = 1000
_MOMENTS = frozenset({"first", "last", "last_record", "since", "until", "first_seen"})
"""Names of columns that are times."""


def escaped(text: str) -> str:
    """Text as HTML, also in an attribute."""
    return html.escape(text, quote=True)


def number(value: float) -> str:
    """With its thousands apart."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def amount(value: float) -> str:
    """Bytes: `1.5 kB` is 1,500 of them."""
    if value < _THOUSAND:
        return f"{value:,.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        value /= _THOUSAND
        if round(value, 1) < _THOUSAND:
            return f"{value:.1f} {unit}"
    return f"{value / _THOUSAND:,.1f} PB"


def brief_amount(value: float) -> str:
    """Likewise beside an axis, where numbers are round: `80 MB`."""
    return amount(value).replace(".0 ", " ")


def brief(value: float) -> str:
    """A number beside an axis: `1.5M`."""
    for unit in ("", "k", "M", "G"):
        if value < _THOUSAND:
            return f"{value:g}{unit}"
        value /= _THOUSAND
    return f"{value:g}T"


def moment(when: datetime, day: date | None = None) -> str:
    """In UTC, to the second; without the date where it is this day."""
    utc = when.astimezone(UTC)
    return f"{utc:%H:%M:%S}" if utc.date() == day else f"{utc:%Y-%m-%d %H:%M:%S}"


def length(of: timedelta) -> str:
    """`1 d 2 h`: its two largest units."""
    seconds = round(of.total_seconds())
    parts = []
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def shown(name: str, value: Any, day: date | None = None) -> str:  # noqa: PLR0911 - a line a type
    """A column's value as text: bytes where its name says so, seconds likewise; times without the date of this day."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() | float() if name.startswith("bytes"):
            return amount(value)
        case int() | float() if name.endswith("_s"):
            return length(timedelta(seconds=value))
        case int() | float():
            return number(value)
        case list():
            return ", ".join(shown(name, one) for one in value)
        case _ if name in _MOMENTS:
            return moment(datetime.fromisoformat(value), day)
        case _:
            return str(value)


def cut(text: str, longest: int = _LONGEST) -> str:
    """What fits, and three dots where that is not all."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

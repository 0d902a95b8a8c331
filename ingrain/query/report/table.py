"""A figure as a table: names above, and a bar in each row where one of its columns is what it is ranked by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from ingrain.query.report.figures import IN_ALL, NOTHING, Figure, Row, ranked
from ingrain.query.report.span import Span
from ingrain.query.report.units import cut, escaped, number, shown

ROWS = 25
"""How many a table has at most; it says how many there are in all."""

_SHORT = 36  # characters of a value that stands in one line
_HEADS = {
    "bytes": "total",
    "bytes_in": "received",
    "bytes_out": "sent",
    "ciphersuite": "cipher suite",
    "first": "first seen",
    "gap_s": "length",
    "ja4": "JA4",
    "last": "last seen",
    "lines_a_minute": "lines/min",
    "tls_version": "TLS version",
}
"""What columns are called whose names do not say it."""


def top(name: str, title: str, sql: str, *, order: str, bar: str, empty: str = NOTHING) -> Figure:
    """A table of the first rows in this order. bar: the column (a number that is never negative) drawn behind it."""
    return Figure(
        name,
        title,
        ranked(sql, order),
        lambda span, rows: table(span, rows, bar),
        lambda _span: {"limit": ROWS},
        empty=empty,
    )


def table(span: Span, rows: Sequence[Row], bar: str = "", alarming: str = "") -> str:
    """Rows as HTML; they all have the same columns, and there is one at least.

    Beside a list stands how many of its values are left out, by the column of its name and `_in_all`. alarming: rows
    that have a value there are marked.
    """
    names = [name for name in rows[0] if not name.endswith(f"_{IN_ALL}")]
    largest = max((row[bar] or 0 for row in rows), default=0) if bar else 0
    head = "".join(f'<th scope="col" class="{_side(rows, name)}">{escaped(_head(name))}</th>' for name in names)
    body = []
    for row in rows:
        cells = [_cell(span.one_day, rows, name, row, largest if name == bar else 0) for name in names]
        mark = ' class="warn"' if alarming and row[alarming] is not None else ""
        body.append(f"<tr{mark}>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _head(name: str) -> str:
    return _HEADS.get(name, name.removesuffix("_s").replace("_", " "))


def _cell(day: date | None, rows: Sequence[Row], name: str, row: Row, largest: float) -> str:
    text, whole = _text(day, name, row), _text(None, name, row)
    brief = cut(text)
    title = "" if brief == whole else f' title="{escaped(whole)}"'
    inside = f"<span>{escaped(brief)}</span>"
    if largest:
        share = 100 * (row[name] or 0) / largest
        inside = (
            f'<svg class="bar" aria-hidden="true"><rect width="{share:.1f}%" height="100%" class="c0"/></svg>{inside}'
        )
    return f'<td class="{_kind(rows, name, brief)}"{title}>{inside}</td>'


def _text(day: date | None, name: str, row: Row) -> str:
    value: Any = row[name]
    more = row.get(f"{name}_{IN_ALL}", 0) - len(value) if isinstance(value, list) else 0
    return shown(name, value, day) + (f" and {number(more)} more" if more > 0 else "")


def _kind(rows: Sequence[Row], name: str, text: str) -> str:
    """The class of a cell: what is long may be broken anywhere, and has room nevertheless."""
    return f"{_side(rows, name)} long" if len(text) > _SHORT else _side(rows, name)


def _side(rows: Sequence[Row], name: str) -> str:
    """Numbers stand on the right."""
    numeric = any(isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in rows)
    return "n" if numeric else "t"

"""A figure as a table: names above, and a bar in each row where one of its columns is what it is ranked by."""

from __future__ import annotations

from collections.abc import Sequence

from ingrain.query.report.figures import Figure, Row, ranked
from ingrain.query.report.span import Span
from ingrain.query.report.units import cut, escaped, shown

ROWS = 25
"""How many a table has at most; it says how many there are in all."""

_SHORT = 36  # characters of a value that stands in one line


def top(name: str, title: str, sql: str, *, order: str, bar: str = "") -> Figure:
    """A table of the first rows in this order. bar: the column (a number that is never negative) drawn behind it."""
    return Figure(name, title, ranked(sql, order), lambda _span, rows: table(rows, bar), lambda _span: {"limit": ROWS})


def table(rows: Sequence[Row], bar: str = "") -> str:
    """Rows as HTML; they all have the same columns, and there is one at least."""
    names = list(rows[0])
    largest = max((row[bar] or 0 for row in rows), default=0) if bar else 0
    head = "".join(
        f'<th class="{_side(rows, name)}">{escaped(name.removesuffix("_s").replace("_", " "))}</th>' for name in names
    )
    body = []
    for row in rows:
        cells = [_cell(rows, name, row, largest if name == bar else 0) for name in names]
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _cell(rows: Sequence[Row], name: str, row: Row, largest: float) -> str:
    text = shown(name, row[name])
    brief = cut(text)
    title = "" if brief == text else f' title="{escaped(text)}"'
    inside = f"<span>{escaped(brief)}</span>"
    if largest:
        share = 100 * (row[name] or 0) / largest
        inside = (
            f'<svg class="bar" aria-hidden="true"><rect width="{share:.1f}%" height="100%" class="c0"/></svg>{inside}'
        )
    return f'<td class="{_kind(rows, name, brief)}"{title}>{inside}</td>'


def _kind(rows: Sequence[Row], name: str, text: str) -> str:
    """The class of a cell: what is long may be broken anywhere, and has room nevertheless."""
    return f"{_side(rows, name)} long" if len(text) > _SHORT else _side(rows, name)


def _side(rows: Sequence[Row], name: str) -> str:
    """Numbers stand on the right."""
    return "n" if all(row[name] is None or isinstance(row[name], int | float) for row in rows) else "t"


def empty(span: Span) -> str:
    """In place of a figure that has no rows."""
    del span
    return '<p class="none">The archive has nothing of this in that time.</p>'

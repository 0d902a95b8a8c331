"""An answer as people and programs read it: a table, CSV, JSON lines, lines of a log, Parquet.

Times have their offset for people, and are UTC for programs. Text is harmless to a terminal in each form but Parquet,
which nobody looks at as it is; in CSV it is harmless to a spreadsheet, too.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from itertools import chain, islice
from typing import Any, BinaryIO, TextIO

import pyarrow as pa

from ingrain.query.engine import Answer
from ingrain.query.errors import UsageError
from ingrain.text import escape, harmless

_SAMPLE = 1000  # rows by which the widths of columns are found
_WIDEST = 60  # columns of a terminal for a value in a table, but for the last one, which has nothing behind it
_NUMBERS = ("INT", "DECIMAL", "DOUBLE", "FLOAT")
_FORMULA = re.compile(r"(?:^|(?<=;))[=+@\uff0b\uff0d\uff1d\uff20-]")
"""What a spreadsheet takes for the beginning of a formula, also where it takes `;` for the end of a cell (OWASP, "CSV
Injection")."""

Row = tuple[Any, ...]


def table(answer: Answer, to: TextIO, zone: tzinfo | None = None) -> int:
    """Aligned columns below their names, and how many rows there are, which is returned, too. zone: None is local."""
    rows = answer.rows()
    sample = [[_cell(value, zone) for value in row] for row in islice(rows, _SAMPLE)]
    head = [harmless(name) for name, _ in answer.columns]
    widths = [min(_WIDEST, max(map(_width, column))) for column in zip(head, *sample, strict=True)]
    right = [any(number in kind and "[" not in kind for number in _NUMBERS) for _, kind in answer.columns]
    _print([_line(head, widths, right), "  ".join("-" * width for width in widths)], to)
    cells = chain(sample, ([_cell(value, zone) for value in row] for row in rows))
    count = _print((_line(row, widths, right) for row in cells), to)
    _print([f"({count:,} row{'' if count == 1 else 's'})"], to)
    return count


def lines(answer: Answer, to: TextIO, zone: tzinfo | None = None) -> int:
    """A line a row, values two spaces apart, with no names above them; how many there were. zone: as of a table."""
    return _print(("  ".join(_cell(value, zone) for value in row) for row in answer.rows()), to)


def csv_lines(answer: Answer, to: TextIO, zone: tzinfo | None = None) -> int:
    r"""RFC 4180, names first; lists and structs as JSON; null and empty text are both nothing.

    Where a text begins as a formula does, that character is an escape (`\x3d` for `=`), as `ingrain.text` reads it.
    """
    del zone
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow([_no_formula(harmless(name)) for name, _ in answer.columns])
    count = 0
    for row in answer.rows():
        writer.writerow(map(_csv, row))
        count += 1
    return count


def json_lines(answer: Answer, to: TextIO, zone: tzinfo | None = None) -> int:
    """A JSON object a row, RFC 8259."""
    del zone
    names = [harmless(name) for name, _ in answer.columns]
    objects = ({name: _plain(value) for name, value in zip(names, row, strict=True)} for row in answer.rows())
    return _print(map(_json, objects), to)


def parquet(answer: Answer, to: BinaryIO) -> int:
    """Parquet, zstd; how many rows. Raises UsageError where Parquet lacks the type of a column."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - 8 MB and half a second that the other forms do without

    count = 0
    reader = answer.arrow()
    try:
        with pq.ParquetWriter(to, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                count += batch.num_rows
    except pa.ArrowNotImplementedError as error:
        raise UsageError(f"Parquet has no such type as a column of the answer; cast it, to VARCHAR: {error}") from error
    return count


FORMATS: dict[str, Callable[[Answer, TextIO, tzinfo | None], int]] = {
    "table": table,
    "lines": lines,
    "csv": csv_lines,
    "json": json_lines,
}
"""Those that are text; `parquet` goes to a file only."""

SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet", ".txt": "table"}
"""How a file's name ends -> the form that is meant."""


def _print(lines: Iterable[str], to: TextIO) -> int:
    """Write lines; how many."""
    count = 0
    for line in lines:
        to.write(f"{line}\n")
        count += 1
    return count


def _line(cells: Iterable[str], widths: list[int], right: list[bool]) -> str:
    *fore, last = _cut(cells, widths)
    padded = [_padded(cell, width, to_right) for cell, width, to_right in zip(fore, widths, right, strict=False)]
    return "  ".join([*padded, _padded(last, widths[-1], to_right=True) if right[-1] else last])


def _padded(cell: str, width: int, to_right: bool) -> str:  # noqa: FBT001 - what the column is
    room = " " * (width - _width(cell))
    return room + cell if to_right else cell + room


def _cut(cells: Iterable[str], widths: list[int]) -> Iterator[str]:
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        yield cell if at == len(widths) - 1 or _width(cell) <= width else _beginning(cell, width - 1) + "…"


def _beginning(cell: str, width: int) -> str:
    at = width  # no character is narrower than nothing
    while _width(cell[:at]) > width:
        at -= 1
    return cell[:at]


def _width(cell: str) -> int:
    """How many columns of a terminal it takes."""
    if cell.isascii():
        return len(cell)
    from wcwidth import wcswidth  # noqa: PLC0415 - nearly never needed

    return max(0, wcswidth(cell))


def _cell(value: Any, zone: tzinfo | None) -> str:  # noqa: PLR0911 - a line a type
    """A value for people: times in that zone, lists and structs by what is in them, nothing for null."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime() if value.tzinfo is not None:
            return value.astimezone(zone).isoformat(sep=" ", timespec="microseconds")
        case list() | tuple():
            between = ", " if any(isinstance(one, dict) for one in value) else " "
            return between.join(_cell(one, zone) for one in value)
        case dict():
            return " ".join(_cell(one, zone) for one in value.values())
        case bytes():
            return value.hex()
        case _:
            return harmless(str(value))


def _csv(value: Any) -> str:
    match _plain(value):
        case None:
            return ""
        case str() as text:
            return _no_formula(text)
        case list() | dict() as nested:  # whose escapes are JSON's
            return _FORMULA.sub(lambda found: f"\\u{ord(found.group()):04x}", _json(nested))
        case plain:
            return _json(plain)


def _no_formula(text: str) -> str:
    return _FORMULA.sub(escape, text)


def _plain(value: Any) -> Any:  # noqa: PLR0911 - a line a type
    """A value as JSON has it."""
    match value:
        case float() if not math.isfinite(value):  # JSON has no such number
            return None
        case None | bool() | int() | float():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple():
            return [_plain(one) for one in value]
        case dict():
            return {harmless(str(name)): _plain(one) for name, one in value.items()}
        case bytes():
            return value.hex()
        case _:
            return harmless(str(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

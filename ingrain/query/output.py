"""An answer as people and programs read it: a table, CSV, JSON lines, lines of a log, Parquet.

Times are local and with their offset for people, UTC for programs. Text is harmless to a terminal in each form but
Parquet, which nobody looks at as it is.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from ingrain.query.engine import Answer
from ingrain.text import harmless

_SAMPLE = 1000  # rows by which the widths of columns are found
_WIDEST = 60  # characters of a value in a table, but of the last column's, which has nothing behind it
_NUMBERS = ("INT", "DECIMAL", "DOUBLE", "FLOAT")

Row = tuple[Any, ...]


def table(answer: Answer, to: TextIO) -> int:
    """Aligned columns below their names, and how many rows there are, which is returned, too."""
    rows = answer.rows()
    sample = [[_cell(value) for value in row] for row in islice(rows, _SAMPLE)]
    head = [harmless(name) for name, _ in answer.columns]
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(head, *sample, strict=True)]
    right = [any(number in kind and "[" not in kind for number in _NUMBERS) for _, kind in answer.columns]
    _print([_line(head, widths, right), "  ".join("-" * width for width in widths)], to)
    cells = chain(sample, ([_cell(value) for value in row] for row in rows))
    count = _print((_line(row, widths, right) for row in cells), to)
    _print([f"({count:,} row{'' if count == 1 else 's'})"], to)
    return count


def lines(answer: Answer, to: TextIO) -> int:
    """A line a row, values two spaces apart, with no names above them; how many there were."""
    return _print(("  ".join(map(_cell, row)) for row in answer.rows()), to)


def csv_lines(answer: Answer, to: TextIO) -> int:
    """RFC 4180, names first; lists and structs as JSON; null and empty text are both nothing."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow([harmless(name) for name, _ in answer.columns])
    count = 0
    for row in answer.rows():
        writer.writerow(["" if value is None else _csv(value) for value in row])
        count += 1
    return count


def json_lines(answer: Answer, to: TextIO) -> int:
    """A JSON object a row, RFC 8259."""
    names = [harmless(name) for name, _ in answer.columns]
    objects = ({name: _plain(value) for name, value in zip(names, row, strict=True)} for row in answer.rows())
    return _print(map(_json, objects), to)


def parquet(answer: Answer, path: Path) -> int:
    """Parquet, zstd; how many rows."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - 8 MB and half a second that the other forms do without

    count = 0
    reader = answer.arrow()
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


FORMATS: dict[str, Callable[[Answer, TextIO], int]] = {
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
    padded = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(fore, widths, right, strict=False)
    ]
    return "  ".join([*padded, last.rjust(widths[-1]) if right[-1] else last])


def _cut(cells: Iterable[str], widths: list[int]) -> Iterator[str]:
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        yield cell if len(cell) <= width or at == len(widths) - 1 else cell[: width - 1] + "…"


def _cell(value: Any) -> str:  # noqa: PLR0911 - a line a type
    """A value for people: local time, lists and structs by what is in them, nothing for null."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime() if value.tzinfo is not None:
            return value.astimezone().isoformat(sep=" ", timespec="microseconds")
        case list() | tuple():
            return ", ".join(map(_cell, value)) if any(isinstance(one, dict) for one in value) else _words(value)
        case dict():
            return " ".join(map(_cell, value.values()))
        case bytes():
            return value.hex()
        case _:
            return harmless(str(value))


def _words(values: Iterable[Any]) -> str:
    return " ".join(map(_cell, values))


def _csv(value: Any) -> str:
    plain = _plain(value)
    return _json(plain) if isinstance(plain, list | dict) else str(plain)


def _plain(value: Any) -> Any:  # noqa: PLR0911 - a line a type
    """A value as JSON has it."""
    match value:
        case float() if not math.isfinite(value):  # JSON has no such number
            return None
        case None | bool() | int() | float():
            return value
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

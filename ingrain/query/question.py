"""What a ready question is: its SQL, and how what the operator says becomes the parameters of that.

The SQL is such that DuckDB and Spark both take it, but for `unnest`, `struct_pack` and `$name`, which Spark calls
`explode`, `struct` and `:name`. Tables hold the records of the asked time, and no others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ingrain.query.archive import Window
from ingrain.query.schema import literal, table_name, where
from ingrain.text import harmless, safe

ESCAPE = "!"
"""Before a character of a pattern that LIKE is to take as it is."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Said:
    """What the operator says: what the question is about, from when to when, and how long before that counts."""

    what: str
    since: datetime
    until: datetime
    baseline: timedelta = timedelta(0)
    limit: int = 20

    def before(self, reach: timedelta) -> Window:
        """The asked time, begun so much earlier."""
        return max(self.since - reach, BEGINNING) if self.since - BEGINNING > reach else BEGINNING, self.until


@dataclass(frozen=True, slots=True)
class Question:
    """One of them. what: how its argument is called; empty: it has none. examples: what can be said.

    order: the columns that its rows are sorted by; those that are equal in them are in the order of the archive.
    parameters: of the SQL. windows: of measurements of which it needs more than the asked time.
    """

    name: str
    about: str
    sql: str
    order: str = ""
    what: str = ""
    examples: tuple[str, ...] = ()
    parameters: Callable[[Said], Mapping[str, Any]] = lambda _said: {}
    windows: Callable[[Said], Mapping[str, Window]] = field(default=lambda _said: {})
    lines: bool = False
    """Its rows are lines of a log, which are not put into a table, and can be followed."""

    there: str = ""
    """SQL for the names that could have been asked for, the most frequent first."""


def matches(column: str, name: str) -> str:
    """SQL: whether a column is like what `like` or `name_like` made parameters of, under this name."""
    return f"({column} LIKE ${name} ESCAPE '{ESCAPE}' OR {column} LIKE ${name}_as_shown ESCAPE '{ESCAPE}')"


def like(name: str, what: str) -> dict[str, str]:
    r"""Parameters for `matches` of a text in which `*` is any text, and all else is itself.

    Archives have text as `ingrain.text.safe` made it, with a backslash as two: both the true text and what an answer
    shows of it are found.
    """
    return {name: _pattern(safe(os.fsencode(what))), f"{name}_as_shown": _pattern(harmless(what))}


def name_like(name: str, what: str) -> dict[str, str]:
    """Likewise, of a name in the DNS: in lower case, without the dot at the end."""
    return like(name, what.lower().rstrip(".") or ".")


def standalone(sql: str, parameters: Mapping[str, Any], windows: Mapping[str, Window]) -> str:
    """The SQL as `ingrain query` takes it: without parameters, and with these windows of the measurements in it."""
    bounded = [
        f"{table} AS (SELECT * FROM main.{table}{where(window)})"  # noqa: S608 - of names that are words
        for table, window in zip(map(table_name, windows), windows.values(), strict=True)
    ]
    asked = re.sub(r"\$(\w+)", lambda match: literal(parameters[match[1]]), sql.strip())
    if asked.startswith("WITH "):
        bounded, asked = [*bounded, asked.removeprefix("WITH ")], ""
    return ("WITH " + ",\n".join(bounded) + f"\n{asked}").rstrip()


def _pattern(text: str) -> str:
    for special in (ESCAPE, "%", "_"):
        text = text.replace(special, ESCAPE + special)
    return text.replace("*", "%")

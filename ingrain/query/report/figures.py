"""What a report is made of: sections of figures, each a question to DuckDB and how its answer is drawn.

In: an engine and a time. Out: rows that are bounded in number whatever the archive has in it, as JSON has them: text
harmless, times in UTC.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingrain.grains import GRAINS, OWN
from ingrain.query import output
from ingrain.query.archive import Window
from ingrain.query.damage import Reasons
from ingrain.query.engine import Asked, Engine
from ingrain.query.errors import QueryError
from ingrain.query.report.span import Span
from ingrain.registry import find_class

SERIES = 8
"""How many a plot tells apart: as many colours as eyes do."""

SEVERAL = 8
"""How many values a list in a table has; it says how many there are beside."""

IN_ALL = "in_all"
"""The column that tells how many rows there would be without a limit; as a suffix, how long a list would be."""

NOTHING = "No records of this in the period."

WHO = "coalesce(process, 'unknown process') || coalesce(' in ' || container, '')"
"""SQL: the process of a record, and its container. Processes of several containers may have one name."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One of them. name: in the page's data. draw: its rows as HTML; never called without any.

    parameters: those that its SQL names. windows: of measurements of which it needs more than the time of the report.
    empty: what it means that there are no rows.
    """

    name: str
    title: str
    sql: str
    draw: Callable[[Span, Sequence[Row]], str]
    parameters: Callable[[Span], Mapping[str, Any]] = lambda _span: {}
    windows: Callable[[Span], Mapping[str, Window]] = lambda _span: {}
    empty: str = NOTHING


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence that says how to read what follows, and the figures.

    probes: types of those that record what it shows; none: it shows whatever there is. recorded: whether the archive
    has anything of any of them; if not, there is nothing to ask.
    """

    name: str
    title: str
    about: str
    figures: tuple[Figure, ...]
    probes: tuple[str, ...] = ()
    recorded: bool = True

    def of(self, measurements: Collection[str]) -> Section:
        """The section of an archive that has these measurements."""
        made = {one.name for probe in self.probes for one in find_class((GRAINS | OWN)[probe]).measurements}
        return replace(self, recorded=not self.probes or not made.isdisjoint(measurements))


@dataclass(slots=True)
class Answered:
    """A figure's rows. in_all: how many there would be without a limit. notes: what has to be known of them.

    failed: why there are none. incomplete: whether objects were left out. unreadable: those that cannot be read.
    """

    rows: list[Row] = field(default_factory=list)
    in_all: int = 0
    notes: list[str] = field(default_factory=list)
    failed: QueryError | None = None
    incomplete: bool = False
    unreadable: Reasons = field(default_factory=dict)


Answers = Mapping[str, Mapping[str, Answered]]
"""Section -> figure -> its rows."""


def answer(engine: Engine, figure: Figure, span: Span) -> Answered:
    """Ask it. What cannot be answered (for lack of memory, say) is said in its notes: the rest is worth having."""
    parameters, windows = figure.parameters(span), figure.windows(span)
    try:
        told = engine.ask(Asked(figure.sql, span.window, parameters, windows, all_columns=False))
    except QueryError as error:
        return Answered(notes=[f"This question failed: {error}"], failed=error)
    text = io.StringIO()
    output.json_lines(told, text)
    rows = [json.loads(line) for line in text.getvalue().split("\n")[:-1]]
    in_all = max((row.pop(IN_ALL, len(rows)) for row in rows), default=0)
    notes = [
        f"{count:,} object{'' if count == 1 else 's'} left out: {why}." for why, count in sorted(told.passed.items())
    ]
    return Answered(rows, in_all, notes, incomplete=told.incomplete, unreadable=told.unreadable)


def unreadable(answers: Answers) -> Reasons:
    """The objects that no figure has anything of, with the reason."""
    return {key: why for of in answers.values() for one in of.values() for key, why in one.unreadable.items()}


def ranked(sql: str, order: str) -> str:
    """The first `$limit` rows of a question, and how many there would be: `in_all`."""
    return f"SELECT *, count(*) OVER () AS {IN_ALL} FROM ({sql}\n)\nORDER BY {order}\nLIMIT $limit"  # noqa: S608 - of this package's own constants


def several(column: str, name: str, order: str = "times DESC") -> str:
    """Columns of a group whose rows have this one once each: its first values as a list, and how many there are."""
    return (
        f"list({column} ORDER BY {order}, {column}) FILTER ({column} IS NOT NULL)[:{SEVERAL}] AS {name}, "
        f"count({column}) AS {name}_{IN_ALL}"
    )


def bucketed(sql: str) -> str:
    """Rows of `timestamp`, `series` and `value` (whole numbers) as sums by bucket; what is in few goes under NULL."""
    return f"""
WITH each AS (
    SELECT (epoch_us(timestamp) - $first_us) // $step_us AS bucket, series, sum(value) AS value
    FROM ({sql}
    )
    GROUP BY ALL
), largest AS (
    SELECT series FROM each GROUP BY series ORDER BY sum(value) DESC, series LIMIT {SERIES}
)
SELECT bucket, CASE WHEN series IN (SELECT series FROM largest) THEN series END AS series,
    CAST(sum(value) AS BIGINT) AS value
FROM each
GROUP BY ALL
ORDER BY ALL"""  # noqa: S608 - likewise


def union(parts: Sequence[str]) -> str:
    """All rows of these."""
    return "\n    UNION ALL\n".join(f"    {part}" for part in parts)

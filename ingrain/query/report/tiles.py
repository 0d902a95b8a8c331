"""The numbers at the top of the page: each the sum or the count of a figure that stands below."""

from __future__ import annotations

from collections.abc import Callable

from ingrain.query.report.figures import Answered, Answers
from ingrain.query.report.units import amount, escaped, number


def tiles(answers: Answers) -> str:
    """All of them as HTML; what was not or could not be answered has none."""
    parts = []
    for title, section, figure, tell in _TILES:
        one = answers.get(section, {}).get(figure)
        if one and not one.failed:
            parts.append(f"<div><dd>{escaped(tell(one))}</dd><dt>{escaped(title)}</dt></div>")
    return f'<dl class="tiles">{"".join(parts)}</dl>'


def _summed(column: str, series: str | None = None, show: Callable[[float], str] = number) -> Callable[[Answered], str]:
    """The sum of a column of all rows, or of those of a series; of figures that are never cut."""
    return lambda one: show(sum(row[column] for row in one.rows if series is None or row["series"] == series))


def _counted(one: Answered) -> str:
    return number(one.in_all)


_TILES: tuple[tuple[str, str, str, Callable[[Answered], str]], ...] = (
    ("records", "record", "over_time", _summed("value")),
    ("sent", "traffic", "over_time", _summed("value", "sent", amount)),
    ("received", "traffic", "over_time", _summed("value", "received", amount)),
    ("pairs that talk", "talks", "pairs", _counted),
    ("names asked for", "names", "names", _counted),
    ("TLS fingerprints", "tls", "fingerprints", _counted),
    ("paths accessed", "files", "paths", _counted),
    ("programs run", "programs", "programs", _counted),
    ("new", "new", "new", _counted),
    ("gaps", "record", "gaps", _counted),
    ("losses", "record", "losses", _counted),
)
"""Title, section, figure, and what is told of it."""

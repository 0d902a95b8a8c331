"""The numbers at the top of the page: each the sum or the count of a figure below, and a link to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingrain.query.report.figures import Answered, Answers, Section
from ingrain.query.report.sections.hosts import NOT_RECORDED
from ingrain.query.report.units import amount, escaped, number


def tiles(sections: Sequence[Section], answers: Answers) -> str:
    """All of them as HTML; what could not be answered has none."""
    recorded = {one.name for one in sections if one.recorded}
    parts = []
    for title, section, figure, tell in _TILES:
        one = answers.get(section, {}).get(figure)
        if section not in recorded:
            parts.append(_tile(title, section, NOT_RECORDED))
        elif one and not one.failed:
            parts.append(_tile(title, section, tell(one)))
    return f'<dl class="tiles">{"".join(parts)}</dl>'


def _tile(title: str, section: str, text: str) -> str:
    absent = ' class="none"' if text == NOT_RECORDED else ""
    return f'<div><dt><a href="#{section}">{escaped(title)}</a></dt><dd{absent}>{escaped(text)}</dd></div>'


def _summed(column: str, series: str | None = None, show: Callable[[float], str] = number) -> Callable[[Answered], str]:
    """The sum of a column of all rows, or of those of a series; of figures that are never cut."""
    return lambda one: show(sum(row[column] for row in one.rows if series is None or row["series"] == series))


def _counted(one: Answered) -> str:
    return number(one.in_all)


def _hosts(one: Answered) -> str:
    return number(one.rows[0]["heard_hosts"] if one.rows else 0)


def _lost(one: Answered) -> str:
    """Of a host that does not say what it lost, nobody knows that it lost nothing."""
    if not one.rows or one.rows[0]["unaccounted_hosts"] == one.rows[0]["heard_hosts"]:
        return NOT_RECORDED
    return number(one.rows[0]["lost_in_all"])


_TILES: tuple[tuple[str, str, str, Callable[[Answered], str]], ...] = (
    ("hosts", "record", "hosts", _hosts),
    ("records", "record", "over_time", _summed("value")),
    ("sent", "traffic", "over_time", _summed("value", "sent", amount)),
    ("received", "traffic", "over_time", _summed("value", "received", amount)),
    ("pairs that talk", "talks", "pairs", _counted),
    ("DNS names", "names", "names", _counted),
    ("client fingerprints", "tls", "fingerprints", _counted),
    ("watched paths", "files", "paths", _counted),
    ("programs", "programs", "programs", _counted),
    ("new", "new", "new", _counted),
    ("gaps", "record", "gaps", _counted),
    ("lost", "record", "hosts", _lost),
)
"""Title, section, figure, and what is told of it."""

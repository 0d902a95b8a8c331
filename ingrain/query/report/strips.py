"""The record of each host as a strip, SVG: where it has records, where some are missing, where something was lost."""

from __future__ import annotations

from collections.abc import Sequence

from ingrain.query.report.figures import Row
from ingrain.query.report.span import Span
from ingrain.query.report.stacks import LEFT, WIDTH, place, time_axis
from ingrain.query.report.units import cut, escaped, length, moment, number

_TALL, _BETWEEN = 16, 22  # of a strip, and of its host's name above it
_BOTTOM = 24
STATES = {"full": "recorded", "part": "recorded in part", "lost": "losses", "gone": "no record"}
"""What a place of a strip can be, and what the legend says."""


def draw(span: Span, rows: Sequence[Row]) -> str:
    """Rows of `host`, `place`, `heard` (of the fine buckets in it, in how many there is a record) and `lost`."""
    hosts: dict[str, dict[int, Row]] = {}
    for row in rows:
        hosts.setdefault(row["host"], {})[row["place"]] = row
    parts, y = [], 0.0
    for host, of in hosts.items():
        parts.append(f'<text class="from name" x="{LEFT}" y="{y + 15}">{escaped(cut(host or "unknown host"))}</text>')
        y += _BETWEEN
        parts += [_place(span, at, of.get(at), y) for at in range(span.strip_count)]
        y += _TALL
    parts.append(time_axis(span, y))
    key = "".join(
        f'<li><svg class="key" aria-hidden="true"><rect width="10" height="10" class="{state}"/></svg>{said}</li>'
        for state, said in STATES.items()
    )
    return (
        f'<ul class="legend">{key}</ul><div class="wide"><svg class="plot" viewBox="0 0 {WIDTH} {y + _BOTTOM:.0f}" '
        f'role="img" aria-label="when each host has records, per {length(span.strip)}">{"".join(parts)}</svg></div>'
    )


def _place(span: Span, at: int, row: Row | None, y: float) -> str:
    expected = _expected(span, at)
    heard, lost = (row["heard"], row["lost"]) if row else (0, 0)
    state = "lost" if lost else "gone" if not heard else "part" if heard < expected else "full"
    buckets = span.strip // span.step
    x, end = place(span, at * buckets), place(span, min((at + 1) * buckets, span.count))
    told = [f"{moment(span.first + at * span.strip)} UTC, {length(span.strip)}"]
    told.append(f"records in {heard} of {expected} intervals of {length(span.fine)}" if heard else "no record")
    if lost:
        told.append(f"lost  {number(lost)}")
    return (
        f'<g class="tip"><title>{escaped(chr(10).join(told))}</title>'
        f'<rect class="{state}" x="{x:.1f}" y="{y:.1f}" width="{end - x:.2f}" '
        f'height="{_TALL}"/></g>'
    )


def _expected(span: Span, at: int) -> int:
    """How many fine buckets of this place are in the time of the report; at its edges not all of them."""
    begins = span.first + at * span.strip
    begin, end = max(begins, span.since), min(begins + span.strip, span.until)
    return -((span.first - end) // span.fine) - (begin - span.first) // span.fine

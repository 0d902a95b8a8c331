"""Sums over time as stacked bars, SVG: a bar a bucket, a colour a series, what else there is in grey.

Each bucket is one area to point at, which tells all of its series: in a <title>, so also without the page's script.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

from ingrain.query.report.figures import Figure, Row, bucketed
from ingrain.query.report.span import Span
from ingrain.query.report.units import amount, brief, brief_amount, cut, escaped, length, moment, number

WIDTH, HEIGHT = 960, 220
"""Of what is drawn, in its own units; the page scales it."""

LEFT, RIGHT, TOP, BOTTOM = 64, 4, 10, 24
_TICKS = 5  # at most
_ALL_BUT = "others"
_GAP = 0.15  # of a bucket's width, between two bars


def over_time(name: str, title: str, sql: str, *, in_bytes: bool = False) -> Figure:
    """A plot of rows of `timestamp`, `series` (text) and `value` (whole, never negative), summed by bucket."""
    show = amount if in_bytes else number
    return Figure(name, title, bucketed(sql), lambda span, rows: draw(span, rows, title, show), Span.parameters)


def draw(span: Span, rows: Sequence[Row], title: str, show: Callable[[float], str]) -> str:
    """Rows of `bucket`, `series` (None: all others) and `value`."""
    sums: defaultdict[str | None, int] = defaultdict(int)
    buckets: defaultdict[int, dict[str | None, int]] = defaultdict(dict)
    for row in rows:
        sums[row["series"]] += row["value"]
        buckets[row["bucket"]][row["series"]] = row["value"]
    order = sorted(sums, key=lambda one: (one is None, -sums[one], one or ""))
    classes = {one: "other" if one is None else f"c{at}" for at, one in enumerate(order)}
    tallest = max(sum(of.values()) for of in buckets.values())
    apart = between_ticks(tallest)
    top = apart * math.ceil(tallest / apart)
    parts = [_axis(top, apart, show is amount), time_axis(span, HEIGHT - BOTTOM)]
    parts += [_bar(span, at, buckets.get(at, {}), classes, top=top, show=show) for at in range(span.count)]
    key = "".join(
        f'<li><svg class="key" aria-hidden="true"><rect width="10" height="10" class="{classes[one]}"/></svg>'
        f"{escaped(cut(_name(one), 40))} <b>{show(sums[one])}</b></li>"
        for one in order
    )
    key += f'<li class="per">per {length(span.step)}</li>'
    return (
        f'<ul class="legend">{key}</ul><div class="wide"><svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escaped(title)}, per {length(span.step)}">{"".join(parts)}</svg></div>'
    )


def place(span: Span, bucket: float) -> float:
    """Where a bucket begins."""
    return LEFT + (WIDTH - LEFT - RIGHT) * bucket / span.count


def time_axis(span: Span, y: float) -> str:
    """Times below a plot whose bottom is there."""
    labels = span.labels
    days = len({one.date() for one in labels}) > 1
    only_days = days and all(one.hour == one.minute == 0 for one in labels)
    form = "%Y-%m-%d" if only_days else "%m-%d %H:%M" if days else "%H:%M:%S" if _seconds(labels) else "%H:%M"
    return "".join(
        f'<text class="at" x="{place(span, (one - span.first) / span.step):.1f}" y="{y + 16}">{one:{form}}</text>'
        for one in labels
    )


def _seconds(times: Sequence[datetime]) -> bool:
    return any(one.second for one in times)


def between_ticks(tallest: float) -> float:
    """How far apart the ticks of an axis up to there are: 1, 2, 2.5 or 5 times a power of ten, and whole."""
    apart = max(1.0, tallest / _TICKS)
    power = 10.0 ** math.floor(math.log10(apart))
    rounds = (power * of for of in (1, 2, 2.5, 5, 10))
    return next(one for one in rounds if one >= apart and one.is_integer())


def _axis(top: float, apart: float, in_bytes: bool) -> str:  # noqa: FBT001 - of a private function
    lines = []
    for at in range(round(top / apart) + 1):
        value, y = apart * at, _height(top, apart * at)
        label = brief_amount(value) if in_bytes else brief(value)
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="of" x="{LEFT - 6}" y="{y + 3.5:.1f}">{label}</text>'
        )
    return "".join(lines)


def _bar(
    span: Span,
    at: int,
    values: dict[str | None, int],
    classes: dict[str | None, str],
    *,
    top: float,
    show: Callable[[float], str],
) -> str:
    x, next_x = place(span, at), place(span, at + 1)
    width = (next_x - x) * (1 - _GAP)
    told = [f"{moment(span.begins(at))} UTC, {length(span.step)}"]
    bars, below = [], 0
    for one, colour in classes.items():
        value = values.get(one, 0)
        if not value:
            continue
        y, bottom = _height(top, below + value), _height(top, below)
        bars.append(f'<rect class="{colour}" x="{x:.1f}" y="{y:.2f}" width="{width:.1f}" height="{bottom - y:.2f}"/>')
        below += value
        told.append(f"{cut(_name(one), 60)}  {show(value)}")
    if not bars:
        told.append("nothing")
    title = escaped("\n".join(told))
    area = f'<rect class="area" x="{x:.1f}" y="{TOP}" width="{next_x - x:.2f}" height="{HEIGHT - TOP - BOTTOM}"/>'
    return f'<g class="tip"><title>{title}</title>{area}{"".join(bars)}</g>'


def _height(top: float, value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _name(series: str | None) -> str:
    return _ALL_BUT if series is None else series

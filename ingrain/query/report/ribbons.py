"""Who talks to whom, SVG: processes on the left, their peers on the right, ribbons as wide as the bytes between them.

The same rows follow as a table, so nothing has to be read off the picture alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ingrain.query.report.figures import IN_ALL, SERIES, Row
from ingrain.query.report.stacks import WIDTH
from ingrain.query.report.units import amount, cut, escaped, number

_SIDE = 300  # room for the names on either side
_NODE = 10  # how wide what a ribbon begins and ends at is
_TALL = 300  # all ribbons of a side, without what is between them
_BETWEEN = 4
_LINE = 15  # as high as a name is, with what is between two
_THINNEST = 1.5
_LONGEST = 40  # characters of a name

End = tuple[str, bool]
"""A name, and whether it stands on the left."""


def draw(rows: Sequence[Row]) -> str:
    """Rows of the figure `pairs`: a process, a peer, and what went between them."""
    weights = [row["bytes"] for row in rows]
    if not any(weights):
        weights = [row["opened"] + row["accepted"] for row in rows]
    all_of_it = sum(weights) or 1
    thick = [max(_THINNEST, _TALL * weight / all_of_it) for weight in weights]
    hosts = len({row["host"] for row in rows})
    pairs = [((who(row, on_host=hosts > 1), True), (whom(row), False)) for row in rows]
    heights: defaultdict[End, float] = defaultdict(float)
    for pair, height in zip(pairs, thick, strict=True):
        for end in pair:
            heights[end] += height
    tops = _stacked(heights, left=True) | _stacked(heights, left=False)
    tall = max(tops[end] + heights[end] for end in tops)
    colours = {name: f"c{at % SERIES}" for at, name in enumerate(dict.fromkeys(left for left, _ in pairs))}
    filled: defaultdict[End, float] = defaultdict(float)
    parts = []
    for row, pair, height in zip(rows, pairs, thick, strict=True):
        ys = [tops[end] + filled[end] for end in pair]
        for end in pair:
            filled[end] += height
        parts.append(_ribbon(row, pair, ys, height, colours[pair[0]]))
    for end, y in tops.items():
        parts.append(_node(end, y, heights[end], colours.get(end, "other")))
    label = "who talks to whom, by bytes"
    return (
        f'<div class="wide"><svg class="plot" viewBox="0 -10 {WIDTH} {tall + 20:.0f}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg></div>"
    )


def who(row: Row, *, on_host: bool) -> str:
    """The left end of a row. on_host: with its host, where there are several."""
    process = row["process"] or "unknown process"
    name = f"{process} in {row['container']}" if row["container"] else process
    return f"{name} on {row['host']}" if on_host else name


def whom(row: Row) -> str:
    """The right one: the peer's first name, and how many more it has."""
    peer = row["peer"] or "unknown address"
    if not row["names"]:
        return peer
    more = row[f"names_{IN_ALL}"] - 1
    return f"{row['names'][0]}{f' +{number(more)}' if more else ''} ({peer})"


def _stacked(heights: dict[End, float], *, left: bool) -> dict[End, float]:
    """Where each end of a side begins, from the top."""
    tops, y = {}, 0.0
    for end, height in heights.items():
        if end[1] == left:
            room = max(height + _BETWEEN, _LINE)
            tops[end] = y + (room - height) / 2
            y += room
    return tops


def _ribbon(row: Row, pair: tuple[End, End], ys: Sequence[float], height: float, colour: str) -> str:
    left, right, middle = _SIDE + _NODE, WIDTH - _SIDE - _NODE, WIDTH / 2
    path = (
        f"M{left} {ys[0]:.1f}C{middle} {ys[0]:.1f} {middle} {ys[1]:.1f} {right} {ys[1]:.1f}v{height:.1f}"
        f"C{middle} {ys[1] + height:.1f} {middle} {ys[0] + height:.1f} {left} {ys[0] + height:.1f}Z"
    )
    (left_name, _), (right_name, _) = pair
    lines = (
        f"{cut(left_name, _LONGEST)} → {cut(right_name, _LONGEST)}",
        f"sent  {amount(row['bytes_out'])}",
        f"received  {amount(row['bytes_in'])}",
        f"connections opened  {number(row['opened'])}",
        f"connections accepted  {number(row['accepted'])}",
    )
    return f'<g class="tip"><title>{_lines(lines)}</title><path class="ribbon {colour}" d="{path}"/></g>'


def _node(end: End, y: float, height: float, colour: str) -> str:
    name, left = end
    x, text, side = (_SIDE, _SIDE - 6, "of") if left else (WIDTH - _SIDE - _NODE, WIDTH - _SIDE + 6, "from")
    return (
        f'<rect class="{colour}" x="{x}" y="{y:.1f}" width="{_NODE}" height="{height:.1f}"/>'
        f'<text class="{side} name" x="{text}" y="{y + height / 2 + 3.5:.1f}">{escaped(cut(name, _LONGEST))}</text>'
    )


def _lines(lines: Iterable[str]) -> str:
    return escaped("\n".join(lines))

"""The account and the state of an agent as text for people: aligned, a line a probe and a line a stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ingrain.account import Account
from ingrain.status import Status
from ingrain.text import harmless


def table(account: Account) -> str:
    """The account."""
    rows: list[tuple[str, ...]] = [
        ("probe", "handed over", "received", "lost", "parts", "malformed", "cut", "unfinished", "uncounted", "records")
    ]
    for probe in account.probes:
        seen = (probe.handed_over, probe.received, probe.lost, probe.parts, probe.malformed, probe.cut)
        cells = [f"{n:,}" for n in (*seen, probe.unfinished, probe.uncounted, probe.records)]
        faults = {"bytes uncounted": probe.uncounted_bytes, "failed": probe.failed, "bytes corrupt": probe.corrupt}
        faults |= {
            "ignored": probe.ignored,
            "runs missed": probe.missed,
            "readings of counts failed": probe.failed_polls,
        }
        rows.append((probe.name, *cells, "  ".join(f"{name} {count:,}" for name, count in faults.items() if count)))
    text = _aligned(rows)
    if account.capture is not None:
        text = f"{_counts(account.capture)}\n\n{text}"
    rows = [("stage", "received", "delivered", "merged", "refused", "lost", "in flight")]
    for stations in account.pipelines.values():
        for s in stations:
            numbers = (s.received, s.delivered, s.merged, s.refused, s.lost, s.in_flight)
            beside = {
                "made": s.made,
                "resumed": s.resumed,
                "left in the spool": s.left,
                "spooled": s.spooled,
                "bytes spooled": s.spooled_bytes,
            }
            told = {name: count for name, count in beside.items() if count} | s.detail
            detail = "  ".join(f"{name} {count:,}" for name, count in sorted(told.items()))
            rows.append((s.name, *(f"{number:,}" for number in numbers), detail))
    return f"{text}\n\n{_aligned(rows)}"


def state(status: Status) -> str:
    """How an agent is, and its account."""
    since = datetime.fromtimestamp(status.started, UTC)
    up = timedelta(seconds=round(status.at - status.started))
    lines = [
        f"ingrain {harmless(status.version)} runs as process {status.pid} since {since:%Y-%m-%d %H:%M:%S} UTC ({up})",
        f"configuration {harmless(status.file)}",
        f"NOT HEALTHY ({len(status.problems)})" if status.problems else "healthy",
        *(f"  {harmless(problem)}" for problem in status.problems),
    ]
    return "\n".join(lines) + f"\n\n{table(status.account)}"


def as_json(status: Status) -> str:
    """The same for machines; harmless to a terminal, too."""
    return json.dumps(status.document(), indent=2).replace("\x7f", "\\u007f")  # the one control that JSON lets stand


def _counts(capture: Mapping[str, int | Mapping[str, int]]) -> str:
    """What became of a capture's packets, in a line: what was none of them is left out."""
    flat = [(name, count) for name, count in capture.items() if isinstance(count, int)]
    for name, counts in capture.items():
        if not isinstance(counts, int):
            flat += [(f"{name} ({which})", count) for which, count in counts.items()]
    told = (f"{name.replace('_', ' ')} {count:,}" for name, count in flat if count)
    return "packets  " + "  ".join(map(harmless, told))


def _aligned(rows: list[tuple[str, ...]]) -> str:
    rows = [tuple(map(harmless, row)) for row in rows]  # names and reasons are what the agent that was asked says
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join(cells + list(row[len(widths) :])).rstrip())
    return "\n".join(lines)

"""What a reader has to know before all else: what could not be read, silent hosts, losses, gaps, what is not compared.

In: the answers, above all of the section `record`. Out: a list of sentences at the top of the page, the worst first.
"""

from __future__ import annotations

from collections.abc import Iterator

from ingrain.query import damage
from ingrain.query.archive import JSON_LINES
from ingrain.query.report.figures import Answered, Answers, unreadable
from ingrain.query.report.span import Span
from ingrain.query.report.units import cut, escaped, length, number, shown

_NAMED = 5  # hosts
_BAD, _HINT, _WELL = "bad", "hint", "well"


def alerts(span: Span, answers: Answers) -> str:
    """All of them as HTML."""
    items = list(_found(span, answers)) or [(_WELL, "All hosts are recorded throughout this period, without losses.")]
    told = "".join(f'<li class="{kind}"><a href="#record">{escaped(text)}</a></li>' for kind, text in items)
    return f'<ul class="alerts">{told}</ul>'


def _found(span: Span, answers: Answers) -> Iterator[tuple[str, str]]:
    record = answers["record"]
    hosts, gaps, losses = record["hosts"], record["gaps"], record["losses"]
    failed = sum(1 for figures in answers.values() for one in figures.values() if one.failed)
    if failed:
        yield _BAD, f"{_counted(failed, 'question')} failed; the reasons are given below."
    yield from _left_out(answers)
    if not hosts.rows:
        if not hosts.failed:
            yield _HINT, "The archive has no records of this period, nor of the baseline before it."
        return
    yield from _silent(hosts)
    first = hosts.rows[0]
    if losses.rows:
        yield _BAD, f"{number(first['lost_in_all'])} events or records were lost."
    if first["unaccounted_hosts"]:
        yield _HINT, f"Losses are not recorded for {first['unaccounted_hosts']:,} of {first['heard_hosts']:,} hosts."
    if gaps.rows:
        longest = gaps.rows[0]
        host = cut(longest["host"] or "unknown host", 40)
        yield (
            _HINT,
            f"{_counted(gaps.in_all, 'gap')} in the record, the longest {shown('gap_s', longest['gap_s'])} on {host}.",
        )
    if span.baseline and not first["baseline_records"]:
        yield (
            _HINT,
            f"No records of the baseline ({length(span.baseline)}): all counts as new, and stopped hosts are unknown.",
        )


def _left_out(answers: Answers) -> Iterator[tuple[str, str]]:
    bad = unreadable(answers)
    if bad:
        told = "; ".join(line.strip() for line in damage.told(bad))
        yield _BAD, f"Records are missing: {_counted(len(bad), 'object')} cannot be read ({told})."
    if any(JSON_LINES in note for figures in answers.values() for one in figures.values() for note in one.notes):
        yield _BAD, f"Records are missing: there are objects {JSON_LINES}."


def _silent(hosts: Answered) -> Iterator[tuple[str, str]]:
    count = hosts.rows[0]["silent_hosts"]
    if count:
        names = [cut(row["host"] or "unknown host", 40) for row in hosts.rows if row["silent_s"] is not None][:_NAMED]
        more = f" and {count - len(names):,} more" if count > len(names) else ""
        verb = "is" if count == 1 else "are"
        yield (
            _BAD,
            f"{_counted(count, 'host')} {verb} silent, with records in the baseline only: {', '.join(names)}{more}.",
        )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"

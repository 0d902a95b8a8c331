"""`ingrain report`: ask all that the sections ask, and write the page.

What has to be said to who asked for it goes to stderr.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingrain.query import damage
from ingrain.query.commands import INCOMPLETE, asked_time, engine_of, length_of, window_of
from ingrain.query.engine import Engine
from ingrain.query.errors import QueryError
from ingrain.query.question import BEGINNING
from ingrain.query.report.figures import Answered, Section, answer, unreadable
from ingrain.query.report.page import page
from ingrain.query.report.sections import sections
from ingrain.query.report.span import Span
from ingrain.query.written import written

_AHEAD = timedelta(days=1)  # by how much a host's clock may be ahead; of what is later there is nothing


def report(options: argparse.Namespace) -> int:
    """Make it; the exit code: 1 where not all could be answered, 3 where objects were left out.

    Raises QueryError where nothing could be answered.
    """
    now = datetime.now(UTC)
    since, until = asked_time(options, now)
    since, until = max(since, BEGINNING), min(until, now + _AHEAD)
    window_of(since, until)
    span = Span(since, until, length_of("--baseline", options.baseline))
    with engine_of(options) as (archive, engine), written(options.output) as to:
        try:
            chosen = sections(archive.measurements())
        except OSError as error:
            raise QueryError(f"the archive {archive.place} cannot be read: {error}") from error
        with engine.together(sum(len(one.figures) for one in chosen if one.recorded)):
            answers = ask(engine, chosen, span)
        failed = [one.failed for of in answers.values() for one in of.values()]
        if all(failed) and failed[0]:
            raise failed[0]
        to.write(page(archive.place, span, now, chosen, answers).encode())
    return _tell(options.output, answers)


def ask(engine: Engine, chosen: tuple[Section, ...], span: Span) -> dict[str, dict[str, Answered]]:
    """All figures, by section and name; those of a section of which nothing is recorded are not asked."""
    return {
        one.name: {figure.name: answer(engine, figure, span) for figure in one.figures if one.recorded}
        for one in chosen
    }


def _tell(path: Path, answers: dict[str, dict[str, Answered]]) -> int:
    """Say where it is, and what is not in it."""
    every = [one for of in answers.values() for one in of.values()]
    for note in dict.fromkeys(note for one in every for note in one.notes):
        print(f"ingrain: {note}", file=sys.stderr)
    if not any(one.rows for one in every):
        print("ingrain: the archive has nothing of that time", file=sys.stderr)
    for line in damage.told(unreadable(answers)):
        print(line, file=sys.stderr)
    print(f"ingrain: the report is in {path}", file=sys.stderr)
    if any(one.failed for one in every):
        return 1
    return INCOMPLETE if any(one.incomplete for one in every) else 0

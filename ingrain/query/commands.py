"""`ingrain query` and `ingrain ask`: what is asked, where, and how the answer is given out.

Answers go to stdout; what has to be said about them (what was not there, or not readable) to stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TextIO

from ingrain.config.problems import near
from ingrain.query import output, when
from ingrain.query.archive import Archive, Window, open_archive
from ingrain.query.engine import Answer, Asked, Engine, Limits
from ingrain.query.errors import QueryError, UsageError
from ingrain.query.follow import asked, follow
from ingrain.query.progress import bar
from ingrain.query.question import Question, Said
from ingrain.query.questions import QUESTIONS
from ingrain.text import harmless


def query(options: argparse.Namespace) -> int:
    """`ingrain query`; the exit code."""
    form = _form(options, "table")
    sql = sys.stdin.read() if options.sql == "-" else options.sql
    now = datetime.now(UTC)
    since = moment_of("--since", options.since, now) if options.since else None
    window = window_of(since, moment_of("--until", options.until, now) if options.until else None)
    with engine_of(options) as (_, engine):
        answer = engine.ask(Asked(sql, window))
        _give(answer, options, output.FORMATS.get(form))
        _tell(answer)
    return 0


def ask(options: argparse.Namespace) -> int:
    """`ingrain ask`; the exit code."""
    if options.question is None:
        print(listing())
        return 0
    question = _question(options)
    if options.sql:
        print(question.sql.strip())
        return 0
    now = datetime.now(UTC)
    since = moment_of("--since", options.since, now)
    until = moment_of("--until", options.until, now) if options.until else now
    window_of(since, until)
    said = Said(harmless(options.what), since, until, length_of("--baseline", options.baseline), options.limit)
    form = _form(options, "lines" if question.lines else "table")
    with engine_of(options) as (archive, engine):
        if options.follow:
            follow(engine, question, said)
            return 0
        answer = engine.ask(asked(question, said))
        _give(answer, options, output.FORMATS.get(form))
        _tell(answer)
        _tell_baseline(archive, question, said, answer)
    return 0


def listing() -> str:
    """All ready questions, with examples."""
    lines = ["ready questions:"]
    for one in QUESTIONS.values():
        lines += ["", f"  {one.name} {one.what}".rstrip(), f"      {one.about}"]
        lines += [f"      ingrain ask {example}" for example in one.examples]
    return "\n".join(
        [*lines, "", "`ingrain ask QUESTION --sql` prints what is asked, `ingrain ask --help` the options."]
    )


def _question(options: argparse.Namespace) -> Question:
    question = QUESTIONS.get(options.question)
    if question is None:
        close = near(options.question, QUESTIONS)
        raise UsageError(
            f"there is no question {harmless(options.question)!r}.{close} There are {', '.join(QUESTIONS)}"
        )
    if bool(options.what) != bool(question.what) and not options.sql:
        about = f"name what it is about: ingrain ask {question.name} {question.what}"
        raise UsageError(about if question.what else f"{question.name} is about all; leave {options.what!r} out")
    if options.follow and (not question.lines or options.output or options.format or options.until):
        raise UsageError("--follow is for logs, as they come: without --format, --output and --until")
    return question


def _form(options: argparse.Namespace, default: str) -> str:
    form: str = options.format or output.SUFFIXES.get(options.output.suffix if options.output else "", default)
    if form == "parquet" and options.output is None:
        raise UsageError("Parquet goes to a file: name it by --output FILE")
    return form


def _give(answer: Answer, options: argparse.Namespace, form: Callable[[Answer, TextIO], int] | None) -> None:
    """Write the answer, without a form as Parquet; a file has its name only when it is whole."""
    if options.output is None:
        if form is not None:
            form(answer, sys.stdout)
        return
    hidden = options.output.with_name(f".{options.output.name}.{os.getpid()}.tmp")
    try:
        if form is not None:
            with hidden.open("x", encoding="utf-8") as to:
                count = form(answer, to)
        else:
            count = output.parquet(answer, hidden)
        hidden.replace(options.output)
    except OSError as error:
        raise QueryError(f"{options.output} cannot be written: {error.strerror or error}") from error
    finally:
        hidden.unlink(missing_ok=True)
    print(f"ingrain: {count:,} rows are in {options.output}", file=sys.stderr)


def _tell(answer: Answer) -> None:
    """What the reader of an answer has to know of it."""
    for why, count in sorted(answer.passed.items()):
        print(f"ingrain: {count:,} object{'' if count == 1 else 's'} left out: {why}", file=sys.stderr)
    if answer.missing:
        print(f"ingrain: in that time the archive has nothing of {', '.join(answer.missing)}", file=sys.stderr)


def _tell_baseline(archive: Archive, question: Question, said: Said, answer: Answer) -> None:
    """Of what there is no time before, all is new."""
    if question.name != "new-names":
        return
    before = (said.before(said.baseline)[0], said.since)
    names = [name for name in question.windows(said) if name not in answer.missing]
    without = [name for name, one in archive.find([(name, before) for name in names]).items() if not one.objects]
    if without:
        print(f"ingrain: the baseline has nothing of {', '.join(without)}: all of that is new", file=sys.stderr)


@contextmanager
def engine_of(options: argparse.Namespace) -> Iterator[tuple[Archive, Engine]]:
    """The archive that is meant, and what asks it, until the context ends."""
    archive = open_archive(options.archive, options.file, options.region, options.endpoint_url)
    engine = Engine(archive, Limits(options.memory_limit, options.threads), bar)
    try:
        yield archive, engine
    finally:
        engine.close()


def window_of(since: datetime | None, until: datetime | None) -> Window:
    """From when to when; raises UsageError where nothing is between them."""
    if since and until and since >= until:
        raise UsageError(f"no time is left from {since.astimezone()} to {until.astimezone()}: --since is not before it")
    return since, until


def moment_of(option: str, text: str, now: datetime) -> datetime:
    """What an option means, in UTC; raises UsageError where that is no time."""
    try:
        return when.moment(text, now)
    except ValueError as error:
        raise UsageError(f"{option}: {harmless(str(error))}") from error


def length_of(option: str, text: str) -> timedelta:
    """Likewise, where it means a length of time."""
    try:
        return when.length(text)
    except ValueError as error:
        raise UsageError(f"{option}: {harmless(str(error))}") from error


RUN = {"query": query, "ask": ask}
"""Command -> what does it; the exit code."""

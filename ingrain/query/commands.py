"""`ingrain query` and `ingrain ask`: what is asked, where, and how the answer is given out.

Answers go to stdout; what has to be said about them (what was not there, or not readable) to stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from ingrain.config.problems import near
from ingrain.progress import bar
from ingrain.query import damage, output, plan, when
from ingrain.query.archive import Archive, Window, open_archive, within
from ingrain.query.engine import Answer, Asked, Engine, Limits
from ingrain.query.errors import QueryError, UsageError
from ingrain.query.follow import asked, follow
from ingrain.query.question import BEGINNING, Question, Said, standalone
from ingrain.query.questions import QUESTIONS
from ingrain.query.schema import measurements
from ingrain.query.written import written
from ingrain.text import harmless

_DAY = timedelta(days=1)

INCOMPLETE = 3
"""The exit code of an answer from which something was left out."""


def query(options: argparse.Namespace) -> int:
    """`ingrain query`; the exit code."""
    form = _form(options, "table")
    with _utf8("the SQL"):
        sql: str = sys.stdin.read() if options.sql == "-" else options.sql
        sql.encode()
    now, zone = datetime.now(UTC), zone_of(options.timezone)
    since = moment_of("--since", options.since, now, zone) if options.since else None
    window = window_of(since, moment_of("--until", options.until, now, zone) if options.until else None)
    zone = zone or UTC
    with engine_of(options, zone.key if isinstance(zone, ZoneInfo) else "UTC") as (archive, engine):
        answer = _answer(archive, engine, Asked(sql, window))
        _give(answer, options, form, zone)
        return _tell(answer)


def ask(options: argparse.Namespace) -> int:
    """`ingrain ask`; the exit code."""
    if options.question is None:
        print(listing())
        return 0
    question = _question(options)
    now, zone = datetime.now(UTC), zone_of(options.timezone)
    since, until = asked_time(options, now, zone)
    said = Said(options.what, since, until, length_of("--baseline", options.baseline), options.limit)
    if options.sql:
        print(_sql(question, said))
        return 0
    form = _form(options, "lines" if question.lines else "table")
    with engine_of(options) as (archive, engine):
        if options.follow:
            _is_one(archive)

            def tell(answer: Answer, count: int | None) -> None:
                _tell_left_out(answer)
                if count == 0:
                    _tell_names(engine, question, said)
                    _say("waiting for lines, until Ctrl-C")

            follow(engine, question, said, tell, zone)
            return 0
        answer = _answer(archive, engine, asked(question, said))
        count = _give(answer, options, form, zone)
        code = _tell(answer)
        _tell_baseline(archive, question, said, answer)
        if question.there and not count:
            _tell_names(engine, question, said)
        return code


def listing() -> str:
    """All ready questions, with examples."""
    lines = ["ready questions:"]
    for one in QUESTIONS.values():
        lines += ["", f"  {one.name} {one.what}".rstrip(), f"      {one.about}"]
        lines += [f"      ingrain ask {example}" for example in one.examples]
    return "\n".join(
        [
            *lines,
            "",
            "`ingrain ask QUESTION --sql` prints the SQL for `ingrain query`, `ingrain ask --help` the options.",
        ]
    )


def _question(options: argparse.Namespace) -> Question:
    question = QUESTIONS.get(options.question)
    if question is None:
        close = near(options.question, QUESTIONS)
        raise UsageError(
            f"there is no question {harmless(options.question)!r}.{close} There are {', '.join(QUESTIONS)}"
        )
    if bool(options.what) != bool(question.what):
        about = f"say what it is about: ingrain ask {question.name} {question.what}"
        raise UsageError(about if question.what else f"{question.name} takes no argument: leave {options.what!r} out")
    if options.follow and (not question.lines or options.output or options.format or options.until):
        raise UsageError("--follow is for logs, as they come: without --format, --output and --until")
    return question


def _sql(question: Question, said: Said) -> str:
    """What `ingrain query` takes, and answers alike."""
    one = asked(question, said)
    windows = {name: one.windows.get(name, one.window) for name in plan.named(one.sql, measurements())}
    return standalone(one.ordered, one.parameters, windows)


def _form(options: argparse.Namespace, default: str) -> str:
    form: str = options.format or output.SUFFIXES.get(options.output.suffix if options.output else "", default)
    if form == "parquet" and options.output is None:
        raise UsageError("Parquet goes to a file: name it by --output FILE")
    return form


def _answer(archive: Archive, engine: Engine, what: Asked) -> Answer:
    answer = engine.ask(what)
    if answer.missing and not answer.objects:
        _is_one(archive)
    return answer


def _is_one(archive: Archive) -> None:
    """Raise QueryError where nothing was ever archived: it may be elsewhere, so no rows would be no answer."""
    try:
        if archive.measurements():
            return
    except OSError as error:
        raise QueryError(f"the archive {archive.place} cannot be read: {harmless(str(error))}") from error
    raise QueryError(f"there is no archive at {archive.place}: it has no folder measurement=NAME")


def _give(answer: Answer, options: argparse.Namespace, form: str, zone: tzinfo | None) -> int:
    """Write the answer; how many rows it has."""
    if options.output is None:
        return output.FORMATS[form](answer, sys.stdout, zone)
    with written(options.output) as to:
        if form == "parquet":
            count = output.parquet(answer, to)
        else:
            with io.TextIOWrapper(to, encoding="utf-8") as text:
                count = output.FORMATS[form](answer, text, zone)
    _say(f"{count:,} rows are in {options.output}")
    return count


def _tell(answer: Answer) -> int:
    """What the reader of an answer has to know of it; the exit code."""
    if answer.missing:
        _say(f"in that time the archive has nothing of {', '.join(answer.missing)}")
    return _tell_left_out(answer)


def _tell_left_out(answer: Answer) -> int:
    for why, count in sorted(answer.passed.items()):
        _say(f"left out {count:,} object{'' if count == 1 else 's'} {why}")
    for line in damage.told(answer.unreadable):
        print(line, file=sys.stderr)
    if answer.incomplete:
        _say("the answer is incomplete")
    return INCOMPLETE if answer.incomplete else 0


def _tell_names(engine: Engine, question: Question, said: Said) -> None:
    """Of what is not there, what is."""
    names = engine.ask(dataclasses.replace(asked(question, said), sql=question.there, order="", parameters={})).rows()
    there = ", ".join(harmless(name) for (name,) in names) or "none"
    _say(f"nothing in that time is of {harmless(said.what)!r}; what there is: {there}")


def _tell_baseline(archive: Archive, question: Question, said: Said, answer: Answer) -> None:
    """Of what there is no time before, all is new."""
    if question.name != "new-names":
        return
    before = (said.before(said.baseline)[0], said.since)
    names = [name for name in question.windows(said) if name not in answer.missing]
    found = archive.find([(name, within(before)) for name in names])
    without = [name for name, one in found.items() if not one.objects]
    if without:
        _say(f"the baseline has nothing of {', '.join(without)}: all of that is new")


def _say(line: str) -> None:
    print(f"ingrain: {line}", file=sys.stderr)


@contextmanager
def engine_of(options: argparse.Namespace, timezone: str = "UTC") -> Iterator[tuple[Archive, Engine]]:
    """The archive that is meant, and what asks it, until the context ends. timezone: whose days SQL means."""
    with _utf8("--memory-limit"):
        options.memory_limit.encode()
    archive = open_archive(options.archive, options.file, options.region, options.endpoint_url)
    engine = Engine(archive, Limits(options.memory_limit, options.threads), bar, timezone)
    try:
        yield archive, engine
    finally:
        engine.close()


@contextmanager
def _utf8(what: str) -> Iterator[None]:
    """Raise UsageError where something is not in UTF-8: DuckDB takes nothing else."""
    try:
        yield
    except UnicodeError as error:
        raise UsageError(f"{what} is not in UTF-8") from error


def zone_of(name: str | None) -> tzinfo | None:
    """The time zone of that name, None without one; raises UsageError where there is none of that name."""
    try:
        return None if name is None else when.zone(name)
    except ValueError as error:
        raise UsageError(f"--timezone: {harmless(str(error))}") from error


def asked_time(options: argparse.Namespace, now: datetime, zone: tzinfo | None = None) -> tuple[datetime, datetime]:
    """From when to when a question is that needs both: --until, or now, and --since, or a day before.

    Raises UsageError as `moment_of` and `window_of` do.
    """
    until = moment_of("--until", options.until, now, zone) if options.until else now
    if options.since:
        since = moment_of("--since", options.since, now, zone)
    else:
        since = max(min(until, now), BEGINNING + _DAY) - _DAY
    window_of(since, until)
    return since, until


def window_of(since: datetime | None, until: datetime | None) -> Window:
    """From when to when; raises UsageError where nothing is between them."""
    if since and until and since >= until:
        raise UsageError(f"no time is left from {_local(since)} to {_local(until)}: --since is not before it")
    return since, until


def _local(moment: datetime) -> datetime:
    """In the local zone, as far as that has such a time."""
    with suppress(OverflowError):
        return moment.astimezone()
    return moment


def moment_of(option: str, text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """What an option means, in UTC; raises UsageError where that is no time. zone: None is the local one."""
    try:
        return when.moment(text, now, zone)
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

"""`ingrain ask logs CONTAINER --follow`: lines as their objects come, about a minute after they were printed."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo

from ingrain.query import output
from ingrain.query.engine import Answer, Asked, Engine
from ingrain.query.errors import QueryError, UnreadableError
from ingrain.query.question import Question, Said

_EVERY_S = 2.0
_LATE = timedelta(hours=26)  # how long after its records an object may come: a spool may hold it for a day
_AHEAD = timedelta(hours=1)  # by how much hosts' clocks may be ahead of this one


def asked(question: Question, said: Said, passed_over: frozenset[str] = frozenset()) -> Asked:
    """What the engine is to be asked. passed_over: objects that are not looked into."""
    return Asked(
        question.sql,
        (said.since, said.until),
        question.parameters(said),
        question.windows(said),
        all_columns=False,
        passed_over=passed_over,
        order=question.order,
    )


def follow(
    engine: Engine, question: Question, said: Said, tell: Callable[[Answer, int | None], None], zone: tzinfo | None
) -> None:
    """Print the lines that are there, then those that come, until it is interrupted. Raises QueryError at once only.

    tell: is given the first answer with the number of its lines, and each from which something else was left out.
    """
    seen: frozenset[str] = frozenset()
    passed: Mapping[str, int] | None = None
    try:
        while True:
            now = datetime.now(UTC)
            said = dataclasses.replace(said, until=now + _AHEAD)
            try:
                answer = engine.ask(asked(question, said, seen))
                count = output.lines(answer, sys.stdout, zone)
                sys.stdout.flush()
                seen |= answer.objects
                said = dataclasses.replace(said, since=max(said.since, now - _LATE))
                if answer.passed != passed:
                    tell(answer, count if passed is None else None)
                    passed = answer.passed
            except QueryError as error:  # later it may be a network that is away for a while
                if passed is None:
                    raise
                if isinstance(error, UnreadableError):
                    seen |= error.objects
                    print(f"ingrain: {error}", file=sys.stderr)
                else:
                    print(f"ingrain: {error}; trying again", file=sys.stderr)
            time.sleep(_EVERY_S)
    except KeyboardInterrupt:
        return

"""`ingrain ask logs CONTAINER --follow`: lines as their objects come, about a minute after they were printed."""

from __future__ import annotations

import dataclasses
import sys
import time
from datetime import UTC, datetime, timedelta

from ingrain.query import output
from ingrain.query.engine import Asked, Engine
from ingrain.query.errors import QueryError
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
    )


def follow(engine: Engine, question: Question, said: Said) -> None:
    """Print the lines that are there, then those that come, until it is interrupted. Raises QueryError at once only."""
    seen: frozenset[str] = frozenset()
    try:
        while True:
            now = datetime.now(UTC)
            said = dataclasses.replace(said, until=now + _AHEAD)
            try:
                answer = engine.ask(asked(question, said, seen))
                output.lines(answer, sys.stdout)
                sys.stdout.flush()
                seen |= answer.objects
                said = dataclasses.replace(said, since=max(said.since, now - _LATE))
            except QueryError as error:  # later it may be a network that is away for a while
                if not seen:
                    raise
                print(f"ingrain: {error}; it is tried again", file=sys.stderr)
            time.sleep(_EVERY_S)
    except KeyboardInterrupt:
        return

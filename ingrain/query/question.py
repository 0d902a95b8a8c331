"""What a ready question is: its SQL, and how what the operator says becomes the parameters of that.

The SQL is such that DuckDB and Spark both take it, but for `unnest`, which Spark calls `explode`, and `$name`, which it
writes `:name`. Tables hold the records of the asked time, and no others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ingrain.query.archive import Window

ESCAPE = "!"
"""Before a character of a pattern that LIKE is to take as it is."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Said:
    """What the operator says: what the question is about, from when to when, and how long before that counts."""

    what: str
    since: datetime
    until: datetime
    baseline: timedelta = timedelta(0)
    limit: int = 20

    def before(self, reach: timedelta) -> Window:
        """The asked time, begun so much earlier."""
        return max(self.since - reach, BEGINNING) if self.since - BEGINNING > reach else BEGINNING, self.until


@dataclass(frozen=True, slots=True)
class Question:
    """One of them. what: how its argument is called; empty: it has none. examples: what can be said.

    parameters: of the SQL. windows: of measurements of which it needs more than the asked time.
    """

    name: str
    about: str
    sql: str
    what: str = ""
    examples: tuple[str, ...] = ()
    parameters: Callable[[Said], Mapping[str, Any]] = lambda _said: {}
    windows: Callable[[Said], Mapping[str, Window]] = field(default=lambda _said: {})
    lines: bool = False
    """Its rows are lines of a log, which are not put into a table, and can be followed."""


def like(text: str) -> str:
    """A pattern for `LIKE ... ESCAPE '!'` of a text in which `*` is any text, and all else is itself."""
    for special in (ESCAPE, "%", "_"):
        text = text.replace(special, ESCAPE + special)
    return text.replace("*", "%")


def name_like(text: str) -> str:
    """Likewise, of a name in the DNS: in lower case, without the dot at the end."""
    return like(text.lower().rstrip(".") or ".")


def peer_like(text: str) -> str:
    """Likewise, of an address, as records write it; what is none is taken as it is."""
    try:
        return like(str(ipaddress.ip_address(text)))
    except ValueError:
        return like(text.lower())

"""How objects are named: `measurement=NAME/date=YYYY-MM-DD/hour=HH/HOST-FIRSTNS-RUN-SEQ.parquet`, below a root.

The folders are Hive's way of partitioning, which most readers of Parquet know; date and hour are the records', UTC. RUN
is this process's: a later one, which counts from 0 again, never overwrites what this one wrote.
"""

from __future__ import annotations

import itertools
import re
import secrets
import socket
from datetime import UTC, datetime

HOUR_NS = 3_600_000_000_000

SUFFIXES = {"parquet": ".parquet", "jsonl": ".jsonl.gz", "json": ".json", "ndjson": ".ndjson"}
"""What an object is made of -> how its name ends."""

_sequence = itertools.count()  # of the whole process: two pipelines may write the same records to the same place
_run = secrets.token_hex(4)
_HOST_CHARACTERS = 64
_FIRST = re.compile(r"-([0-9]{1,19})-[0-9a-f]{8}-[0-9]+\.[a-z.]+\Z")


def key(measurement: str, first_ns: int, form: str) -> str:
    """The name of an object whose first record has the timestamp `first_ns` (ns, UTC). No two calls return the same."""
    hour = datetime.fromtimestamp(first_ns // 1_000_000_000, UTC)
    folder = f"measurement={path_part(measurement)}/date={hour:%Y-%m-%d}/hour={hour:%H}"
    return f"{folder}/{host()}-{first_ns}-{_run}-{next(_sequence):06}{SUFFIXES[form]}"


def first(key: str) -> int | None:
    """The timestamp that an object's name tells, of its first record; None where it was not named here."""
    found = _FIRST.search(key)
    return int(found[1]) if found else None


def host() -> str:
    """The name of this host, as it stands in names of objects."""
    return path_part(socket.gethostname())[:_HOST_CHARACTERS]


def path_part(text: str) -> str:
    """Any text as one harmless part of a path: letters, digits, `.`, `_` and `-` stay, it begins with no dot."""
    return re.sub(r"^\.|[^0-9A-Za-z._-]", "_", text) or "_"

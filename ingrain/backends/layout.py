"""How objects are named: `measurement=NAME/date=YYYY-MM-DD/hour=HH/HOST-FIRSTNS-RUN-SEQ.parquet`, below a root.

The folders are Hive's way of partitioning, which most readers of Parquet know; date and hour are the records', UTC. RUN
is this process's: a later one, which counts from 0 again, never overwrites what this one wrote. A name of more than 100
characters ends with a hash of the whole instead, and HOST is cut where it would make a key too long for the spool.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import secrets
import socket
from datetime import UTC, datetime

HOUR_NS = 3_600_000_000_000

SUFFIXES = {"parquet": ".parquet", "jsonl": ".jsonl.gz", "json": ".json", "ndjson": ".ndjson"}
"""What an object is made of -> how its name ends."""

KEY_BYTES = 206
"""The longest key: with the 49 bytes that the spool may put in front of it, it is as long as a file's name may be."""

_sequence = itertools.count()  # of the whole process: two pipelines may write the same records to the same place
_run = secrets.token_hex(4)
_HOST_CHARACTERS = 64
_NAME_CHARACTERS = 100
_HASH_CHARACTERS = 16
_FIRST = re.compile(r"-([0-9]{1,19})-[0-9a-f]{8}-[0-9]+\.[a-z.]+\Z")


def key(measurement: str, first_ns: int, form: str) -> str:
    """The name of an object whose first record has the timestamp `first_ns` (ns, UTC). No two calls return the same.

    It is ASCII, of at most KEY_BYTES.
    """
    hour = datetime.fromtimestamp(first_ns // 1_000_000_000, UTC)
    folder = f"measurement={folder_part(measurement)}/date={hour:%Y-%m-%d}/hour={hour:%H}/"
    end = f"-{first_ns}-{_run}-{next(_sequence):06}{SUFFIXES[form]}"
    return folder + host()[: KEY_BYTES - len(folder) - len(end)] + end


def first(key: str) -> int | None:
    """The timestamp that an object's name tells, of its first record; None where it was not named here."""
    found = _FIRST.search(key)
    return int(found[1]) if found else None


def host() -> str:
    """The name of this host, as it stands in names of objects."""
    return path_part(socket.gethostname())[:_HOST_CHARACTERS]


def folder_part(name: str, longest: int = _NAME_CHARACTERS) -> str:
    """A name as the name of a folder: as `path_part` says, and no longer than that many characters."""
    part = path_part(name)
    if len(part) <= longest:
        return part
    tail = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    return f"{part[: longest - _HASH_CHARACTERS - 1]}-{tail}"


def path_part(text: str) -> str:
    """Any text as one harmless part of a path: letters, digits, `.`, `_` and `-` stay, it begins with no dot."""
    return re.sub(r"^\.|[^0-9A-Za-z._-]", "_", text) or "_"

"""Objects that cannot be read: which they are, and why.

In: what DuckDB raised, and the objects that it read. Out: a reason for each that has to be left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager

import duckdb

from ingrain.progress import Watch
from ingrain.query import views
from ingrain.query.archive import Store
from ingrain.query.files import SCHEME
from ingrain.query.schema import quoted
from ingrain.text import harmless

_OF_OBJECTS = (
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
)
"""What DuckDB raises of an object that is damaged, beside a plain Error; of SQL it raises others."""

_AT_ONCE = 16  # footers: a bucket answers each in some 50 ms
_MAGIC = b"PAR1"
_TAIL = 8  # the footer's length, and the magic (the Parquet format: "File Format")
_NAMED = 3  # keys that are named of those with the same reason

Reasons = dict[str, str]
"""Why each of these keys cannot be read."""


def is_damage(error: duckdb.Error) -> bool:
    """Whether an object may be why: it cannot be opened, is none, or a column of it is of another kind."""
    if isinstance(error, duckdb.ConversionException):
        return SCHEME in str(error)
    return type(error) is duckdb.Error or isinstance(error, _OF_OBJECTS)


def named(error: duckdb.Error, store: Store, sizes: Mapping[str, int]) -> Reasons:
    """The objects that the error names."""
    return {key: footer(store, key, size) or reason(error, key) for key, size in sizes.items() if key in str(error)}


def footers(store: Store, sizes: Mapping[str, int]) -> Reasons:
    """Of all these objects those that cannot be opened, or do not end as Parquet does."""
    with _pool(_AT_ONCE) as pool:
        told = pool.map(lambda one: footer(store, *one), sizes.items())
        return {key: why for key, why in zip(sizes, told, strict=True) if why}


def footer(store: Store, key: str, size: int) -> str | None:
    """Why an object cannot be opened, or has no footer."""
    try:
        with store.open(key, size) as opened:
            opened.seek(max(0, size - _TAIL))
            tail = opened.read(_TAIL)
    except OSError as error:
        return harmless(error.strerror or str(error).rpartition(f"{key}: ")[2])
    if len(tail) < _TAIL or tail[4:] != _MAGIC or int.from_bytes(tail[:4], "little") > size - _TAIL - len(_MAGIC):
        return "it is no Parquet, or only a part of it"
    return None


def contents(
    connect: Callable[[], duckdb.DuckDBPyConnection], objects: Mapping[str, str], threads: int, watch: Watch
) -> Reasons:
    """Of all these objects, keys with their measurements, those of which not all can be read; so many at once."""
    found: Reasons = {}
    done = 0
    idle: list[duckdb.DuckDBPyConnection] = []

    def read(key: str, measurement: str) -> None:
        connection = idle.pop() if idle else connect()
        try:
            views.create(connection, measurement, [key], (None, None), all_columns=True)
            connection.execute(f"SELECT max(hash(COLUMNS(*))) FROM {quoted(measurement)}").fetchall()  # noqa: S608 - made of what is here
        except BaseException:  # after which it may not be used any more
            connection.close()
            raise
        idle.append(connection)

    with _pool(threads) as pool, watch(lambda: done / len(objects)):
        reading = {pool.submit(read, key, measurement): key for key, measurement in objects.items()}
        for one in as_completed(reading):
            done += 1
            error = one.exception()
            if isinstance(error, duckdb.Error) and not isinstance(error, duckdb.OutOfMemoryException):
                found[reading[one]] = reason(error, reading[one])
            elif error:
                raise error
    for connection in idle:
        connection.close()
    return found


def reason(error: duckdb.Error, of: str = "") -> str:
    """What an error says in a line, of an object if one is given; of one that was raised in Python, what was raised."""
    lines = str(error).rstrip().split("\n")
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return harmless(re.sub(rf"(file )?([\"']){re.escape(SCHEME + of)}\2", "it", line) if of else line)


def told(reasons: Reasons) -> list[str]:
    """Lines for people: each reason, and the first of its objects in the order of keys, not of threads."""
    by_reason: dict[str, list[str]] = {}
    for key, why in sorted(reasons.items()):
        by_reason.setdefault(why, []).append(key)
    return [
        f"  {why}: {', '.join(keys[:_NAMED])}" + (f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else "")
        for why, keys in by_reason.items()
    ]


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Of which nothing goes on where the context is left early."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)

"""DuckDB, asked about an archive: it reads the objects that a question needs, and can reach nothing else.

In: SQL, parameters, and the window of each measurement. Out: an answer, whole before a row of it is given out, so an
object that cannot be read to its end is left out of all of it, and counted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from ingrain.progress import Steps, Watch, unwatched
from ingrain.query import damage, database, plan, views
from ingrain.query.archive import JSON_LINES, Archive, Window
from ingrain.query.database import Prepare
from ingrain.query.errors import QueryError, UnreadableError, UsageError
from ingrain.query.files import SCHEME, Objects
from ingrain.query.schema import measurements, table_name
from ingrain.text import harmless

_TRIES = 4  # of all objects, without the one that is named, without those with no footer, without all that are damaged
_ROWS = 10_000  # fetched at a time
_AGAIN_S = 0.1
_UNREADABLE = "that cannot be read"
_ANSWER = "ingrain.answer"  # in a schema of its own, which SHOW TABLES does not show


@dataclass(frozen=True, slots=True)
class Limits:
    """memory: as DuckDB writes sizes ("768MB"); what needs more goes to a temporary folder. threads: all cores if 0."""

    memory: str = "768MB"
    threads: int = 0


@dataclass(slots=True)
class Asked:
    """What to ask: SQL with `$name` for each parameter.

    order: what rows are sorted by; those that are equal in it stay in the order of the tables, and so of their objects.
    windows: of the measurements that have another than the rest. all_columns: the SQL may name columns that this build
    does not know, so it is the user's: what it needs is found out first. passed_over: objects that are not looked into.
    """

    sql: str
    window: Window
    parameters: Mapping[str, Any] = field(default_factory=dict)
    windows: Mapping[str, Window] = field(default_factory=dict)
    all_columns: bool = True
    passed_over: frozenset[str] = frozenset()
    order: str = ""

    @property
    def ordered(self) -> str:
        """The SQL that sorts its rows, too."""
        return f"{self.sql}\nORDER BY {self.order}" if self.order else self.sql


@dataclass(slots=True)
class Answer:
    """`columns`: name and DuckDB's type of each.

    passed: objects that were not looked into, by why. unreadable: those of them that cannot be read, with the reason.
    missing: measurements without an object in their window. objects: those that were looked into, or cannot be read.
    """

    columns: list[tuple[str, str]]
    passed: Counter[str]
    unreadable: damage.Reasons
    missing: list[str]
    objects: frozenset[str]
    _connection: duckdb.DuckDBPyConnection

    @property
    def incomplete(self) -> bool:
        """Whether there may be records that are not in it."""
        return bool(self.unreadable) or JSON_LINES in self.passed

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, in order, some at a time. Raises UsageError for a time that Python cannot tell in the time zone."""
        cursor = self._connection.execute(f"FROM {_ANSWER}")
        try:
            while rows := cursor.fetchmany(_ROWS):
                yield from rows
        except OverflowError as error:
            raise UsageError("a time is not in the years 1 to 9999 of that zone: leave --timezone out") from error

    def arrow(self) -> pa.RecordBatchReader:
        """The rows as Arrow batches."""
        return self._connection.sql(f"FROM {_ANSWER}").to_arrow_reader(_ROWS)


class Engine:
    """For one thread, and one question at a time: the next takes the answer before away. Close it."""

    def __init__(self, archive: Archive, limits: Limits, watch: Watch = unwatched, timezone: str = "UTC") -> None:
        """watch: shows how much of a question is done. timezone: whose days and hours SQL means, by its IANA name."""
        self._archive = archive
        self._limits = limits
        self._watch = watch
        self._timezone = timezone
        self._steps: Steps | None = None
        self._spill = tempfile.mkdtemp(prefix="ingrain-query-")
        self._connection: duckdb.DuckDBPyConnection | None = None

    def ask(self, asked: Asked) -> Answer:
        """The answer. Raises QueryError where the archive cannot be read, UsageError where the SQL is wrong."""
        try:
            return self._ask(asked)
        except duckdb.OutOfMemoryException as error:
            raise QueryError(
                f"{self._limits.memory} of memory are not enough for this: give more by --memory-limit, or ask about "
                f"less (--since, --until, fewer columns): {damage.reason(error)}"
            ) from error
        except duckdb.Error as error:
            if damage.is_damage(error) and (
                SCHEME in str(error) or not isinstance(error, duckdb.InvalidInputException)
            ):
                raise QueryError(damage.reason(error)) from error
            raise UsageError(f"{harmless_lines(str(error))}{self._hint(error)}") from error
        except OSError as error:
            raise QueryError(f"the archive {self._archive.place} cannot be read: {harmless(str(error))}") from error
        finally:
            if self._steps:
                self._steps.step()

    @contextmanager
    def together(self, questions: int) -> Iterator[None]:
        """So many questions are asked in this context: what is watched is how much of them all is done."""
        self._steps = Steps(questions)
        watch, self._watch = self._watch, self._steps.watch
        try:
            with watch(self._steps.share):
                yield
        finally:
            self._watch, self._steps = watch, None

    def close(self) -> None:
        """Let go of all."""
        self._disconnect()
        shutil.rmtree(self._spill, ignore_errors=True)

    def _ask(self, asked: Asked) -> Answer:
        planned = self._plan(asked)
        windows = {name: asked.windows.get(name, asked.window) for name in planned.measurements}
        found = self._archive.find([(name, planned.hours(name, window)) for name, window in windows.items()])
        passed: Counter[str] = Counter()
        for one in found.values():
            passed += one.passed
        missing = [name for name, one in found.items() if not one.objects]
        objects = {
            name: {key: size for key, size in one.objects.items() if key not in asked.passed_over}
            for name, one in found.items()
        }
        sizes = {key: size for of_one in objects.values() for key, size in of_one.items()}
        if JSON_LINES in passed and not sizes and not asked.passed_over:
            raise QueryError(
                f"all {passed[JSON_LINES]:,} objects that this needs are JSON lines, which cannot be queried: "
                'have the pipeline write Parquet, without format = "jsonl"'
            )
        unreadable: damage.Reasons = {}
        for attempt in range(_TRIES):
            left = {
                name: {key: size for key, size in of_one.items() if key not in unreadable}
                for name, of_one in objects.items()
            }
            if unreadable and len(unreadable) == len(sizes):
                raise UnreadableError(_none_readable(unreadable), frozenset(sizes))
            try:
                columns = self._run(asked, left, windows, planned.unknown)
            except duckdb.Error as error:
                if attempt == _TRIES - 1 or not damage.is_damage(error):
                    raise
                bad = self._damaged(error, left, attempt)
                if not bad:
                    raise
                unreadable |= bad
            else:
                if unreadable:
                    passed[_UNREADABLE] = len(unreadable)
                return Answer(columns, passed, unreadable, missing, frozenset(sizes), self._connected)
        raise AssertionError("the last try returns or raises")

    def _plan(self, asked: Asked) -> plan.Plan:
        """What the SQL needs. Raises UsageError for what is no question, duckdb.Error for a table that is not there."""
        there = self._archive.measurements()
        if not asked.all_columns:
            return plan.Plan(plan.named(asked.sql, dict.fromkeys([*there, *measurements()])))
        connection = self._connect({}, plan.prepare)
        statements = connection.extract_statements(asked.sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UsageError("expected one SELECT (or WITH, FROM, DESCRIBE, SUMMARIZE, SHOW): an archive is only read")
        return plan.plan(connection, asked.sql, there)

    def _connect(self, sizes: Mapping[str, int], prepare: Prepare = lambda _one: None) -> duckdb.DuckDBPyConnection:
        """A new database: one that had a damaged object may not be used any more."""
        self._disconnect()
        self._connection = self._database(sizes, self._limits.threads, prepare)
        return self._connection

    def _database(
        self, sizes: Mapping[str, int], threads: int, prepare: Prepare = lambda _one: None
    ) -> duckdb.DuckDBPyConnection:
        return database.connect(
            Objects(self._archive.store, sizes),
            prepare,
            memory=self._limits.memory,
            threads=threads,
            spill=self._spill,
            timezone=self._timezone,
        )

    @property
    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise RuntimeError("the engine is closed")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(
        self,
        asked: Asked,
        objects: Mapping[str, Mapping[str, int]],
        windows: Mapping[str, Window],
        unknown: Sequence[str],
    ) -> list[tuple[str, str]]:
        """Have the answer made; its columns. It runs beside, so that a signal ends it and its progress can be told.

        unknown: columns that the SQL names and this build does not know.
        """
        connection = self._connect({key: size for of_one in objects.values() for key, size in of_one.items()})
        statement = f"CREATE TABLE {_ANSWER} AS FROM (\n{_statement(asked.sql)}\n)"
        failed: list[BaseException] = []

        def work() -> None:
            try:
                connection.execute("CREATE SCHEMA ingrain")
                if not objects:  # SHOW TABLES, and what needs none
                    plan.create(connection, self._archive.measurements())
                for name, window in windows.items():
                    if objects[name]:
                        views.create(connection, name, objects[name], window, all_columns=asked.all_columns)
                    else:
                        views.create_empty(connection, name, unknown)
                connection.execute(statement, dict(asked.parameters))
                if asked.order:  # DuckDB's sort is not stable, so it needs to be told where a row was
                    connection.execute(
                        f"CREATE OR REPLACE TABLE {_ANSWER} AS FROM {_ANSWER} ORDER BY {asked.order}, rowid"
                    )
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                failed.append(error)

        thread = threading.Thread(target=work, name="query", daemon=True)
        thread.start()
        try:
            with self._watch(lambda: connection.query_progress() / 100):
                thread.join()
        except BaseException:
            while thread.is_alive():  # it may be between two statements
                connection.interrupt()
                thread.join(_AGAIN_S)
            raise
        if failed:
            raise failed[0]
        described = connection.execute(f"DESCRIBE {_ANSWER}").fetchall()
        return [(str(name), str(kind)) for name, kind, *_ in described]

    def _damaged(self, error: duckdb.Error, objects: Mapping[str, Mapping[str, int]], attempt: int) -> damage.Reasons:
        """The objects to be left out after an error: the one that it names; if that was not all, all that are damaged.

        What costs more is tried later. Raises ConnectionError where no object can be had any more.
        """
        store = self._archive.store
        if store.failure:
            raise store.failure
        measurement = {key: name for name, of_one in objects.items() for key in of_one}
        sizes = {key: size for of_one in objects.values() for key, size in of_one.items()}
        found = damage.named(error, store, sizes)
        if attempt == 1 or not found:
            found |= damage.footers(store, sizes)
        if attempt > 1 or not found:
            threads = self._limits.threads or os.cpu_count() or 1
            found |= damage.contents(lambda: self._database(sizes, 1), measurement, threads, self._watch)
        if store.failure:
            raise store.failure
        return found

    def _hint(self, error: duckdb.Error) -> str:
        if not isinstance(error, duckdb.CatalogException):
            return ""
        names: Sequence[str] = []
        with suppress(OSError):
            names = self._archive.measurements()
        return f"\nThe archive has {', '.join(map(table_name, names)) or 'no measurement'}"


def _statement(sql: str) -> str:
    """A statement without the semicolons at its end, and without the comments after these."""
    raw = sql.encode()
    end = len(raw)
    for at, kind in reversed(duckdb.tokenize(sql)):
        if raw[at : at + 1] == b";":
            end = at
        elif kind != duckdb.token_type.comment:
            break
    return raw[:end].decode()


def _none_readable(unreadable: damage.Reasons) -> str:
    count = len(unreadable)
    none = (
        f"none of the {count:,} objects that this needs can" if count > 1 else "the only object that this needs cannot"
    )
    return "\n".join([f"{none} be read:", *damage.told(unreadable)])


def harmless_lines(text: str) -> str:
    """Lines of text with nothing in them that a terminal takes for a command."""
    return "\n".join(map(harmless, text.split("\n")))

"""DuckDB, asked about an archive: it reads the objects that a question needs, and can reach nothing else.

In: SQL, parameters, and the window of each measurement. Out: an answer, whole before a row of it is given out, so an
object that cannot be read to its end is left out of all of it, and counted.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from ingrain.query import views
from ingrain.query.archive import Archive, Window
from ingrain.query.errors import QueryError, UsageError
from ingrain.query.files import SCHEME, Objects
from ingrain.query.schema import literal, measurements, quoted, table_name
from ingrain.text import harmless

_OF_OBJECTS = (
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
)
"""What DuckDB raises of an object that is damaged, beside a plain Error; of SQL it raises others."""

_TRIES = 4  # as they are, without those that have no sound footer, without those whose pages are damaged, and once more
_ROWS = 10_000  # fetched at a time
_UNREADABLE = "that cannot be read"


@dataclass(frozen=True, slots=True)
class Limits:
    """memory: as DuckDB writes sizes ("768MB"); what needs more goes to a temporary folder. threads: all cores if 0."""

    memory: str = "768MB"
    threads: int = 0


@dataclass(slots=True)
class Asked:
    """What to ask: SQL with `$name` for each parameter.

    windows: of the measurements that have another than the rest. all_columns: those that this build does not know, too.
    passed_over: objects that are not looked into.
    """

    sql: str
    window: Window
    parameters: Mapping[str, Any] = field(default_factory=dict)
    windows: Mapping[str, Window] = field(default_factory=dict)
    all_columns: bool = True
    passed_over: frozenset[str] = frozenset()


@dataclass(slots=True)
class Answer:
    """`columns`: name and DuckDB's type of each.

    passed: objects that were not looked into, by why. missing: measurements without an object in their window.
    objects: those that were looked into, or cannot be read.
    """

    columns: list[tuple[str, str]]
    passed: Counter[str]
    missing: list[str]
    objects: frozenset[str]
    _connection: duckdb.DuckDBPyConnection

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, in order, some at a time."""
        cursor = self._connection.execute("SELECT * FROM answer")
        while rows := cursor.fetchmany(_ROWS):
            yield from rows

    def arrow(self) -> pa.RecordBatchReader:
        """The rows as Arrow batches."""
        return self._connection.sql("SELECT * FROM answer").to_arrow_reader(_ROWS)


class Engine:
    """For one thread, and one question at a time: the next takes the answer before away. Close it."""

    def __init__(
        self, archive: Archive, limits: Limits, watch: Callable[[Callable[[], float]], Any] | None = None
    ) -> None:
        """watch: makes a context that is told how to learn how many percent are done, while a question runs."""
        self._archive = archive
        self._limits = limits
        self._watch = watch
        self._spill = tempfile.mkdtemp(prefix="ingrain-query-")
        self._connection: duckdb.DuckDBPyConnection | None = None

    def ask(self, asked: Asked) -> Answer:
        """The answer. Raises QueryError where the archive cannot be read, UsageError where the SQL is wrong."""
        try:
            return self._ask(asked)
        except duckdb.OutOfMemoryException as error:
            raise QueryError(
                f"{self._limits.memory} of memory are not enough for this: give more by --memory-limit, or ask about "
                f"less (--since, --until, fewer columns): {_first(error)}"
            ) from error
        except duckdb.Error as error:
            if _damage(error) and (SCHEME in str(error) or not isinstance(error, duckdb.InvalidInputException)):
                said = str(error).rstrip()
                if said.startswith("Traceback"):  # what opening or reading an object raised
                    said = said.rpartition("\n")[2]
                raise QueryError(harmless_lines(said)) from error
            raise UsageError(f"{harmless_lines(str(error))}{self._hint(error)}") from error
        except OSError as error:
            raise QueryError(f"the archive {self._archive.place} cannot be read: {harmless(str(error))}") from error

    def close(self) -> None:
        """Let go of all."""
        self._disconnect()
        shutil.rmtree(self._spill, ignore_errors=True)

    def _ask(self, asked: Asked) -> Answer:
        wanted = [(name, asked.windows.get(name, asked.window)) for name in self._named(asked.sql)]
        found = self._archive.find(wanted)
        passed: Counter[str] = Counter()
        for one in found.values():
            passed += one.passed
        missing = [name for name, one in found.items() if not one.objects]
        objects = {
            name: {key: size for key, size in one.objects.items() if key not in asked.passed_over}
            for name, one in found.items()
        }
        looked_into = frozenset(key for of_one in objects.values() for key in of_one)
        for attempt in range(_TRIES):
            sizes = {key: size for of_one in objects.values() for key, size in of_one.items()}
            connection = self._connect(sizes)
            try:
                for name, window in wanted:
                    views.create(connection, name, objects[name], window, all_columns=asked.all_columns)
                columns = self._run(connection, asked)
            except duckdb.Error as error:
                self._connected()
                if attempt == _TRIES - 1 or not _damage(error):
                    raise
                named = [key for key in sizes if key in str(error)]
                damaged = self._damaged(objects, contents=attempt > 0) or named
                if not damaged and attempt:
                    raise
                passed[_UNREADABLE] += len(damaged)
                objects = {
                    name: {key: size for key, size in of_one.items() if key not in damaged}
                    for name, of_one in objects.items()
                }
            else:
                return Answer(columns, passed, missing, looked_into, connection)
        raise AssertionError("the last try returns or raises")

    def _named(self, sql: str) -> list[str]:
        """The measurements whose names stand in the SQL; all that the archive has where there is none (SHOW TABLES).

        Raises UsageError for what is no question.
        """
        connection = self._connect({})
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UsageError("expected one SELECT (or WITH, FROM, DESCRIBE, SUMMARIZE, SHOW): an archive is only read")
        there = list(dict.fromkeys([*self._archive.measurements(), *measurements()]))
        return [name for name in there if _names(sql, name)] or self._archive.measurements()

    def _connect(self, sizes: Mapping[str, int]) -> duckdb.DuckDBPyConnection:
        """A new database in memory: one that had a damaged object may not be used any more."""
        self._disconnect()
        settings: dict[str, Any] = {
            "memory_limit": self._limits.memory,
            "temp_directory": self._spill,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "python_enable_replacements": False,
        }
        if self._limits.threads:
            settings["threads"] = self._limits.threads
        try:
            connection = duckdb.connect(config=settings)
        except duckdb.Error as error:
            raise UsageError(f"DuckDB takes no such limit: {_first(error)}") from error
        self._connection = connection
        connection.register_filesystem(Objects(self._archive.store, sizes))
        for setting in (
            "enable_progress_bar = true",
            "enable_progress_bar_print = false",
            "parquet_metadata_cache = true",
            f"allowed_directories = [{literal(SCHEME)}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute(f"SET {setting}")
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self, connection: duckdb.DuckDBPyConnection, asked: Asked) -> list[tuple[str, str]]:
        """Have the answer made; its columns. It runs beside, so that a signal ends it and its progress can be told."""
        statement = f"CREATE TEMP TABLE answer AS FROM (\n{asked.sql.strip().rstrip(';')}\n)"
        failed: list[BaseException] = []

        def work() -> None:
            try:
                connection.execute(statement, dict(asked.parameters))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                failed.append(error)

        thread = threading.Thread(target=work, name="query", daemon=True)
        thread.start()
        try:
            if self._watch is None:
                thread.join()
            else:
                with self._watch(connection.query_progress):
                    thread.join()
        except BaseException:
            connection.interrupt()
            thread.join()
            raise
        if failed:
            raise failed[0]
        described = connection.execute("DESCRIBE answer").fetchall()
        return [(str(name), str(kind)) for name, kind, *_ in described]

    def _damaged(self, objects: Mapping[str, Mapping[str, int]], *, contents: bool) -> list[str]:
        """The objects that cannot be read: none of their columns, or, with contents, not all of what is in them."""
        damaged = []
        for name, of_one in objects.items():
            for key, size in of_one.items():
                connection = self._connect({key: size})
                what = "max(hash(COLUMNS(*)))" if contents else "max(value)"
                try:
                    views.create(connection, name, [key], (None, None), all_columns=True)
                    connection.execute(f"SELECT {what} FROM {quoted(name)}").fetchall()  # noqa: S608 - made of what is here
                except duckdb.OutOfMemoryException:
                    raise
                except duckdb.Error:
                    self._connected()
                    damaged.append(key)
        return damaged

    def _connected(self) -> None:
        """Raise ConnectionError where an object could not be read because none can be."""
        if self._archive.store.failure:
            raise self._archive.store.failure

    def _hint(self, error: duckdb.Error) -> str:
        if not isinstance(error, duckdb.CatalogException):
            return ""
        names: Sequence[str] = []
        with suppress(OSError):
            names = self._archive.measurements()
        return f"\nThe archive has {', '.join(map(table_name, names)) or 'no measurement'}"


def _damage(error: duckdb.Error) -> bool:
    """Whether an object may be why: it cannot be opened, is none, or a column of it is of another kind."""
    if isinstance(error, duckdb.ConversionException):
        return SCHEME in str(error)
    return type(error) is duckdb.Error or isinstance(error, _OF_OBJECTS)


def _names(sql: str, measurement: str) -> bool:
    word = rf"\b{re.escape(table_name(measurement))}\b|\"{re.escape(measurement)}\""
    return re.search(word, sql, re.IGNORECASE) is not None


def harmless_lines(text: str) -> str:
    """Lines of text with nothing in them that a terminal takes for a command."""
    return "\n".join(map(harmless, text.split("\n")))


def _first(error: Exception) -> str:
    return harmless(str(error).partition("\n")[0])

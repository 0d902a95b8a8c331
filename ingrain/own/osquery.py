"""Osquery: results of osqueryi queries as measurements.

In: the rows of each query, at its interval. Out: `osquery.NAME`. A row is a record: the column that `measurement` names
is its value, the others are its tags, by their own names.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from ingrain.account import Account, ProbeAccount
from ingrain.batch import TEXT, TIMESTAMP, Batch, Column, Measurement
from ingrain.health import RECENT_S
from ingrain.own import foreign
from ingrain.own.kinds import Aggregation, Unit, kind, unit
from ingrain.own.osqueryi import QueryError, ask
from ingrain.own.probe import OwnProbe
from ingrain.pipeline import Outlet
from ingrain.probe import ProbeError
from ingrain.settings import Settings
from ingrain.steps.commands import PATH
from ingrain.text import harmless

log = logging.getLogger(__name__)

Interval = Annotated[int, msgspec.Meta(ge=1, le=7 * 86_400_000)]
"""Milliseconds."""

_PREFIX = "osquery."
_GREATEST = (1 << 63) - 1
_COLUMNS = 256  # of a row; osquery's widest tables have some fifty


def is_name(text: str) -> None:
    """Raise ValueError for what no measurement is called."""
    foreign.name(text.encode())


def is_query(text: str) -> None:
    """Raise ValueError for what osqueryi would not take as a query."""
    if not text.strip() or text.lstrip().startswith("-") or "\0" in text:
        raise ValueError('expected SQL, like "SELECT name, user_time FROM processes"')


def is_argument(text: str) -> None:
    """Raise ValueError for what cannot be given to a program."""
    if not text or "\0" in text:
        raise ValueError("expected text that is not empty, and no NUL in it")


class Query(Settings, frozen=True):
    """`[[probe.config.queries]]`: a query or a pack's name, and what becomes of its rows.

    name: the measurement is `osquery.NAME`
    measurement: the column that is the value
    measurement_type: unit of the value: `count` or `byte`
    query: SQL; exactly one of query and pack is required
    pack: name of a query pack
    aggregation_type: kind of the value: `counter` and `meter` add up, of `gauge` and all others the last value counts
    iterations: how often the query runs; by default without end
    interval_ms: how often the query runs; by default the probe's
    run_at_start: whether it also runs at the start; by default the probe's
    """

    name: Annotated[str, msgspec.Meta(extra={"check": is_name})]
    measurement: str
    measurement_type: Unit
    query: Annotated[str | None, msgspec.Meta(extra={"check": is_query})] = None
    pack: Annotated[str | None, msgspec.Meta(extra={"check": is_argument})] = None
    aggregation_type: Aggregation = "counter"
    iterations: Annotated[int, msgspec.Meta(ge=1)] | None = None
    interval_ms: Interval | None = None
    run_at_start: bool | None = None

    def __post_init__(self) -> None:
        """Raise ValueError also where there is not one of query and pack."""
        super().__post_init__()
        if (self.query is None) == (self.pack is None):
            raise ValueError("exactly one of query and pack must be there")


class OsquerySettings(Settings, frozen=True):
    """Which queries run, how often, and by which program.

    queries: the queries, see below
    osqueryi: the program, a name or an absolute path
    osqueryi_args: its first arguments
    config_path: its configuration file
    interval_ms: how often queries run that do not set it themselves
    run_at_start: whether such queries also run at the start
    timeout_ms: how long a query may take before it is killed
    """

    queries: Annotated[list[Query], msgspec.Meta(min_length=1, max_length=64)]
    osqueryi: Annotated[str, msgspec.Meta(extra={"check": is_argument})] = "osqueryi"
    osqueryi_args: list[Annotated[str, msgspec.Meta(extra={"check": is_argument})]] = msgspec.field(
        default_factory=list
    )
    config_path: Annotated[str | None, msgspec.Meta(extra={"check": is_argument})] = None
    interval_ms: Interval = 10_000
    run_at_start: bool = False
    timeout_ms: Interval = 60_000


class Osquery(OwnProbe):
    """The probe. Of its account, events are rows; a query without an answer is one of `failed_polls`."""

    kind = "Osquery"
    Settings = OsquerySettings
    measurements = ()
    more_tags = True

    def __init__(self, settings: OsquerySettings, pipelines: Sequence[Outlet], agent: Callable[[], Account]) -> None:
        super().__init__(settings, pipelines, agent)
        self._account = ProbeAccount(self.kind)
        self._program = settings.osqueryi
        self._counting = threading.Lock()  # queries have a thread each: one that takes long holds up no other
        self._failed: dict[int, tuple[float, str]] = {}
        """By the number of the query: several may have one name."""

    def open(self) -> str:
        """Find osqueryi."""
        found = shutil.which(self.settings.osqueryi, path=PATH)
        if found is None:
            raise ProbeError(
                f"there is no program {self.settings.osqueryi} in {PATH}; install osquery (https://osquery.io), or "
                "have `osqueryi` name the program's place"
            )
        self._program = found
        return f"asks {found} {len(self.settings.queries)} queries"

    def run(self) -> None:
        """Have every query asked at its interval."""
        threads = [
            threading.Thread(target=self._ask_again, args=(at, query), name=f"query {query.name}", daemon=True)
            for at, query in enumerate(self.settings.queries)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.stopping.wait()

    def account(self) -> ProbeAccount:
        """Rows so far, of all queries."""
        with self._counting:
            return replace(self._account)

    def problems(self) -> list[str]:
        """Queries that had no answer within a minute, and why."""
        since = time.monotonic() - RECENT_S
        failed = sorted(self._failed.copy().items())
        names = [query.name for query in self.settings.queries]
        return super().problems() + [f"query {names[number]}: {why}" for number, (at, why) in failed if at > since]

    def _ask_again(self, number: int, query: Query) -> None:
        settings = self.settings
        interval = (query.interval_ms or settings.interval_ms) / 1000
        at_start = settings.run_at_start if query.run_at_start is None else query.run_at_start
        left = query.iterations
        due = time.monotonic() + (0.0 if at_start else interval)
        while left != 0 and not self.stopping.wait(max(0.0, due - time.monotonic())):
            self._ask(number, query)
            left = left - 1 if left else left
            due = max(due + interval, time.monotonic())

    def _ask(self, number: int, query: Query) -> None:
        settings = self.settings
        command = [self._program, *settings.osqueryi_args, "--json"]
        command += ["--config_path", settings.config_path] if settings.config_path else []
        command += [query.query] if query.query else ["--pack", query.pack or ""]
        try:
            found = ask(command, settings.timeout_ms / 1000, self.stopping)
            batches, malformed = batches_of(query, found, time.time_ns())
        except QueryError as error:
            if not self.stopping.is_set():
                self._fails(number, query, str(error))
            return
        except Exception as error:  # the thread's edge
            log.exception("probe Osquery: the answer to query %s could not be told", query.name)
            self._fails(number, query, repr(error))
            return
        told = self.offer(batches)
        with self._counting:
            account = self._account
            account.received += len(found)
            account.handed_over += len(found)
            account.malformed += malformed
            account.told += told
            account.records += told
        self._works(number, query)

    def _fails(self, number: int, query: Query, why: str) -> None:
        if number not in self._failed:
            log.error("probe Osquery: query %s has no answer, and is asked again: %s", query.name, why)
        self._failed[number] = time.monotonic(), why
        with self._counting:
            self._account.failed_polls += 1

    def _works(self, number: int, query: Query) -> None:
        if self._failed.pop(number, None):
            log.info("probe Osquery: query %s is answered again", query.name)


def batches_of(query: Query, found: Sequence[Any], at: int) -> tuple[list[Batch], int]:
    """Records of rows, with this timestamp (ns, UTC): a batch for each set of columns. And how many rows are none.

    A row is a table of columns; what is no text in it is told as JSON has it.
    """
    by_columns: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    malformed = 0
    for row in found:
        if isinstance(row, dict) and len(row) <= _COLUMNS:
            by_columns[tuple(row)].append(row)
        else:
            malformed += 1
    return [_batch(query, columns, rows, at) for columns, rows in by_columns.items()], malformed


def _batch(query: Query, columns: Sequence[str], rows: Sequence[dict[str, Any]], at: int) -> Batch:
    names: dict[str, str] = {}
    for column in columns:
        if column != query.measurement:
            names[column] = foreign.tag(column, ["value", *names.values()])
    measurement = Measurement(
        _PREFIX + foreign.name(query.name.encode()),
        "a row of the query's result",
        tuple(Column(name, TEXT, "as osquery printed it") for name in names.values()),
        kind(query.aggregation_type),
        unit(query.measurement_type),
        (Column("value", pa.int64(), "the column named by `measurement`; 0 if it is not a number"),),
    )
    arrays = [
        pa.array(np.full(len(rows), at)).cast(TIMESTAMP),
        pa.array([_number(row.get(query.measurement)) for row in rows], pa.int64()),
        *(foreign.text(_told(row[column]) for row in rows) for column in names),
    ]
    return Batch(measurement, pa.RecordBatch.from_arrays(arrays, schema=measurement.schema))


def _number(value: object) -> int:
    """The whole number that a column has; of others the nearest, and 0 where it has none, as in ingraind."""
    try:
        number = round(float(value)) if isinstance(value, float) else _parsed(str(value))
    except (ValueError, OverflowError):
        return 0
    return number if abs(number) <= _GREATEST else 0


def _parsed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return round(float(text))


def _told(value: Any) -> str | None:
    if value is None:
        return None
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except RecursionError:  # as deep as it can be read, which is some levels deeper than it can be written
        return None
    return harmless(text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))  # JSON may have halves

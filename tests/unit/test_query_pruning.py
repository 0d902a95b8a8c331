"""What SQL asks for decides what is opened: objects of other hours are not, whatever way the SQL says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import HOUR, NOON
from planted import Watched, plant, records

from ingrain.query.archive import Archive
from ingrain.query.engine import Asked, Engine, Limits
from ingrain.query.errors import UsageError

FIRST = NOON - 12 * HOUR
"""2025-03-01 00:00 UTC, in ns: the first of two days, with an object an hour."""

HOURS = 48


class Asking:
    """An engine, and which objects the last question opened."""

    def __init__(self, root: Path) -> None:
        self.store = Watched(str(root))
        self.engine = Engine(Archive(self.store, "it"), Limits())

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        self.store.opened.clear()
        return list(self.engine.ask(Asked(sql, (None, None))).rows())

    @property
    def hours(self) -> list[int]:
        """Those of the objects that were opened, counted from the first."""
        parts = {tuple(part.partition("=")[2] for part in key.split("/")[1:3]) for key in self.store.opened}
        begin = datetime(2025, 3, 1, tzinfo=UTC)
        at = [datetime.fromisoformat(f"{date}T{hour}:00").replace(tzinfo=UTC) for date, hour in parts]
        return sorted((one - begin) // timedelta(hours=1) for one in at)


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    root = tmp_path_factory.mktemp("archive")
    for number in range(HOURS):
        at = FIRST + number * HOUR
        tables = [records(1, at + offset, q_name=pa.array([f"n{number}"])) for offset in (0, HOUR // 2, HOUR - 1000)]
        when = datetime.fromtimestamp(at // 10**9, UTC)
        folder = f"measurement=dns.query/date={when:%Y-%m-%d}/hour={when:%H}"
        plant(root, f"web-{at}-00000000-1.parquet", pa.concat_tables(tables), folder)
    made = Asking(root)
    yield made
    made.engine.close()


@pytest.mark.parametrize(
    ("sql", "hours", "count"),
    [
        ("FROM dns_query", range(48), 144),
        ("FROM dns_query WHERE timestamp >= '2025-03-02 12:00Z'", range(36, 48), 36),
        ("FROM dns_query WHERE timestamp >= '2025-03-02 12:00Z' AND timestamp < '2025-03-02 14:00Z'", [36, 37], 6),
        (
            "FROM dns_query WHERE timestamp BETWEEN '2025-03-01' AND TIMESTAMPTZ '2025-03-01' + INTERVAL 1 HOUR",
            [0, 1],
            4,
        ),
        ("FROM dns_query WHERE '2025-03-02 23:30Z' < timestamp ORDER BY timestamp DESC LIMIT 1", [47], 1),
        ("SELECT max(q_name) FROM dns_query WHERE date_trunc('hour', timestamp) = '2025-03-01 05:00Z'", [5], 1),
        ("FROM dns_query WHERE NOT timestamp > '2025-03-01 00:10Z'", [0], 1),
        ("FROM dns_query WHERE date = '2025-03-02' AND hour IN (3, 5)", [27, 29], 6),
        ("FROM dns_query WHERE date < '2025-03-02' AND (hour = 1 OR hour > 22)", [1, 23], 6),
        ("FROM dns_query WHERE hour = '07'", [7, 31], 6),
        ("SELECT hour, count(*) FROM dns_query WHERE date = '2025-03-01' AND hour < 2 GROUP BY ALL", [0, 1], 2),
        (
            "WITH a AS (FROM dns_query) SELECT * FROM a JOIN a AS b USING (timestamp) WHERE a.hour = 9 AND b.hour = 9",
            [9, 33],
            6,
        ),
        ("FROM dns_query WHERE hour = 1 UNION ALL FROM dns_query WHERE hour = 2", [1, 2, 25, 26], 12),
        ("FROM dns_query WHERE timestamp > (SELECT max(timestamp) - INTERVAL 1 HOUR FROM dns_query)", range(48), 3),
        ("FROM query_table('dns_' || 'query') WHERE hour = 4", [4, 28], 6),
        ("FROM dns_query WHERE false", range(48), 0),
        ("SELECT 'dns_query'", range(48), 1),
    ],
)
def test_only_objects_of_hours_that_the_sql_allows_are_opened(
    asking: Asking, sql: str, hours: Sequence[int], count: int
) -> None:
    assert len(asking.rows(sql)) == count
    assert asking.hours == list(hours)


def test_a_column_that_only_objects_could_have_is_looked_for_in_those_of_its_hours(asking: Asking) -> None:
    with pytest.raises(UsageError, match="colour"):
        asking.rows("SELECT colour FROM dns_query WHERE q_name = 'n3' AND hour = 3")
    assert asking.hours == [3, 27]


@pytest.mark.parametrize("sql", ["SELECT 1", "SHOW TABLES", "FROM range(3)", "FROM duckdb_views()"])
def test_what_needs_no_table_opens_nothing(asking: Asking, sql: str) -> None:
    asking.rows(sql)
    assert asking.hours == []


@pytest.mark.parametrize(
    "sql", ["FROM dns_qery", "FROM dns_query JOIN nowhere USING (host)", "SELECT foo(q_name) FROM dns_query"]
)
def test_a_name_that_is_wrong_is_told_before_anything_is_opened(asking: Asking, sql: str) -> None:
    asking.store.opened.clear()
    with pytest.raises(UsageError, match="does not exist"):
        asking.engine.ask(Asked(sql, (None, None)))
    assert asking.hours == []


def test_tables_that_are_shown_are_the_archives(asking: Asking) -> None:
    assert asking.rows("SHOW TABLES") == [("dns.query",), ("dns_query",)]


moments = st.integers(-60, HOURS * 60 + 60).map(
    lambda minutes: f"TIMESTAMPTZ '{datetime(2025, 3, 1, tzinfo=UTC) + timedelta(minutes=minutes)}'"
)
operators = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
conditions = st.recursive(
    st.builds("timestamp {} {}".format, operators, moments)
    | st.builds("{1} {0} timestamp".format, operators, moments)
    | st.builds("timestamp BETWEEN {} AND {}".format, moments, moments)
    | st.builds("date {} DATE '2025-03-0{}'".format, operators, st.integers(1, 3))
    | st.builds("hour {} {}".format, operators, st.integers(-1, 24))
    | st.builds("hour IN ({}, {})".format, st.integers(0, 23), st.integers(0, 23))
    | st.builds("q_name {} 'n{}'".format, operators, st.integers(0, HOURS))
    | st.sampled_from(["timestamp IS NULL", "timestamp IS NOT NULL", "hour % 5 = 2", "hash(q_name) % 2 = 0"])
    | st.builds("timestamp + INTERVAL ({}) MINUTE > {}".format, st.integers(-90, 90), moments)
    | st.builds("timestamp::DATE = '2025-03-0{}'".format, st.integers(1, 3)),
    lambda parts: (
        st.builds("({} AND {})".format, parts, parts)
        | st.builds("({} OR {})".format, parts, parts)
        | st.builds("(NOT {})".format, parts)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def oracle() -> Iterator[duckdb.DuckDBPyConnection]:
    """The same records in a table."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE TABLE dns_query (timestamp TIMESTAMPTZ, date DATE, hour INTEGER, q_name VARCHAR)")
        for number in range(HOURS):
            hour = datetime(2025, 3, 1, tzinfo=UTC) + timedelta(hours=number)
            for offset in (timedelta(0), timedelta(minutes=30), timedelta(hours=1, microseconds=-1)):
                row = [hour + offset, hour.date(), hour.hour, f"n{number}"]
                connection.execute("INSERT INTO dns_query VALUES (?, ?, ?, ?)", row)
        yield connection


@settings(max_examples=30)
@given(conditions, conditions)
def test_what_is_not_opened_has_no_row_of_the_answer(
    asking: Asking, oracle: duckdb.DuckDBPyConnection, one: str, other: str
) -> None:
    of_a = re.sub(r"\b(timestamp|date|hour|q_name)\b(?! ')", r"a.\1", one)
    for sql in (
        f"SELECT timestamp, q_name FROM dns_query WHERE {one}",
        f"SELECT a.timestamp FROM dns_query a LEFT JOIN (FROM dns_query WHERE {other}) b USING (q_name) WHERE {of_a}",
        f"SELECT q_name, count(*) FROM (FROM dns_query WHERE {one}) WHERE {other} GROUP BY ALL",
        f"WITH t AS (FROM dns_query WHERE {one}) SELECT q_name FROM t UNION ALL SELECT q_name FROM t WHERE {other}",
    ):
        assert sorted(map(repr, asking.rows(sql))) == sorted(map(repr, oracle.execute(sql).fetchall())), sql


def test_days_that_the_sql_does_not_allow_are_not_even_listed(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    keys = asking.store.keys

    def noted(below: str) -> Iterator[tuple[str, int]]:
        listed.append(below)
        return keys(below)

    monkeypatch.setattr(asking.store, "keys", noted)
    asking.rows("FROM dns_query WHERE timestamp < '2025-03-01 01:00Z'")
    assert [one for one in listed if "/hour=" not in one] == ["measurement=dns.query/date=2025-03-01/"]

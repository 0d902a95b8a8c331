"""What SQL needs of an archive, found before anything of it is listed or opened: which tables, and of them which hours.

DuckDB plans the SQL over empty tables with the archive's columns, and tells which conditions it pushes down to each
scan. Of these, the ones on `timestamp`, `date` and `hour` say which hours cannot have a row that is asked for.
What is not understood of a plan narrows nothing: every hour may then have some.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

from ingrain.query.archive import HOUR, Hours, Window, within
from ingrain.query.schema import duckdb_columns, measurements, quoted, table_name

_OPTIMIZERS = (
    "expression_rewriter",
    "filter_pullup",
    "filter_pushdown",
    "cte_filter_pusher",
    "cte_inlining",
    "in_clause",
)
"""What pushes conditions down. Others conclude something from the tables' being empty, or prepare what is to be run."""

_UNKNOWN = re.compile(r"(?:Referenced column|does not have a column named) \"(.+?)\"")
_UNKNOWN_COLUMNS = 50  # after so many that are not known nothing is narrowed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TYPES = {"timestamp": "TIMESTAMP WITH TIME ZONE", "date": "DATE", "hour": "INTEGER"}
_COMPARISONS: dict[str, Callable[[int, int, int], bool]] = {
    "COMPARE_EQUAL": lambda low, high, value: low <= value <= high,
    "COMPARE_NOTEQUAL": lambda low, high, value: not low == value == high,
    "COMPARE_GREATERTHAN": lambda _low, high, value: high > value,
    "COMPARE_GREATERTHANOREQUALTO": lambda _low, high, value: high >= value,
    "COMPARE_LESSTHAN": lambda low, _high, value: low < value,
    "COMPARE_LESSTHANOREQUALTO": lambda low, _high, value: low <= value,
}
"""Whether any of the values from low to high may compare so with a constant."""

_Filters = list[tuple[str, dict[str, Any]]]
"""Of one scan: columns and what is pushed down for them. All have to hold."""


@dataclass(slots=True)
class Plan:
    """measurements: those that the SQL reads. scans: of those for which that is known, the conditions of each scan.

    unknown: columns that the SQL names and this build does not know: tags, if anything.
    """

    measurements: list[str]
    scans: dict[str, list[_Filters]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def hours(self, measurement: str, window: Window) -> Hours:
        """Which hours may have a row that is asked for, of the records of a window."""
        bounds, scans = within(window), self.scans.get(measurement)
        if not scans:
            return bounds
        return lambda hour: (
            bounds(hour) and any(all(_may(one, name, hour) for name, one in filters) for filters in scans)
        )


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make it one that plans, not one that answers."""
    every = [name for (name,) in connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()]
    off = ",".join(name for name in every if name not in _OPTIMIZERS)
    connection.execute(f"SET disabled_optimizers = '{off}'")


def plan(connection: duckdb.DuckDBPyConnection, sql: str, archived: list[str]) -> Plan:
    """What the SQL needs. connection: one that is prepared, without tables. archived: measurements that are there.

    Raises duckdb.CatalogException for a table, or a function, that does not exist.
    """
    there = dict.fromkeys([*archived, *measurements()])
    by_name = {name.casefold(): one for one in there for name in (one, table_name(one))}
    said = named(sql, there)
    create(connection, said or archived)
    try:
        read = {by_name.get(name.casefold()) for name in connection.get_table_names(sql)}
        needed = [one for one in said if one in read] or said
    except duckdb.CatalogException:
        raise
    except duckdb.Error:  # it knows no columns, which some joins need, and no name that is computed
        needed = said or archived
    planned = Plan(needed)
    for root in _planned(connection, sql, said, planned.unknown):
        for table, filters in _scans(root):
            if table.casefold() in by_name:
                planned.scans.setdefault(by_name[table.casefold()], []).append(filters)
    return planned


def create(connection: duckdb.DuckDBPyConnection, measurements: Iterable[str]) -> None:
    """Their tables, without rows, with the columns that this build knows. Of a name that two share, the last one's."""
    for one in measurements:
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in duckdb_columns(one).items())
        for name in dict.fromkeys((one, table_name(one))):
            connection.execute(f"CREATE OR REPLACE TABLE {quoted(name)} ({columns})")


def named(sql: str, there: Iterable[str]) -> list[str]:
    """The measurements whose tables' names stand in the SQL."""
    words = {one: rf"\b{re.escape(table_name(one))}\b|\"{re.escape(one)}\"" for one in there}
    return [one for one, word in words.items() if re.search(word, sql, re.IGNORECASE)]


def _planned(
    connection: duckdb.DuckDBPyConnection, sql: str, tables: Iterable[str], unknown: list[str]
) -> list[dict[str, Any]]:
    """DuckDB's plan; none where it cannot be had. Raises duckdb.CatalogException as above.

    unknown: is given the columns that are not known.
    """
    for _ in range(_UNKNOWN_COLUMNS):
        found = connection.execute("SELECT json_serialize_plan(?, optimize := true)", [sql]).fetchall()
        try:
            planned: dict[str, Any] = json.loads(found[0][0])
        except ValueError:  # it has a number that JSON has not
            break
        if not planned["error"]:
            roots: list[dict[str, Any]] = planned["plans"]
            return roots
        if planned["error_type"] == "catalog":
            connection.execute(sql)  # which raises it
        found_out = _UNKNOWN.search(planned["error_message"])
        if found_out is None:
            break
        unknown.append(found_out[1])
        for one in tables:  # a tag that only the objects know, so text
            for name in dict.fromkeys((one, table_name(one))):
                connection.execute(f"ALTER TABLE {quoted(name)} ADD COLUMN IF NOT EXISTS {quoted(unknown[-1])} VARCHAR")
    return []


def _scans(node: dict[str, Any]) -> Iterator[tuple[str, _Filters]]:
    table = node.get("function_data", {}).get("table") if node["type"] == "LOGICAL_GET" else None
    if table is not None:
        names, columns = node["names"], [one["index"] for one in node["column_indexes"]]
        pushed = [(columns[one["key"]], one["value"]) for one in node["table_filters"]["filters"]]
        yield table, [(names[at], one) for at, one in pushed if at < len(names)]
    for child in node["children"]:
        yield from _scans(child)


def _may(filters: dict[str, Any], column: str, hour: datetime) -> bool:
    """Whether a value that the column has in this hour may pass; True for all that is not known here."""
    match filters:
        case _ if column not in _TYPES:
            pass
        case {"filter_type": "LEGACY_CONJUNCTION_AND", "child_filters": parts}:
            return all(_may(one, column, hour) for one in parts)
        case {"filter_type": "LEGACY_CONJUNCTION_OR", "child_filters": parts}:
            return any(_may(one, column, hour) for one in parts)
        case {"filter_type": "LEGACY_OPTIONAL_FILTER", "child_filter": dict(part)}:
            return _may(part, column, hour)
        case {"filter_type": "LEGACY_IN_FILTER", "values": values}:
            return any(_compares("COMPARE_EQUAL", one, column, hour) for one in values)
        case {"filter_type": "LEGACY_CONSTANT_COMPARISON", "comparison_type": comparison, "constant": constant}:
            return _compares(comparison, constant, column, hour)
    return True


def _compares(comparison: str, constant: dict[str, Any], column: str, hour: datetime) -> bool:
    value, compares = constant.get("value"), _COMPARISONS.get(comparison)
    if constant["is_null"] or constant["type"]["id"] != _TYPES[column] or not isinstance(value, int) or not compares:
        return True
    return compares(*_values(column, hour), value)


def _values(column: str, hour: datetime) -> tuple[int, int]:
    """The least and the greatest value that a column has in an hour, as DuckDB counts."""
    if column == "hour":
        return hour.hour, hour.hour
    if column == "date":
        return ((hour.date() - date(1970, 1, 1)).days,) * 2
    first = (hour - _EPOCH) // _MICROSECOND
    return first, first + HOUR // _MICROSECOND - 1

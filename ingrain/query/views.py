"""Each measurement's objects as a table: `"dns.answer"`, and `dns_answer`. Only the records of its window are in it.

Types are those of this build, whatever an object has: what it lacks is null, a narrower number is widened. Columns that
this build does not know (a step's, a later version's) are there, too, where they are asked for. Where it does not know
the measurement, `value` is of the objects' type, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import duckdb

from ingrain.query.archive import Window, is_inside
from ingrain.query.files import SCHEME
from ingrain.query.schema import (
    DATE,
    HOST,
    HOST_OF_NAME,
    HOUR,
    duckdb_columns,
    literal,
    measurements,
    quoted,
    table_name,
    where,
)

_NAME = "name of the object"
"""The column that DuckDB is to put an object's name in: one that no tag has, for their keys have no spaces."""

_BY_NAME = {
    HOST.name: f"coalesce(host, regexp_extract({quoted(_NAME)}, {literal(HOST_OF_NAME)}, 1))",
    DATE.name: f"CAST(regexp_extract({quoted(_NAME)}, '/date=([0-9-]+)/', 1) AS DATE)",
    HOUR.name: f"CAST(regexp_extract({quoted(_NAME)}, '/hour=([0-9]+)/', 1) AS INTEGER)",
}
"""Columns that are made of the object's name, or may be."""


def create(
    connection: duckdb.DuckDBPyConnection, measurement: str, keys: Iterable[str], window: Window, *, all_columns: bool
) -> None:
    """Make the two views of these objects, one at least.

    all_columns: also those that this build does not know, for which every object is opened.

    Records of an object whose hour is all inside the window are not compared with it: their times may not be needed.

    Raises duckdb.Error, also where an object is none.
    """
    keys = list(keys)
    columns = duckdb_columns(measurement)
    if all_columns:
        there = _of(connection, keys)
        columns |= _unknown(there, columns)
        if measurement not in measurements():  # one of another's choice may be measured in fractions
            columns["value"] = there.get("value", columns["value"])
    wanted = ", ".join(_column(name, kind) for name, kind in columns.items() if name not in (DATE.name, HOUR.name))
    selected = ", ".join(f"{_BY_NAME[name]} AS {name}" if name in _BY_NAME else quoted(name) for name in columns)
    inside: list[str] = []
    across: list[str] = []
    for key in keys:
        (inside if is_inside(key, window) else across).append(key)
    how = f"schema = map {{{wanted}}}, filename = {literal(_NAME)}"
    parts = [
        f"SELECT {selected} FROM read_parquet({_list(objects)}, {how}){bounds}"  # noqa: S608 - made of what is here, quoted
        for objects, bounds in ((inside, ""), (across, where(window)))
        if objects
    ]
    _create(connection, measurement, " UNION ALL ".join(parts))


def create_empty(connection: duckdb.DuckDBPyConnection, measurement: str, more: Iterable[str]) -> None:
    """Make the two views of no object. more: columns that this build does not know; whatever has them, is text."""
    columns = duckdb_columns(measurement)
    columns |= _unknown(dict.fromkeys(more, "VARCHAR"), columns)
    nothing = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in columns.items())
    _create(connection, measurement, f"SELECT {nothing} WHERE false")


def _unknown(columns: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """Those of the columns that are none of the known ones, in whatever case."""
    names = {name.casefold() for name in known}
    return {name: kind for name, kind in columns.items() if name.casefold() not in names}


def _create(connection: duckdb.DuckDBPyConnection, measurement: str, source: str) -> None:
    for name in dict.fromkeys((measurement, table_name(measurement))):
        connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS {source}")


def _list(keys: list[str]) -> str:
    return f"[{', '.join(literal(SCHEME + key) for key in keys)}]"


def _of(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> dict[str, str]:
    """The columns that these objects have, all together."""
    read = f"read_parquet({_list(keys)}, union_by_name = true, hive_partitioning = false)"
    described = connection.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()  # noqa: S608 - likewise
    kinds = {str(name): str(kind) for name, kind, *_ in described}
    return {name: kind.replace("TIMESTAMPTZ_NS", "TIMESTAMPTZ") for name, kind in kinds.items()}


def _column(name: str, kind: str) -> str:
    return f"{literal(name)}: {{name: {literal(name)}, type: {literal(kind)}, default_value: NULL}}"

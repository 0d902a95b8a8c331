"""What an archive's tables are: every measurement that this build makes, and the types of its columns.

In: the measurements of grains and of the agent itself. Out: their columns, and DuckDB's names of the types.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache

import pyarrow as pa

from ingrain import grains
from ingrain.batch import Column, Measurement
from ingrain.query.archive import Window
from ingrain.registry import find_class

HOST = Column("host", pa.string(), "the host that the record is of: as it is recorded, or else by the object's name")
KERNEL = Column("kernel", pa.string(), "its kernel's release, where the step AddSystemDetails recorded it")
DATE = Column("date", pa.date32(), "day of the record, UTC: the folder that its object is in")
HOUR = Column("hour", pa.int32(), "hour of that day, UTC, likewise")
COMMON = (HOST, KERNEL, DATE, HOUR)
"""The columns that every table has beside those that its objects have."""

HOST_OF_NAME = "([^/]*)-[0-9]+-[0-9a-f]+-[0-9]+[.]parquet$"
"""The host in an object's name."""

_NUMBERS = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
}


@cache
def measurements() -> dict[str, Measurement]:
    """All that this build makes, by name, in alphabetical order."""
    places = (grains.GRAINS | grains.OWN).values()
    found = [one for place in places for one in find_class(place).measurements]
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def table_name(measurement: str) -> str:
    """A name that needs no quotes: `dns_answer` for `dns.answer`."""
    return re.sub(r"\W", "_", measurement)


def duckdb_columns(measurement: str) -> dict[str, str]:
    """Columns and DuckDB's types; of a measurement that is not known here those that every record has.

    `timestamp` is in microseconds: of nanoseconds DuckDB 2.0 can compare no time with a time zone.
    """
    known = measurements().get(measurement)
    schema = known.schema if known else pa.schema([("timestamp", pa.timestamp("ns", "UTC")), ("value", pa.int64())])
    fields = [(HOST.name, HOST.type), *((field.name, field.type) for field in schema)]
    fields += [(one.name, one.type) for one in COMMON if one is not HOST]
    return {name: duckdb_type(kind) for name, kind in fields}


def duckdb_type(kind: pa.DataType) -> str:
    """DuckDB's name of a type."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind):
        return f"{duckdb_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{quoted(one.name)} {duckdb_type(one.type)}' for one in kind)})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ"
    return _NUMBERS.get(kind, "VARCHAR")


def quoted(name: str) -> str:
    """A name as SQL has it where it may be no word."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | int | datetime) -> str:
    """A text, a number or a moment as SQL has it."""
    match value:
        case datetime():
            return f"TIMESTAMPTZ {literal(value.isoformat(sep=' '))}"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return str(value)


def where(window: Window) -> str:
    """SQL's condition for the records of that time, where there is one."""
    bounds = [
        f"timestamp {sign} {literal(when)}" for sign, when in zip((">=", "<"), window, strict=True) if when is not None
    ]
    return f" WHERE {' AND '.join(bounds)}" if bounds else ""

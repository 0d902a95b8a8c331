"""The tables of an archive for people and for other engines: a page, and statements for Athena, Spark and ClickHouse.

In: measurements. Out: text, made of their columns, so it is never another than what is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pyarrow as pa

from ingrain.batch import Measurement
from ingrain.config.problems import near
from ingrain.query.errors import UsageError
from ingrain.query.schema import DATE, HOST, HOST_OF_NAME, HOUR, KERNEL, measurements, table_name
from ingrain.text import harmless

_NUMBERS = {  # Arrow -> Athena, Spark, ClickHouse; what has no sign is given a type that has room for it
    pa.bool_(): ("boolean", "BOOLEAN", "Bool"),
    pa.int8(): ("tinyint", "TINYINT", "Int8"),
    pa.int16(): ("smallint", "SMALLINT", "Int16"),
    pa.int32(): ("int", "INT", "Int32"),
    pa.int64(): ("bigint", "BIGINT", "Int64"),
    pa.uint8(): ("int", "SMALLINT", "UInt8"),
    pa.uint16(): ("int", "INT", "UInt16"),
    pa.uint32(): ("bigint", "BIGINT", "UInt32"),
    pa.uint64(): ("bigint", "DECIMAL(20, 0)", "UInt64"),
    pa.float32(): ("float", "FLOAT", "Float32"),
    pa.float64(): ("double", "DOUBLE", "Float64"),
}
_ATHENA, _SPARK, _CLICKHOUSE = range(3)


def schema(options: argparse.Namespace) -> int:
    """`ingrain schema`; the exit code. Raises UsageError for a measurement that is not known."""
    known = measurements()
    for name in options.measurements:
        if name not in known:
            close = near(name, known)
            raise UsageError(f"there is no measurement {harmless(name)!r}.{close} There are {', '.join(known)}")
    chosen = [known[name] for name in options.measurements or known]
    sys.stdout.write(DIALECTS[options.dialect](chosen, options.location.rstrip("/")))
    return 0


def page(chosen: Sequence[Measurement], location: str = "") -> str:
    """A page in Markdown: a table a measurement."""
    del location
    parts = []
    for one in chosen:
        parts += [
            f"### {one.name}",
            "",
            f"{one.about} ({one.kind}, {one.unit})",
            "",
            "| column | type | |",
            "|---|---|---|",
        ]
        about = {column.name: column.about for column in (*one.values, *one.tags)}
        about |= {
            "timestamp": "when, UTC, in nanoseconds",
            one.named_by: "the record's own name; tags that others named are columns, too",
        }
        parts += [f"| `{field.name}` | {plain(field.type)} | {about[field.name]} |" for field in one.schema]
        parts.append("")
    return "\n".join(parts)


def athena(chosen: Sequence[Measurement], location: str) -> str:
    """Tables whose partitions are known by projection, so nothing has to be added as days go by; and views of them."""
    parts = []
    for one in chosen:
        table = table_name(one.name)
        names = [name for name, _ in _fields(one) if name != HOST.name]
        selected = ", ".join(f'"{name}"' for name in (*names, DATE.name, HOUR.name))
        parts.append(
            f"CREATE EXTERNAL TABLE {table}_files (\n{_columns(one, _ATHENA)}\n)\n"
            "PARTITIONED BY (`date` string, `hour` string)\nSTORED AS PARQUET\n"
            f"LOCATION '{location}/measurement={one.name}/'\n"
            "TBLPROPERTIES (\n"
            "  'projection.enabled' = 'true',\n"
            "  'projection.date.type' = 'date',\n"
            "  'projection.date.format' = 'yyyy-MM-dd',\n"
            "  'projection.date.range' = '2025-01-01,NOW+1DAY',\n"
            "  'projection.hour.type' = 'integer',\n"
            "  'projection.hour.range' = '0,23',\n"
            "  'projection.hour.digits' = '2',\n"
            f"  'storage.location.template' = '{location}/measurement={one.name}/date=${{date}}/hour=${{hour}}/'\n"
            ");\n"
            f"CREATE OR REPLACE VIEW {table} AS\n"
            f"SELECT coalesce(host, regexp_extract(\"$path\", '{HOST_OF_NAME}', 1)) AS host,\n"
            f"  {selected}\nFROM {table}_files;\n"
        )
    return "\n".join(parts)


def spark(chosen: Sequence[Measurement], location: str) -> str:
    """Tables, and views that make timestamps of nanoseconds, which Spark takes as whole numbers only."""
    parts = ["SET spark.sql.legacy.parquet.nanosAsLong = true;\n"]
    for one in chosen:
        table = table_name(one.name)
        columns = _columns(one, _SPARK).replace("`timestamp` TIMESTAMP", "`timestamp` BIGINT")
        parts.append(
            f"CREATE TABLE {table}_files (\n{columns},\n  `date` DATE,\n  `hour` INT\n)\n"
            f"USING PARQUET\nPARTITIONED BY (`date`, `hour`)\nLOCATION '{location}/measurement={one.name}';\n"
            f"MSCK REPAIR TABLE {table}_files;\n"
            f"CREATE VIEW {table} AS\n"
            f"SELECT coalesce(host, regexp_extract(_metadata.file_name, '{HOST_OF_NAME}', 1)) AS host,\n"
            f"  timestamp_micros(timestamp DIV 1000) AS timestamp, * EXCEPT (host, timestamp)\nFROM {table}_files;\n"
        )
    return "\n".join(parts)


def clickhouse(chosen: Sequence[Measurement], location: str) -> str:
    """Views on its table function `s3`; of a folder, `file` stands in its place."""
    return "\n".join(
        f"CREATE VIEW {table_name(one.name)} AS\n"
        f"SELECT * REPLACE (coalesce(host, extract(_file, '{HOST_OF_NAME}')) AS host),\n"
        "  toDate(extract(_path, '/date=([0-9-]+)/')) AS date, toInt32(extract(_path, '/hour=([0-9]+)/')) AS hour\n"
        f"FROM s3('{location}/measurement={one.name}/**/*.parquet', "
        f"'Parquet', $$\n{_columns(one, _CLICKHOUSE)}\n$$);\n"
        for one in chosen
    )


DIALECTS = {"markdown": page, "athena": athena, "spark": spark, "clickhouse": clickhouse}
"""`--dialect` -> what prints it."""


def _fields(one: Measurement) -> list[tuple[str, pa.DataType]]:
    """The columns that objects of a measurement may have, those of a step included."""
    return [*((field.name, field.type) for field in one.schema), *((tag.name, tag.type) for tag in (HOST, KERNEL))]


def _columns(one: Measurement, dialect: int) -> str:
    return ",\n".join(f"  `{name}` {_type(kind, dialect)}" for name, kind in _fields(one))


def _type(kind: pa.DataType, dialect: int) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind):
        item = _type(kind.value_type, dialect)
        return f"Array({item})" if dialect == _CLICKHOUSE else f"{('array', 'ARRAY')[dialect]}<{item}>"
    if pa.types.is_struct(kind):
        fields = [(one.name, _type(one.type, dialect)) for one in kind]
        if dialect == _CLICKHOUSE:
            return f"Tuple({', '.join(f'{name} {of}' for name, of in fields)})"
        return f"{('struct', 'STRUCT')[dialect]}<{', '.join(f'{name}: {of}' for name, of in fields)}>"
    if pa.types.is_timestamp(kind):
        return ("timestamp", "TIMESTAMP", "DateTime64(9, 'UTC')")[dialect]
    name = _NUMBERS.get(kind, ("string", "STRING", "String"))[dialect]
    return f"Nullable({name})" if dialect == _CLICKHOUSE else name


def plain(kind: pa.DataType) -> str:
    """A type as the page has it."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind):
        return f"list of {plain(kind.value_type)}"
    if pa.types.is_struct(kind):
        return f"({', '.join(f'{one.name} {plain(one.type)}' for one in kind)})"
    return "timestamp" if pa.types.is_timestamp(kind) else str(kind)

"""The archive's tables: what was published stays as it was, and every description of them is that of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

from ingrain import cli
from ingrain.query import tables
from ingrain.query.schema import duckdb_columns, measurements

ROOT = Path(__file__).parents[2]
PUBLISHED = Path(__file__).with_name("published.json")
"""Measurement -> column -> type, as they were ever written. Add what is new; change and remove nothing."""


def named(kind: pa.DataType) -> str:
    """A type as Parquet keeps it: whether values stand in a dictionary is each object's own affair."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind):
        return f"list<{named(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{one.name}: {named(one.type)}' for one in kind)}>"
    return str(kind)


def written() -> dict[str, dict[str, str]]:
    return {
        name: {field.name: named(field.type) for field in measurement.schema}
        for name, measurement in measurements().items()
    }


def test_no_column_that_was_published_changes_or_goes() -> None:
    now = written()
    for name, columns in json.loads(PUBLISHED.read_text()).items():
        assert now[name].items() >= columns.items(), name


def test_every_column_is_published() -> None:
    assert json.loads(PUBLISHED.read_text()) == written(), (
        "tests/unit/published.json lacks new columns: add them, and change no other"
    )


def test_the_page_is_that_of_the_code() -> None:
    page = (ROOT / "docs/archive.md").read_text()
    assert page.endswith("\n\n" + tables.page(list(measurements().values()))), (
        "docs/archive.md, from the first ### on, is what `ingrain schema` prints"
    )


@pytest.mark.parametrize("dialect", ["athena", "spark", "clickhouse"])
def test_statements_tell_each_column_of_each_measurement(dialect: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema", "--dialect", dialect, "--location", "s3://logs/eu/"]) == 0
    told = capsys.readouterr().out
    for name, measurement in measurements().items():
        (statement,) = re.findall(rf"CREATE [A-Z ]+ {name.replace('.', '_')}(?:_files)? (.*?);\n", told, re.DOTALL)[:1]
        assert re.findall(r"^  `(\w+)` ", statement, re.MULTILINE)[: len(measurement.schema)] == (
            measurement.schema.names
        )
        assert f"s3://logs/eu/measurement={name}" in statement
    for column in ("`host`", "`kernel`", "coalesce(host, ", "hour"):
        assert told.count(column) >= len(measurements())


def test_a_measurement_that_is_not_known_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema", "dns.anser"]) == 2
    assert "Did you mean dns.answer?" in capsys.readouterr().err.replace('"', "")


def test_types_are_as_wide_here_as_in_the_archive() -> None:
    answer = duckdb_columns("dns.answer")
    assert answer["process_uid"] == "UBIGINT"
    assert answer["answers"] == 'STRUCT("name" VARCHAR, "type" VARCHAR, "data" VARCHAR, "ttl" UINTEGER)[]'
    assert answer["host"] == "VARCHAR"

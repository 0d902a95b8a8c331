"""An archive is open: other engines, by the statements that `ingrain schema` prints, tell the rows that DuckDB does.

`make test-engines` fetches them; they take half a gigabyte, so `make test` leaves them out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from known import EVENTS, Row, write

from ingrain.account import Station
from ingrain.backends import layout
from ingrain.backends.archive import Archive as Backend
from ingrain.backends.archive import ArchiveSettings
from ingrain.batch import TEXT, Batch
from ingrain.query import tables
from ingrain.query.archive import Archive, Folder
from ingrain.query.engine import Asked, Engine, Limits
from ingrain.query.follow import asked
from ingrain.query.question import Said
from ingrain.query.questions import QUESTIONS
from ingrain.query.schema import COMMON, measurements, table_name

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800)]

PYTHON = Path(__file__).parents[2] / ".cache/engines/bin/python"
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
WHAT = {
    "who-accessed": "/etc/passwd",
    "talked-to": "www.example.test",
    "looked-up": "*.test",
    "tls-to": "*.test",
    "top-talkers": "",
    "ran": "c*",
    "logs": "web1",
    "new-names": "",
}


RELAYED = {
    name: [
        {**row, "timestamp": row["timestamp"] + 1_000_000, "host": host, "kernel": kernel} for row in EVENTS[name][:2]
    ]
    for name, host, kernel in (("dns.query", "relayed.test", "6.1.0-51"), ("file.open", None, None))
}
"""What came through AddSystemDetails; and what has these columns, and nothing in them."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("archive"))
    backend = Backend(ArchiveSettings(path=str(folder)), Station("archive"))
    for name, rows in RELAYED.items():
        schema = measurements()[name].schema
        for tag in ("host", "kernel"):
            schema = schema.append(pa.field(tag, TEXT))
        records = pa.RecordBatch.from_pylist([{"value": 1, **row} for row in rows], schema)
        backend.deliver(Batch(measurements()[name], records))
    backend.flush()
    backend.close()
    return folder


def run(arguments: list[str], document: Any) -> Any:
    if not PYTHON.exists():
        pytest.skip("the engines are not there: tests/engines/install.sh fetches them")
    done = subprocess.run(
        [str(PYTHON), *arguments], input=json.dumps(document), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, "\n".join(line[:1000] for line in done.stderr.splitlines() if "\tat " not in line)
    return json.loads(done.stdout)


def told(archive: Path, question: Asked) -> list[Row]:
    engine = Engine(Archive(Folder(str(archive)), str(archive)), Limits())
    answer = engine.ask(question)
    names = [name for name, _ in answer.columns]
    rows = [
        {
            name: (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
            if isinstance(value, datetime)
            else value
            for name, value in zip(names, row, strict=True)
        }
        for row in answer.rows()
    ]
    engine.close()
    return rows


def test_spark_answers_every_ready_question_with_the_rows_of_duckdb(archive: Path, tmp_path: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("there is no Java runtime, which Spark needs: apt-get install default-jre-headless")
    assert WHAT.keys() == QUESTIONS.keys()
    needed = [one for one in measurements().values() if not one.name.startswith("ingrain.")]
    for table in needed:  # Spark wants its folder to be there
        (archive / f"measurement={table.name}").mkdir(exist_ok=True)
    statements = tables.spark(needed, f"file:{archive}").split(";\n")
    questions, expected = [], []
    for name, what in WHAT.items():
        question = QUESTIONS[name]
        said = Said(what, NOON, NOON + timedelta(hours=1), timedelta(days=7))
        one = asked(question, said)
        expected.append(told(archive, one))
        windows = {
            table_name(measurement.name): [
                when.strftime("%Y-%m-%d %H:%M:%S") for when in one.windows.get(measurement.name, one.window) if when
            ]
            for measurement in needed
        }
        times = [key for key, value in one.parameters.items() if isinstance(value, datetime)]
        arguments = {key: value.isoformat() if key in times else value for key, value in one.parameters.items()}
        sql = one.ordered.replace("unnest(", "explode(").replace("struct_pack(", "struct(").replace("$", ":")
        questions.append({"sql": sql, "windows": windows, "arguments": arguments, "times": times})
    job = {
        "statements": [one.strip() for one in statements if one.strip()],
        "questions": questions,
        "warehouse": str(tmp_path),
    }
    answers = run([str(Path(__file__).with_name("spark_job.py"))], job)
    assert all(expected)
    assert dict(zip(WHAT, answers, strict=True)) == dict(zip(WHAT, expected, strict=True))


_CLICKHOUSE = """
import json, sys
from chdb.session import Session
job, session = json.load(sys.stdin), Session()
for statement in job["statements"]:
    session.query(statement)
print(json.dumps([[json.loads(line) for line in str(session.query(sql, "JSONEachRow")).splitlines()]
                  for sql in job["questions"]]))
"""


def test_clickhouse_reads_every_table_as_it_was_written(archive: Path) -> None:
    there = [measurements()[name] for name in EVENTS]
    statements = tables.clickhouse(there, str(archive)).replace("FROM s3(", "FROM file(").split(";\n")
    common = [column.name for column in COMMON]
    columns = {one.name: [*(tag.name for tag in one.tags if "." not in tag.name), *common] for one in there}
    questions = [
        f"SELECT toUnixTimestamp64Nano(timestamp) AS timestamp, value, {', '.join(columns[one.name])} "
        f"FROM {table_name(one.name)} ORDER BY timestamp SETTINGS output_format_json_quote_64bit_integers = 0"
        for one in there
    ]
    answers = run(
        ["-c", _CLICKHOUSE], {"statements": [one for one in statements if one.strip()], "questions": questions}
    )
    for name, rows in zip(EVENTS, answers, strict=True):
        expected: list[Row] = [
            {column: row.get(column) for column in ("timestamp", *columns[name])} | {"value": row.get("value", 1)}
            for row in sorted([*EVENTS[name], *RELAYED.get(name, [])], key=lambda row: row["timestamp"])
        ]
        for row in expected:
            when = datetime.fromtimestamp(int(row["timestamp"]) // 10**9, UTC)
            row |= {"host": row["host"] or layout.host(), "date": f"{when:%Y-%m-%d}", "hour": when.hour}
        none = [{key: value or None for key, value in row.items()} for row in rows]  # it has no list that is null
        assert none == [{key: value or None for key, value in row.items()} for row in expected], name


@pytest.mark.parametrize("table", ["dns_query", "file_open"])
def test_the_host_and_the_hour_of_a_record_are_the_same_in_every_engine(
    archive: Path, tmp_path: Path, table: str
) -> None:
    select = "SELECT host, kernel, CAST(date AS {}) AS date, hour, count(*) AS n"
    sql = f"{select} FROM {table} GROUP BY host, kernel, date, hour"
    expected = told(archive, Asked(sql.format("VARCHAR"), (None, None)))
    assert ({row["host"] for row in expected} == {layout.host(), "relayed.test"}) == (table == "dns_query")
    one = next(one for one in measurements().values() if table_name(one.name) == table)
    statements = [part.strip() for part in tables.spark([one], f"file:{archive}").split(";\n") if part.strip()]
    question = {"sql": sql.format("STRING"), "windows": {}, "arguments": {}, "times": []}
    job = {"statements": statements, "questions": [question], "warehouse": str(tmp_path)}
    (of_spark,) = run([str(Path(__file__).with_name("spark_job.py"))], job)
    made = tables.clickhouse([one], str(archive)).replace("FROM s3(", "FROM file(").split(";\n")
    asking = sql.format("String") + " SETTINGS output_format_json_quote_64bit_integers = 0"
    (of_clickhouse,) = run(
        ["-c", _CLICKHOUSE], {"statements": [part for part in made if part.strip()], "questions": [asking]}
    )
    assert sorted(map(str, of_spark)) == sorted(map(str, of_clickhouse)) == sorted(map(str, expected))

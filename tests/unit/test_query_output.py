"""How answers are written: exactly for programs, aligned for people, harmless for terminals and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known import NOON
from planted import plant, query, records
from wcwidth import wcswidth

from ingrain import cli
from ingrain.query import output
from ingrain.text import bytes_of, safe


def said(capsys: pytest.CaptureFixture[str], archive: Path, sql: str, *options: str) -> str:
    assert cli.main(["query", sql, "--archive", str(archive), *options]) == 0
    return capsys.readouterr().out


def test_a_decimal_is_a_number_in_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sql = "SELECT 1.5 AS a, CAST(3 AS DECIMAL(18, 3)) AS b, sum(range) AS c, [0.25] AS d FROM range(3)"
    assert query(capsys, tmp_path, sql)[0] == [{"a": 1.5, "b": 3, "c": 3, "d": [0.25]}]
    big = "SELECT CAST('12345678901234567890123456789012345678' AS DECIMAL(38, 0)) AS n"
    assert query(capsys, tmp_path, big)[0] == [{"n": 12345678901234567890123456789012345678}]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_dates_in_sql_are_the_same_wherever_one_asks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    late = NOON + 11 * 3_600_000_000_000 + 1
    plant(tmp_path, "a-1-00000000-1.parquet", records(1, late), "measurement=dns.query/date=2025-03-01/hour=23")
    monkeypatch.setenv("TZ", zone)
    sql = "SELECT date_trunc('day', timestamp) AS day, hour(timestamp) AS hour, timestamp::DATE AS date FROM dns_query"
    rows, _ = query(capsys, tmp_path, sql)
    assert rows == [{"day": "2025-03-01T00:00:00.000000Z", "hour": 23, "date": "2025-03-01"}]
    assert "2025-03-01 00:00:00.000000+00:00" in said(capsys, tmp_path, sql)


def test_dates_in_sql_and_times_in_tables_are_of_the_zone_that_is_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    late = NOON + 11 * 3_600_000_000_000
    plant(tmp_path, "a-1-00000000-1.parquet", records(1, late), "measurement=dns.query/date=2025-03-01/hour=23")
    sql = "SELECT date_trunc('day', timestamp) AS day, hour(timestamp) AS hour FROM dns_query"
    zone = ("--timezone", "Asia/Kolkata")
    assert query(capsys, tmp_path, sql, *zone)[0] == [{"day": "2025-03-01T18:30:00.000000Z", "hour": 4}]
    assert "2025-03-02 00:00:00.000000+05:30" in said(capsys, tmp_path, sql, *zone)
    count = "SELECT count(*) AS n FROM dns_query"
    for since, expected in (("2025-03-02 04:30", 1), ("2025-03-02 04:31", 0)):
        assert query(capsys, tmp_path, count, "--since", since, *zone)[0] == [{"n": expected}]
    assert query(capsys, tmp_path, "SELECT 1", "--timezone", "Mars/Olympus", expected=2)[1].startswith(
        "ingrain: --timezone: there is no time zone 'Mars/Olympus'"
    )


def test_columns_are_aligned_by_what_a_terminal_shows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = ["plain", "日本語の名前", "e\u0301tude", "😀", "w" * 100, "語" * 50, "ab\u200bcd"]
    plant(tmp_path, "a-1-00000000-1.parquet", records(len(names), q_name=pa.array([safe(n.encode()) for n in names])))
    lines = said(capsys, tmp_path, "SELECT q_name, value FROM dns_query").splitlines()
    assert len({wcswidth(line) for line in lines[:-1]}) == 1
    assert any(line.startswith("語" * 29 + "…") for line in lines)
    assert any(line.startswith("ab\\u200bcd ") for line in lines)


FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "＝1", "x;=1+1", "\t=1", "\r=1"]  # noqa: RUF001 - what Excel takes too


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_is_a_formula_in_csv_and_all_can_be_had_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    table = records(q_name=pa.array([safe(text.encode())]), **{text: pa.array([[text]])})
    plant(tmp_path, "a-1-00000000-1.parquet", table)
    out = said(capsys, tmp_path, "SELECT q_name, -5 AS number, COLUMNS('[^a-z_]') FROM dns_query", "--format", "csv")
    head, row = csv.reader(io.StringIO(out))
    assert not [cell for cell in (*head, row[0], row[2]) if re.search(r"(^|;)[=+@＝\t\r-]", cell)]  # noqa: RUF001
    assert row[1] == "-5"
    assert bytes_of(row[0]) == text.encode()
    assert [bytes_of(one) for one in json.loads(row[2])] == [text.encode()]


@given(st.text(alphabet=st.sampled_from("=+-@;\\x3d\u200bab ,\"'\n") | st.characters(), max_size=20))
def test_csv_gives_back_every_text(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass") if text.isprintable() else text.encode("utf-8", "replace")
    cell = output._csv(safe(raw))
    assert bytes_of(cell) == raw
    assert not cell.startswith(("=", "+", "-", "@"))
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([cell, "end"])
    assert next(csv.reader(io.StringIO(buffer.getvalue()))) == [cell, "end"]


def test_values_of_every_type_are_the_same_in_csv_and_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sql = "SELECT 1 AS a, -1.5 AS b, true AS c, ['x', '=y'] AS d, {'k': 2} AS e, NULL AS f, 'NaN'::DOUBLE AS g"
    (row,), _ = query(capsys, tmp_path, sql)
    assert row == {"a": 1, "b": -1.5, "c": True, "d": ["x", "=y"], "e": {"k": 2}, "f": None, "g": None}
    (told,) = csv.DictReader(io.StringIO(said(capsys, tmp_path, sql, "--format", "csv")))
    assert (told["a"], told["b"], told["c"], told["f"], told["g"]) == ("1", "-1.5", "true", "", "")
    assert (json.loads(told["d"]), json.loads(told["e"])) == (row["d"], row["e"])

"""`ingrain query`: SQL to an archive that may hold anything; nothing else is read, and nothing is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from known import CURL, HOUR, NOON, WHEN, write
from planted import FOLDER, Watched, damaged, plant, query, records

from ingrain import cli
from ingrain.query.archive import Archive
from ingrain.query.engine import Asked, Engine, Limits
from ingrain.query.question import like
from ingrain.query.questions import QUESTIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("archive"))


def test_each_measurement_is_a_table_by_both_of_its_names(capsys: pytest.CaptureFixture[str], archive: Path) -> None:
    for name in ("dns_query", '"dns.query"', "main.DNS_query"):
        rows, err = query(capsys, archive, f"SELECT count(*) AS n FROM {name}")
        assert (rows, err) == ([{"n": 3}], "")
    tables = {row["name"] for row in query(capsys, archive, "SHOW TABLES")[0]}
    assert {"dns.query", "dns_query", "container_stderr"} <= tables
    columns = {row["column_name"]: row["column_type"] for row in query(capsys, archive, "DESCRIBE file_read")[0]}
    assert (columns["timestamp"], columns["process_uid"]) == ("TIMESTAMP WITH TIME ZONE", "UBIGINT")


def test_measurements_that_share_a_table_s_name_are_told_apart_by_their_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("a-b", "a_b"):
        folder = f"measurement=osquery.{name}/date=2025-03-01/hour=12"
        plant(tmp_path, "h-1-00000000-1.parquet", records(x=pa.array([name])), folder)
    tables = {row["name"] for row in query(capsys, tmp_path, "SHOW TABLES")[0]}
    assert {"osquery.a-b", "osquery.a_b", "osquery_a_b"} <= tables
    for name, x in (('"osquery.a-b"', "a-b"), ('"osquery.a_b"', "a_b"), ("osquery_a_b", "a_b")):
        assert query(capsys, tmp_path, f"SELECT x FROM {name}")[0] == [{"x": x}]


def test_only_records_of_the_window_are_in_the_tables(capsys: pytest.CaptureFixture[str], archive: Path) -> None:
    sql = "SELECT count(*) AS n FROM file_open"
    for options, count in (
        ((), 4),
        (WHEN, 2),
        (("--since", "2025-03-01T12:00:00.000001Z"), 2),
        (("--until", "2025-03-01T12:00:00Z"), 1),
        (("--since", "2025-03-01T13:00:00Z"), 1),
    ):
        assert query(capsys, archive, sql, *options)[0] == [{"n": count}]


def test_objects_of_other_hours_and_measurements_are_not_opened(tmp_path: Path) -> None:
    watched = Watched(str(write(tmp_path)))
    engine = Engine(Archive(watched, "it"), Limits())
    question = QUESTIONS["who-accessed"]
    window = (datetime(2025, 3, 1, 12, 10, tzinfo=UTC), datetime(2025, 3, 1, 12, 20, tzinfo=UTC))
    answer = engine.ask(Asked(question.sql, window, like("path", "/etc/passwd"), all_columns=False))
    assert list(answer.rows()) == []
    engine.close()
    assert {key.split("/")[0].partition("=")[2].partition(".")[0] for key in watched.opened} == {"file"}
    assert {key.split("/", 1)[1][:23] for key in watched.opened} == {"date=2025-03-01/hour=12"}


def test_a_tag_of_objects_of_another_time_is_no_mistake_where_there_is_none_of_the_asked_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plant(tmp_path, "a-1-00000000-1.parquet", records(colour=pa.array(["red"])))
    sql = "SELECT q.colour, count(*) AS n FROM dns_query AS q WHERE colour <> 'blue' GROUP BY ALL"
    assert query(capsys, tmp_path, sql)[0] == [{"colour": "red", "n": 1}]
    rows, err = query(capsys, tmp_path, sql, "--since", "2025-03-02")
    assert (rows, err) == ([], "ingrain: in that time the archive has nothing of dns.query\n")


def test_what_an_older_version_did_not_write_is_null_and_what_a_newer_one_does_is_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plant(tmp_path, "old-1-00000000-1.parquet", records(q_name=pa.array(["old"])))
    plant(
        tmp_path,
        "new-2-00000000-1.parquet",
        records(q_name=pa.array(["new"]), uid=pa.array([7], pa.uint8()), colour=pa.array(["red"])),
    )
    rows, err = query(capsys, tmp_path, "SELECT host, q_name, uid, colour, d_port FROM dns_query ORDER BY host")
    assert rows == [
        {"host": "new", "q_name": "new", "uid": 7, "colour": "red", "d_port": None},
        {"host": "old", "q_name": "old", "uid": None, "colour": None, "d_port": None},
    ]
    assert not err


@pytest.mark.parametrize("order", [(1.75, 2), (2, 1.75)])
def test_fractions_of_a_measurement_that_is_not_known_here_stay_what_they_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, order: tuple[float, float]
) -> None:
    for at, value in enumerate(order):
        table = records().set_column(1, "value", pa.array([value]))
        plant(tmp_path, f"h-{at}-00000000-1.parquet", table, "measurement=osquery.load/date=2025-03-01/hour=12")
    assert query(capsys, tmp_path, "SELECT sum(value) AS n FROM osquery_load")[0] == [{"n": 3.75}]
    columns = {row["column_name"]: row["column_type"] for row in query(capsys, tmp_path, "DESCRIBE osquery_load")[0]}
    assert columns["value"] == "DOUBLE"


def test_the_host_that_a_record_tells_counts_before_that_of_its_object(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plant(tmp_path, "relay-1-00000000-1.parquet", records(2, host=pa.array(["web", None])))
    rows, _ = query(capsys, tmp_path, "SELECT host FROM dns_query ORDER BY 1")
    assert [row["host"] for row in rows] == ["relay", "web"]


def test_a_tag_that_is_called_as_duckdb_calls_an_object_s_name_changes_no_host_and_no_hour(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lie = "/date=1999-01-01/hour=03/other-1-ab-1.parquet"
    plant(tmp_path, "web-1-00000000-1.parquet", records(filename=pa.array([lie])))
    plant(tmp_path, "web-2-00000000-1.parquet", records())
    rows, _ = query(capsys, tmp_path, "SELECT host, date, hour, filename FROM dns_query ORDER BY filename")
    told = {"host": "web", "date": "2025-03-01", "hour": 12}
    assert rows == [{**told, "filename": lie}, {**told, "filename": None}]


@pytest.mark.parametrize("asked", ["query", "ask"])
def test_objects_that_cannot_be_read_are_left_out_and_counted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, asked: str
) -> None:
    whole = plant(tmp_path, "a-1-00000000-1.parquet", records(1000, q_name=pa.array(["x.test"] * 1000)))
    sound = whole.read_bytes()
    plant(tmp_path, "b-1-00000000-1.parquet", b"")
    plant(tmp_path, "c-1-00000000-1.parquet", b"no Parquet at all, but long enough to be taken for it")
    plant(tmp_path, "d-1-00000000-1.parquet", sound[: len(sound) // 2])
    plant(tmp_path, "e-1-00000000-1.parquet", damaged(sound))
    plant(tmp_path, "f-1-00000000-1.parquet", records(value=pa.array(["x"])).select(["value"]))
    plant(tmp_path, "g-1-00000000-1.jsonl.gz", b"")
    plant(tmp_path, "README", b"")
    plant(tmp_path, ".h-1-00000000-1.parquet.tmp", b"being written")
    plant(tmp_path, "i-1-00000000-1.parquet", sound, "measurement=dns.query/date=2025-02-30/hour=12")
    plant(tmp_path, "j-1-00000000-1.parquet", sound, "measurement=dns.query/date=2025-03-01/hour=99")
    plant(tmp_path, "k-1-00000000-1.parquet", sound, "measurement='; DROP/date=2025-03-01/hour=12")
    (tmp_path / FOLDER / "l-1-00000000-1.parquet").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / FOLDER / "m-1-00000000-1.parquet")
    if asked == "query":
        rows, err = query(capsys, tmp_path, "SELECT q_name, value FROM dns_query", *WHEN, expected=3)
    else:
        assert cli.main(["ask", "looked-up", "x.test", *WHEN, "--archive", str(tmp_path), "--format", "json"]) == 3
        out, err = capsys.readouterr()
        rows = [json.loads(line) for line in out.splitlines()]
    assert [row["q_name"] for row in rows] == ["x.test"] * 1000
    assert "ingrain: left out 5 objects that cannot be read\n" in err
    assert f"  it is no Parquet, or only a part of it: {FOLDER}/b-1-00000000-1.parquet, " in err
    assert "ingrain: left out 1 object of JSON lines" in err
    assert "ingrain: left out 3 objects not part of an archive\n" in err
    assert err.endswith("ingrain: the answer is incomplete\n")


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("COPY (SELECT 1) TO '/tmp/x'", "expected one SELECT"),
        ("SELECT 1; SELECT 2", "expected one SELECT"),
        ("", "expected one SELECT"),
        ("SET threads = 1", "expected one SELECT"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'x'", "expected one SELECT"),
        ("ATTACH '/tmp/x.db'", "expected one SELECT"),
        ("WITH a AS (COPY (SELECT 1) TO 'archive://x') SELECT * FROM a", "COPY"),
        ("SELECT * FROM query('COPY (SELECT 1) TO ''archive://x''')", "SELECT"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM read_csv('http://127.0.0.1:9/')", "disabled"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM glob('/*')", "disabled by configuration"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nowhere", "The archive has "),
        ("SELECT q_nam FROM dns_query", "q_name"),
        ("SELECT $x", "parameters: x"),
    ],
)
def test_sql_reads_the_archive_and_can_do_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sql: str, told: str
) -> None:
    plant(tmp_path, "a-1-00000000-1.parquet", records(q_name=pa.array(["x"])))
    before = sorted(tmp_path.rglob("*"))
    _, err = query(capsys, tmp_path, sql, expected=2)
    assert err.startswith("ingrain: ")
    assert told in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("end", ["", ";", "; -- é; all", " /* ; */ ; ;; /* of\nit */ -- ;\n", "\n-- ;"])
def test_semicolons_and_comments_may_follow(capsys: pytest.CaptureFixture[str], tmp_path: Path, end: str) -> None:
    for sql in ("SELECT 'é;' AS a", "-- é\nSELECT 'é;' AS a"):
        assert query(capsys, tmp_path, sql + end)[0] == [{"a": "é;"}]


def test_nothing_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\u202e\r\n" + "long" * 50_000
    plant(tmp_path, "a-1-00000000-1.parquet", records(q_name=pa.array([evil]), **{"\x1b[2J": pa.array([[evil]])}))
    for form in ("table", "csv", "json"):
        assert cli.main(["query", "SELECT * FROM dns_query", "--archive", str(tmp_path), "--format", form]) == 0
        out, err = capsys.readouterr()
        assert set("\x1b\x07\u202e\r").isdisjoint(out + err)
        assert "\\x1b]0;owned" in out.replace("\\\\", "\\")
    _, err = query(capsys, tmp_path, 'SELECT "\x1b[2J\n" FROM dns_query', expected=2)
    assert "\x1b" not in err


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


AT_THE_END = "SELECT TIMESTAMPTZ '9999-12-31 23:00+00' AS t"
LONG = "SELECT max(timestamp) - min(timestamp) AS span FROM dns_query"


@pytest.mark.parametrize(
    ("sql", "options", "told"),
    [
        (
            LONG,
            ("--format", "parquet", "--output", "{}/s.parquet"),
            "Parquet has no such type as a column of the answer; cast it",
        ),
        ("SELECT 'caf\udce9'", (), "the SQL is not in UTF-8"),
        ("SELECT 1", ("--memory-limit", "\udcff"), "--memory-limit is not in UTF-8"),
        (
            "SELECT 1",
            ("--since", "0001-01-01T00:00Z", "--until", "0001-01-01T00:00Z"),
            "no time is left from 0001-01-01",
        ),
        (AT_THE_END, ("--timezone", "Asia/Tokyo"), "a time is not in the years 1 to 9999 of that zone"),
    ],
)
@pytest.mark.usefixtures("new_york")
def test_what_cannot_be_done_is_told_and_no_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sql: str, options: tuple[str, ...], told: str
) -> None:
    archive = tmp_path / "archive"
    plant(archive, "a-1-00000000-1.parquet", records())
    _, err = query(capsys, archive, sql, *(one.format(tmp_path) for one in options), expected=2)
    assert f"ingrain: {told}" in err
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_sql_from_standard_input_that_is_not_in_utf8_is_told(tmp_path: Path, locale: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ingrain", "query", "-", "--archive", str(tmp_path)],
        input=b"SELECT 'caf\xe9'",
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": locale},
    )
    assert (done.returncode, done.stderr) == (2, b"ingrain: the SQL is not in UTF-8\n")


@pytest.mark.parametrize("name", ["with 'quotes' and \"those\"", "[a]*?", "naïve ☃", "archive:"])
def test_a_folder_may_have_any_name(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    plant(tmp_path / name, "a-1-00000000-1.parquet", records())
    assert query(capsys, tmp_path / name, "SELECT count(*) AS n FROM dns_query")[0] == [{"n": 1}]


def test_an_answer_larger_than_its_memory_says_what_to_do(capsys: pytest.CaptureFixture[str], archive: Path) -> None:
    sql = "SELECT list(a ORDER BY b) FROM (SELECT range AS a, hash(range) AS b FROM range(20000000))"
    _, err = query(capsys, archive, sql, "--memory-limit", "60MB", expected=1)
    assert "60MB of memory are not enough" in err
    assert "--memory-limit" in err


HEEDING = "--default-signal=INT,TERM,HUP"
"""A shell has what it runs in the background ignore some."""


@pytest.mark.parametrize(
    ("heeding", "sent", "code"),
    [
        ([HEEDING], [signal.SIGINT], 130),
        ([HEEDING], [signal.SIGTERM], 143),
        ([HEEDING], [signal.SIGHUP, signal.SIGTERM], 129),
        ([HEEDING, "--ignore-signal=HUP"], [signal.SIGHUP, signal.SIGTERM], 143),
    ],
)
def test_a_signal_ends_a_long_question_and_leaves_nothing_behind(
    archive: Path, tmp_path: Path, heeding: list[str], sent: list[signal.Signals], code: int
) -> None:
    sql = "SELECT sum(hash(a)) FROM range(1000000000000) AS t(a)"
    command = ["env", *heeding, sys.executable, "-m", "ingrain", "query", sql, "--archive", str(archive)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as asking:
        try:
            while not list(tmp_path.glob("ingrain-query-*")) and asking.poll() is None:
                time.sleep(0.01)
            for one in sent:
                asking.send_signal(one)
            out, err = asking.communicate(timeout=120)
        finally:
            asking.kill()
    assert (asking.returncode, out, err) == (code, b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "none" / "x.csv"
    _, err = query(capsys, archive, "SELECT 1", "--output", str(gone), expected=1)
    assert f"{gone} cannot be written: No such file or directory" in err
    assert list(tmp_path.iterdir()) == []


def test_without_duckdb_the_extra_is_named_and_the_rest_works(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['duckdb'] = None; from ingrain import cli; "
        f"print(cli.main(['query', 'SELECT 1', '--archive', {str(tmp_path)!r}]), "
        f"cli.main(['check', {str(ROOT / 'config/archive.toml')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "pip install './ingrain-VERSION-PLATFORM.whl[query]'" in done.stderr
    assert done.stdout.splitlines()[-1] == "1 0"


def test_an_agent_loads_nothing_of_what_asks_archives() -> None:
    code = "import sys; from ingrain import cli; print(*sorted(one for one in sys.modules if 'ingrain.query' in one))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "ingrain.query ingrain.query.arguments ingrain.query.errors\n"


def test_an_archive_of_many_hosts_is_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(tmp_path, {"dns.query": [{**CURL, "timestamp": NOON + n * HOUR, "q_name": "x"} for n in range(3)]})
    for at, path in enumerate(sorted(tmp_path.rglob("*.parquet"))):
        path.rename(path.with_name(f"host{at}-" + path.name.split("-", 1)[1]))
    rows, _ = query(capsys, tmp_path, "SELECT host FROM dns_query ORDER BY timestamp")
    assert [row["host"] for row in rows] == ["host0", "host1", "host2"]

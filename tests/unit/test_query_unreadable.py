"""Objects that cannot be read: an answer without them says so, by its exit code too; and finding them costs little."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from known import WHEN
from planted import FOLDER, Watched, damaged, plant, query, records

from ingrain import cli
from ingrain.query.archive import Archive
from ingrain.query.engine import Answer, Asked, Engine, Limits

NAMED = records(1000, q_name=pa.array(["x.test"] * 1000))


def denied(archive: Path, *names: str) -> None:
    """Nobody but another user may read these."""
    for path in (archive / FOLDER).iterdir():
        if path.name in names:
            if os.geteuid() == 0:
                os.chown(path, 65534, 65534)
            path.chmod(0 if os.geteuid() else stat.S_IRUSR)


def as_a_user(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line, without the rights to read what is others'."""
    command = [sys.executable, "-m", "ingrain", *map(str, words)]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "words",
    [
        ("query", "SELECT count(*) FROM dns_query"),
        ("ask", "looked-up", "x.test", *WHEN),
        ("ask", "new-names", *WHEN, "--format", "json"),
    ],
)
def test_where_no_object_may_be_read_there_is_no_answer(tmp_path: Path, words: tuple[str, ...]) -> None:
    names = [f"{host}-1-00000000-1.parquet" for host in "abcd"]
    for name in names:
        plant(tmp_path, name, NAMED)
    denied(tmp_path, *names)
    done = as_a_user(*words, "--archive", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "none of the 4 objects that this needs can be read:\n  Permission denied: " in done.stderr
    assert f"{FOLDER}/a-1-00000000-1.parquet" in done.stderr
    assert " and 1 more\n" in done.stderr


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_where_some_may_not_be_read_the_answer_is_incomplete(tmp_path: Path, form: str) -> None:
    plant(tmp_path, "a-1-00000000-1.parquet", NAMED)
    plant(tmp_path, "b-1-00000000-1.parquet", NAMED)
    denied(tmp_path, "b-1-00000000-1.parquet")
    done = as_a_user("query", "SELECT count(*) AS n FROM dns_query", "--archive", tmp_path, "--format", form)
    assert done.returncode == 3
    assert "1000" in done.stdout
    assert done.stderr == (
        "ingrain: left out 1 object that cannot be read\n"
        f"  Permission denied: {FOLDER}/b-1-00000000-1.parquet\n"
        "ingrain: the answer is incomplete\n"
    )


def test_an_archive_of_json_lines_is_no_empty_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plant(tmp_path, "a-1-00000000-1.jsonl.gz", b"")
    for words in (("ask", "looked-up", "x", *WHEN), ("query", "FROM dns_query"), ("ask", "logs", "x", "--follow")):
        folder = FOLDER.replace("dns.query", "container.stdout") if "logs" in words else FOLDER
        plant(tmp_path, "b-1-00000000-1.jsonl.gz", b"", folder)
        options = ("--since", "2025-03-01") if "logs" in words else ()
        assert cli.main([*words, *options, "--archive", str(tmp_path)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "are JSON lines, which cannot be queried: have the pipeline write Parquet" in err
    plant(tmp_path, "c-1-00000000-1.parquet", NAMED)
    rows, err = query(capsys, tmp_path, "SELECT count(*) AS n FROM dns_query", expected=3)
    assert rows == [{"n": 1000}]
    assert "left out 2 objects of JSON lines" in err


def test_files_of_others_make_no_answer_incomplete(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plant(tmp_path, "a-1-00000000-1.parquet", NAMED)
    plant(tmp_path, "_SUCCESS", b"")
    _, err = query(capsys, tmp_path, "SELECT count(*) FROM dns_query")
    assert err == "ingrain: left out 1 object not part of an archive\n"


@contextmanager
def asked(archive: Path, sql: str) -> Iterator[tuple[Answer, dict[str, int]]]:
    """An answer, and how often each object was opened for it."""
    watched = Watched(str(archive))
    engine = Engine(Archive(watched, "it"), Limits())
    try:
        answer = engine.ask(Asked(sql, (None, None)))
        yield answer, {name: watched.opened.count(name) for name in dict.fromkeys(watched.opened)}
    finally:
        engine.close()


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_damaged_objects_have_the_others_looked_at_no_more_than_once_again_each(tmp_path: Path, bad: int) -> None:
    sql = "SELECT count(*) AS n, max(q_name) FROM dns_query"
    for number in range(20):
        plant(tmp_path, f"a{number}-1-00000000-1.parquet", NAMED)
    with asked(tmp_path, sql) as (_, before):
        pass
    for number in range(bad):
        plant(tmp_path, f"b{number}-1-00000000-1.parquet", b"no Parquet at all, but long enough for it")
    with asked(tmp_path, sql) as (answer, after):
        assert list(answer.rows()) == [(20_000, "x.test")]
        assert len(answer.unreadable) == bad
        tries = min(bad, 2)  # as they are, and without the one that is named; then without all that have no footer
        assert all(after[key] <= count * (tries + 1) + (bad > 1) for key, count in before.items())


def test_an_object_whose_pages_are_damaged_is_found_among_the_others(tmp_path: Path) -> None:
    sound = plant(tmp_path, "a-1-00000000-1.parquet", NAMED).read_bytes()
    for number in range(5):
        plant(tmp_path, f"a{number}-1-00000000-1.parquet", sound)
    plant(tmp_path, "b-1-00000000-1.parquet", damaged(sound))
    plant(tmp_path, "c-1-00000000-1.parquet", damaged(sound))
    with asked(tmp_path, "SELECT count(*), max(q_name) FROM dns_query") as (answer, _):
        assert list(answer.rows()) == [(6000, "x.test")]
        assert sorted(answer.unreadable) == [f"{FOLDER}/{name}-1-00000000-1.parquet" for name in "bc"]


def test_a_column_of_another_type_is_told_with_its_object(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plant(tmp_path, "a-1-00000000-1.parquet", NAMED)
    plant(tmp_path, "b-1-00000000-1.parquet", records(uid=pa.array(["root"])))
    _, err = query(capsys, tmp_path, "SELECT max(uid) FROM dns_query", expected=3)
    assert 'Error while reading it: failed to cast column "uid"' in err
    assert f": {FOLDER}/b-1-00000000-1.parquet\n" in err

"""Rows of osqueryi become records as in ingraind; one that fails, hangs or floods costs its query alone, and is told.

osqueryi is not to be had from registries: a stand-in speaks its format (tests/unit/osqueryi.py).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from doors import Door, nothing, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import until

from ingrain.batch import Kind
from ingrain.own import osqueryi
from ingrain.own.osquery import Osquery, OsquerySettings, Query, batches_of
from ingrain.own.osqueryi import QueryError, ask
from ingrain.probe import ProbeError

STAND_IN = Path(__file__).with_name("osqueryi.py")
TIMES = "SELECT name, system_time, user_time FROM processes"


def query(sql: str | None = TIMES, **others: Any) -> Query:
    others = {"name": "times", "measurement": "user_time", "measurement_type": "count"} | others
    return Query(query=sql, **others)


def osquery(door: Door, *queries: Query, **others: Any) -> Osquery:
    chosen: dict[str, Any] = {"osqueryi": str(STAND_IN), "interval_ms": 20, "run_at_start": True} | others
    return Osquery(OsquerySettings(queries=list(queries), **chosen), [door], nothing)


def asked(sql: str, timeout_s: float = 60.0) -> list[Any]:
    return ask([str(STAND_IN), "--json", sql], timeout_s, threading.Event())


def test_a_row_is_a_record_its_measurement_the_value_and_its_other_columns_tags() -> None:
    door = Door()
    made = osquery(door, query(iterations=1, aggregation_type="Gauge", measurement_type="BYTE"))
    made.start()
    until("the answer", lambda: door.batches)
    made.finish()
    assert door.rows == [
        {"name": "systemd", "value": 17220, "system_time": "23470"},
        {"name": "kworker/0:1", "value": 0, "system_time": "5"},
        {"name": r"a\x1b[2Jb\xed\xa0\x80", "value": (1 << 63) - 1, "system_time": "-3"},
    ]
    (batch,) = door.batches
    assert batch.measurement.name == "osquery.times"
    assert (batch.measurement.kind, batch.measurement.unit) == (Kind.GAUGE, "bytes")
    account = made.account()
    assert (account.received, account.told, account.records, account.malformed) == (3, 3, 3, 0)


def test_a_pack_s_answers_are_records_each_with_its_columns() -> None:
    door = Door()
    made = osquery(door, query(None, pack="it", measurement="b", iterations=1))
    made.start()
    until("the answers", lambda: len(door.batches) == 2)
    made.finish()
    assert [row | {"name": ""} for row in door.rows] == [
        {"name": "", "value": 0, "a": "1", "pack": "first"}, {"name": "", "value": 2}, {"name": "", "value": 3},
    ]  # fmt: skip


def test_each_query_has_its_interval_and_number_and_none_waits_for_another() -> None:
    door = Door()
    often, once = query(iterations=3), query(name="once", iterations=1)
    later = query(name="later", run_at_start=False, interval_ms=3_600_000)
    slow = query("SELECT sleep", name="slow")
    made = osquery(door, slow, often, once, later)
    made.start()
    until("all answers", lambda: made.account().received == 12)
    time.sleep(0.1)
    made.finish()
    names = [batch.measurement.name for batch in door.batches]
    assert sorted(names) == ["osquery.once", "osquery.times", "osquery.times", "osquery.times"]


def test_a_query_that_fails_is_told_until_it_is_answered_and_others_go_on(tmp_path: Path) -> None:
    link, door = tmp_path / "osqueryi", Door()
    link.write_text("#!/bin/sh\nexit 3\n")
    link.chmod(0o755)
    made = osquery(door, query(), osqueryi=str(link))
    made.start()
    until("a failure", lambda: made.problems() == ["query times: it ended with exit code 3: it said nothing"])
    assert made.account().failed_polls > 0
    assert made.account().received == 0
    (tmp_path / "new").symlink_to(STAND_IN)
    (tmp_path / "new").rename(link)
    until("an answer", lambda: door.batches)
    until("no problem", lambda: not made.problems())
    made.finish()


def test_of_two_queries_of_one_name_the_one_that_works_does_not_hide_the_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = osquery(Door(), query("SELECT wrong"), query())
    made.start()
    until("some rounds", lambda: made.account().failed_polls >= 3 and made.account().received >= 9)
    assert any("no such column: wrong" in problem for problem in made.problems())
    made.finish()
    assert caplog.text.count("has no answer") == 1
    assert "answered again" not in caplog.text


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT wrong", r"exit code 1: Error: no such column: wrong\\x1b\[2J"),
        ("SELECT prose", "no JSON: Using a virtual database"),
        ("SELECT table", "no array of rows"),
        ("SELECT endless", r"more than 1 MiB; a LIMIT"),
    ],
)
def test_an_answer_that_is_none_says_why(sql: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osqueryi, "OUTPUT_BYTES", 1 << 20)
    with pytest.raises(QueryError, match=said):
        asked(sql)


def test_no_rows_are_no_records_and_no_failure() -> None:
    assert asked("SELECT nothing") == []
    assert batches_of(query(), [], 0) == ([], 0)


def test_a_query_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    before = children()
    for sql in ("SELECT sleep", "SELECT child"):
        with pytest.raises(QueryError, match=r"did not answer within 0\.5 s"):
            asked(sql, 0.5)
    until("their end", lambda: children() == before)


def children() -> set[int]:
    """Processes of the stand-in that run; what was killed and nobody has waited for yet does not."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and str(STAND_IN).encode() in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_the_end_does_not_wait_for_a_query() -> None:
    made = osquery(Door(), query("SELECT sleep"))
    made.start()
    until("it to run", children)
    made.finish()
    assert not children()
    assert made.account().failed_polls == 0, "that was nobody's fault"


def test_it_is_given_its_arguments_and_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    door = Door()
    once = query("SELECT environment", iterations=1)
    made = osquery(door, once, osqueryi_args=["--flagfile=x y"], config_path="/etc/osquery.conf")
    made.start()
    until("the answer", lambda: door.rows)
    made.finish()
    (row,) = door.rows
    assert set(row["names"].split()) - {"LC_CTYPE"} <= {"PATH", "HOME", "LANG", "TZ", "TMPDIR"}
    assert row["arguments"] == "--flagfile=x y --json --config_path /etc/osquery.conf"


def test_where_there_is_no_osqueryi_the_probe_cannot_run_and_says_what_mends_that() -> None:
    with pytest.raises(
        ProbeError, match=r"no program osqueryi-that-is-not-there in /usr/local/sbin:.*; install osquery"
    ):
        osquery(Door(), query(), osqueryi="osqueryi-that-is-not-there").start()


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


COLUMN = st.text(max_size=5) | st.sampled_from(["value", "timestamp", "v"])


@settings(max_examples=50)
@given(st.lists(st.dictionaries(COLUMN, VALUE, max_size=4) | VALUE, max_size=4))
def test_whatever_a_row_holds_it_is_a_record_or_malformed(found: list[Any]) -> None:
    text = json.dumps(found)
    batches, malformed = batches_of(query(measurement="v"), list(osqueryi.rows(text.encode())), 0)
    assert malformed == sum(not isinstance(row, dict) for row in found)
    told = [row for batch in batches for row in rows(batch)]
    assert len(told) + malformed == len(found)
    for batch in batches:
        batch.records.validate(full=True)
        assert len(set(batch.records.schema.names)) == len(batch.records.schema.names)


@given(st.binary(max_size=50))
def test_whatever_is_printed_is_rows_or_an_error(printed: bytes) -> None:
    with contextlib.suppress(QueryError):
        assert isinstance(list(osqueryi.rows(printed)), list)


def test_a_value_as_deep_as_it_can_be_read_costs_no_other_row_anything() -> None:
    for depth in itertools.count(1):
        text = f'[{{"v": 1, "deep": {"[" * depth}{"]" * depth}}}, {{"v": 2, "deep": "x"}}]'
        try:
            found = list(osqueryi.rows(text.encode()))
        except QueryError:
            break
        (batch,), malformed = batches_of(query(measurement="v"), found, 0)
        assert (batch.records.column("value").to_pylist(), malformed) == ([1, 2], 0)
    assert depth > 100

"""The ready questions on an archive of known events: each by the command line, as a user asks it."""

from __future__ import annotations

import csv
import io
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from agents import ingrain
from archived import thrice
from hypothesis import given, settings
from hypothesis import strategies as st
from known import CRON, CURL, EVENTS, HOUR, NOON, SECOND, WHEN, Row, write

from ingrain import cli
from ingrain.backends import layout
from ingrain.query.question import like, matches
from ingrain.query.questions import QUESTIONS
from ingrain.text import bytes_of, harmless, safe


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("archive"))


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()


class Said:
    """What a command said, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> None:
        self.code = cli.main([str(one) for one in arguments])
        self.out, self.err = capsys.readouterr()

    @property
    def rows(self) -> list[Row]:
        return [json.loads(line) for line in self.out.splitlines()]


def ask(capsys: pytest.CaptureFixture[str], archive: Path, *words: str, when: tuple[str, ...] = WHEN) -> list[Row]:
    said = Said(capsys, "ask", *words, *when, "--archive", archive, "--format", "json")
    assert said.code == 0, said.err
    return said.rows


def only(rows: list[Row], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def test_who_accessed_tells_each_way_of_it_in_order_and_of_no_other_time(
    capsys: pytest.CaptureFixture[str], archive: Path
) -> None:
    rows = ask(capsys, archive, "who-accessed", "/etc/passwd")
    assert only(rows, "timestamp", "action", "process", "process_id", "uid", "path", "new_path", "bytes") == [
        ("2025-03-01T12:00:00.000000Z", "open", "cat", 80, 1000, "/etc/passwd", None, None),
        ("2025-03-01T12:00:05.000000Z", "read", "cat", 80, 1000, "/etc/passwd", None, 1234),
        ("2025-03-01T12:00:07.000000Z", "rename", "cron", 9, 0, "/etc/passwd+", "/etc/passwd", None),
    ]
    assert {row["host"] for row in rows} == {layout.host()}


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("/etc/*", ["/etc/passwd", "/etc/passwd_", "/etc/passwd", "/etc/passwd+"]),
        ("/etc/passwd_", ["/etc/passwd_"]),
        ("/etc/passw%", []),
        ("/etc/passwd!_", []),
        ("' OR 1=1 --", []),
    ],
)
def test_only_a_star_is_a_pattern(
    capsys: pytest.CaptureFixture[str], archive: Path, pattern: str, paths: list[str]
) -> None:
    assert [row["path"] for row in ask(capsys, archive, "who-accessed", pattern)] == paths


ODD = [
    r"/etc/systemd/system/dev-disk\x2dby.swap",
    r"/srv/a\b\\c",
    "/tmp/\x1b[31m",
    "/tmp/caf\u00e9\u200b",
    r"/tmp/%_!\n",
]


@pytest.mark.parametrize("path", ODD)
def test_a_path_is_found_by_its_true_name_and_by_how_an_answer_shows_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, path: str
) -> None:
    write(tmp_path, {"file.open": [{**CURL, "timestamp": NOON, "path": safe(one.encode())} for one in [*ODD, "/x"]]})
    (row,) = ask(capsys, tmp_path, "who-accessed", path)
    assert bytes_of(row["path"]) == path.encode()
    assert row in ask(capsys, tmp_path, "who-accessed", row["path"])
    assert row in ask(capsys, tmp_path, "who-accessed", f"{path[:6]}*")


@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=20), st.binary(max_size=5))
def test_any_text_is_like_itself_and_like_no_other(one: bytes, other: bytes) -> None:
    asked = os.fsdecode(one)
    if "*" in asked or "\0" in asked:
        return
    patterns = like("x", asked)
    sql = f"SELECT {matches('$text', 'x')}"
    with duckdb.connect() as connection:
        for text in (one, one + other, other + one, one.replace(b"\\", b"\\\\")):
            found = connection.execute(sql, {"text": safe(text), **patterns}).fetchall()
            assert found == [(text == one or safe(text) == harmless(asked),)], (asked, text)


def test_programs_and_containers_are_found_by_odd_names_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    odd = r"a\x2db"
    name = safe(odd.encode())
    row = {
        **CURL,
        "timestamp": NOON,
        "process": name,
        "executable": f"/opt/{name}",
        "container": name,
        "line": "x",
        "bytes": 1,
    }
    measured = {"process.exec": ["process", "executable"], "container.stdout": ["container", "line", "bytes"]}
    write(tmp_path, {kind: [{key: row[key] for key in (*keys, "timestamp")}] for kind, keys in measured.items()})
    for text in (odd, name):
        for words in (("ran", text), ("ran", f"/opt/{text}"), ("logs", text)):
            assert len(ask(capsys, tmp_path, *words)) == 1, words


def test_talked_to_a_name_finds_the_addresses_that_dns_and_tls_told(
    capsys: pytest.CaptureFixture[str], archive: Path
) -> None:
    rows = ask(capsys, archive, "talked-to", "WWW.example.test")
    names = ("process", "container", "peer", "connections_out", "connections_in", "bytes_out", "bytes_in")
    assert only(rows, *names) == [
        ("curl", "web1", "192.0.2.7", 1, 0, 150, 9000),
        ("curl", "web1", "192.0.2.8", 1, 0, 0, 0),
    ]
    assert (rows[0]["first_seen"], rows[0]["last_seen"]) == (
        "2025-03-01T12:00:30.000000Z",
        "2025-03-01T12:00:41.000000Z",
    )


@pytest.mark.parametrize(
    ("what", "peers"),
    [
        ("mail.test", ["2001:db8::25"]),  # looked up an hour before
        ("2001:DB8:0:0::25", ["2001:db8::25"]),
        ("2001:db8::/32", ["2001:db8::25"]),
        ("::ffff:192.0.2.99", ["192.0.2.99"]),
        ("::FFFF:c000:209/125", ["192.0.2.8"]),
        ("2001:db8::20/126", []),
        ("2001:db8::20/123", ["2001:db8::25"]),
        ("192.0.2.99", ["192.0.2.99"]),
        ("192.0.2.0/24", ["192.0.2.7", "192.0.2.99", "192.0.2.8"]),
        ("192.0.2.9/29", ["192.0.2.8"]),
        ("0.0.0.0/0", ["192.0.2.7", "192.0.2.99", "192.0.2.8"]),
        ("::/0", ["2001:db8::25"]),
        ("192.0.2.9*", ["192.0.2.99"]),
        ("nowhere.test", []),
    ],
)
def test_talked_to_takes_names_addresses_and_patterns(
    capsys: pytest.CaptureFixture[str], archive: Path, what: str, peers: list[str]
) -> None:
    assert [row["peer"] for row in ask(capsys, archive, "talked-to", what)] == peers


@pytest.mark.parametrize("words", [("talked-to", "*"), ("new-names",), ("top-talkers",)])
def test_what_a_buffer_summed_up_counts_as_the_events_that_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    accepted = {"connection.in": [{**CRON, "timestamp": NOON, "s_ip": "192.0.2.7", "proto": "tcp"}]}
    told, summed = (
        ask(capsys, write(tmp_path / str(at), made), *words) for at, made in enumerate(thrice(EVENTS | accepted))
    )
    assert told == summed


def test_looked_up_tells_who_asked_and_the_answer_whatever_the_case(
    capsys: pytest.CaptureFixture[str], archive: Path
) -> None:
    rows = ask(capsys, archive, "looked-up", "www.EXAMPLE.test.")
    assert only(rows, "event", "process", "container", "q_name", "rcode") == [
        ("query", "curl", "web1", "www.Example.test", None),
        ("answer", "curl", "web1", "www.example.test", "NOERROR"),
    ]
    assert [record["data"] for record in rows[1]["answers"]] == ["cdn.test", "192.0.2.7"]


def test_tls_to_tells_the_fingerprint(capsys: pytest.CaptureFixture[str], archive: Path) -> None:
    rows = ask(capsys, archive, "tls-to", "*.example.test")
    assert only(rows, "process", "sni", "d_ip", "d_port", "ja4") == [
        ("curl", "www.example.test", "192.0.2.8", 443, "t13d_new")
    ]


def test_top_talkers_are_those_with_most_bytes_both_ways(capsys: pytest.CaptureFixture[str], archive: Path) -> None:
    rows = ask(capsys, archive, "top-talkers")
    assert only(rows, "process", "bytes_out", "bytes_in", "packets") == [("curl", 150, 9000, 11), ("cron", 48, 0, 1)]
    assert len(ask(capsys, archive, "top-talkers", "--limit", "1")) == 1


@pytest.mark.parametrize("command", ["curl", "/usr/bin/curl", "*/curl", "cur*"])
def test_ran_finds_a_program_by_its_name_and_its_path(
    capsys: pytest.CaptureFixture[str], archive: Path, command: str
) -> None:
    rows = ask(capsys, archive, "ran", command)
    assert only(rows, "process", "parent", "executable", "args") == [
        ("curl", "sh", "/usr/bin/curl", ["curl", "a b", ""])
    ]


@pytest.mark.parametrize("name", ["web1", "c0ffee", "c0ffee00" * 8])
def test_logs_are_lines_of_both_streams_in_order(capsys: pytest.CaptureFixture[str], archive: Path, name: str) -> None:
    said = Said(capsys, "ask", "logs", name, *WHEN, "--archive", archive)
    host = layout.host()
    assert said.out.splitlines() == [
        f"2025-03-01 13:00:50.000000+01:00  {host}  web1  stdout  GET / 200",
        f"2025-03-01 13:00:51.000000+01:00  {host}  web1  stderr  slow",
        f"2025-03-01 13:00:52.000000+01:00  {host}  web1  stdout  naïve \\x1b[31m",
    ]


@pytest.mark.parametrize("count", [40, 120, 3000])
def test_lines_of_one_moment_are_in_the_order_in_which_they_were_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, count: int
) -> None:
    lines = [f"{at:04}" for at in range(count)]
    for part in (lines[: count // 2], lines[count // 2 :]):  # each an object of its own, all of one microsecond
        rows = [{**CURL, "timestamp": NOON + int(line) // 10, "line": line, "bytes": 4} for line in part]
        write(tmp_path, {"container.stderr": rows})
    said = Said(capsys, "ask", "logs", "web1", *WHEN, "--archive", tmp_path)
    assert [line.split()[-1] for line in said.out.splitlines()] == lines


def test_logs_of_a_container_that_is_not_there_tell_which_are(
    capsys: pytest.CaptureFixture[str], archive: Path
) -> None:
    said = Said(capsys, "ask", "logs", "web7", *WHEN, "--archive", archive)
    assert (said.code, said.out) == (0, "")
    assert "nothing in that time is of 'web7'; what there is: web1, web2\n" in said.err


@pytest.mark.parametrize(
    "address", ["2001:db8::1", "::", "::1", "1::", "1:2:3:4:5:6:7::", "10.0.0.1", "255.255.255.255"]
)
@pytest.mark.parametrize("bits", [0, 1, 7, 31, 32])
def test_a_network_has_the_addresses_that_are_in_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, address: str, bits: int
) -> None:
    network = ipaddress.ip_network(f"{address}/{bits if ':' not in address else bits * 4}", strict=False)
    width = network.max_prefixlen
    first, last = int(network[0]), int(network[-1])
    near = {value for value in (first - 1, first, first + 1, last - 1, last, last + 1, 0) if 0 <= value < 1 << width}
    kind = type(network[0])
    peers = sorted({*(str(kind(value)) for value in near), "192.0.2.1", "2001:db8:0:0:1::", "fe80::1"})
    write(tmp_path, {"connection.out": [{**CURL, "timestamp": NOON, "d_ip": peer, "proto": "tcp"} for peer in peers]})
    rows = ask(capsys, tmp_path, "talked-to", str(network))
    assert sorted(row["peer"] for row in rows) == [one for one in peers if ipaddress.ip_address(one) in network]


def test_new_names_are_those_that_the_baseline_has_not(capsys: pytest.CaptureFixture[str], archive: Path) -> None:
    said = Said(capsys, "ask", "new-names", *WHEN, "--archive", archive, "--format", "json")
    assert only(said.rows, "kind", "value", "times", "process") == [
        ("destination", "192.0.2.7", 1, "curl"),
        ("destination", "192.0.2.8", 1, "curl"),
        ("destination", "2001:db8::25", 1, "cron"),
        ("destination", "192.0.2.99", 1, "cron"),
        ("ja4", "t13d_new", 1, "curl"),
        ("name", "www.example.test", 2, "curl"),
        ("sni", "www.example.test", 1, "curl"),
    ]
    assert "the baseline has nothing of connection.out: all of that is new" in said.err
    assert "the archive has nothing of tls.handshake.serverhello" in said.err
    rows = ask(capsys, archive, "new-names", "--baseline", "1h")
    assert ("name", "old.test") in only(rows, "kind", "value")


def test_what_is_new_is_told_of_who_was_first_as_a_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    who = [("zsh", None, "web"), ("curl", "aaa", "db"), ("apt", "bbb", "a")]
    events = [
        {"process": process, "container": container, "timestamp": NOON + at * SECOND, "q_name": "new.test"}
        for at, (process, container, _host) in enumerate(who)
    ]
    for row, (_, _, host) in zip(events, who, strict=True):
        write(tmp_path / "one", {"dns.query": [row]})
        for path in sorted((tmp_path / "one").rglob("*.parquet")):
            place = tmp_path / "all" / path.relative_to(tmp_path / "one")
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place.with_name(f"{host}-" + place.name.split("-", 1)[1]))
    rows = ask(capsys, tmp_path / "all", "new-names")
    assert only(rows, "value", "times", "process", "container", "host") == [("new.test", 3, "zsh", None, "web")]


def test_measurements_that_are_not_there_are_said_and_no_mistake(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write(tmp_path, {"dns.query": [{**CURL, "timestamp": NOON, "q_name": "x.test"}]})
    said = Said(capsys, "ask", "who-accessed", "/x", "--archive", tmp_path)
    assert said.code == 0
    assert said.out.endswith("(0 rows)\n")
    assert "in that time the archive has nothing of file.chmod, file.chown, " in said.err


@pytest.mark.parametrize(
    "words", [("ask", "who-accessed", "/x"), ("ask", "logs", "web1", "--follow"), ("query", "FROM dns_query")]
)
def test_a_place_without_anything_archived_is_no_archive_without_accesses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = Said(capsys, *words, "--archive", tmp_path)
    assert (said.code, said.out) == (1, "")
    assert said.err == f"ingrain: there is no archive at {tmp_path}: it has no folder measurement=NAME\n"


def test_asking_nothing_lists_all_questions_with_examples() -> None:
    done = ingrain("ask")
    assert done.returncode == 0
    for name, question in QUESTIONS.items():
        assert f"  {name}" in done.stdout
        assert all(f"ingrain ask {example}" in done.stdout for example in question.examples)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_sql_that_a_question_prints_has_its_answer(
    capsys: pytest.CaptureFixture[str], archive: Path, question: str
) -> None:
    what = {"who-accessed": "/etc/*", "talked-to": "*.test", "ran": "c*", "logs": "c0ffee"}.get(question, "*.test")
    words = ("ask", question, *([what] if QUESTIONS[question].what else []), "--baseline", "1h", *WHEN)
    sql = Said(capsys, *words, "--sql").out
    assert "$" not in sql
    asked = Said(capsys, *words, "--archive", archive, "--format", "json")
    queried = Said(capsys, "query", sql, "--archive", archive, "--format", "json")
    assert queried.rows == asked.rows != []
    assert (queried.code, asked.code) == (0, 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("who-acessed", "/x"), "Did you mean who-accessed"),
        (("who-accessed",), "ingrain ask who-accessed PATH"),
        (("who-accessed", "--sql"), "ingrain ask who-accessed PATH"),
        (("top-talkers", "x"), "leave 'x' out"),
        (("top-talkers", "--timezone", "Mars/Olympus"), "--timezone: there is no time zone 'Mars/Olympus'"),
        (("top-talkers", "--since", "tomorrowish"), "--since: 'tomorrowish' is no time"),
        (("new-names", "--baseline", "monday"), "--baseline: 'monday' is no length"),
        (("top-talkers", "--since", "today", "--until", "yesterday"), "--since is not before it"),
        (("talked-to", "203.0.113.7/33"), "203.0.113.7/33 is no address and no network"),
        (("talked-to", "203.0.113.007"), "203.0.113.007 is no address and no network"),
        (("talked-to", "2001:db8::12345"), "2001:db8::12345 is no address and no network"),
        (("top-talkers", "--follow"), "--follow is for logs"),
        (("top-talkers", "--format", "parquet"), "--output FILE"),
        (("top-talkers", "--memory-limit", "much"), "no such limit"),
    ],
)
def test_what_is_said_wrong_is_told_and_exits_2(
    capsys: pytest.CaptureFixture[str], archive: Path, words: tuple[str, ...], told: str
) -> None:
    said = Said(capsys, "ask", *words, "--archive", archive)
    assert (said.code, said.out) == (2, "")
    assert told in said.err


@pytest.mark.parametrize(
    ("option", "value", "most"), [("--threads", "0", 256), ("--threads", "257", 256), ("--limit", "many", 10**9)]
)
def test_a_number_that_is_none_is_told_with_what_one_is(
    capsys: pytest.CaptureFixture[str], archive: Path, option: str, value: str, most: int
) -> None:
    with pytest.raises(SystemExit, match="2"):
        Said(capsys, "ask", "top-talkers", option, value, "--archive", archive)
    told = f"argument {option}: expected a whole number from 1 to {most}, found '{value}'"
    assert told in capsys.readouterr().err


def test_without_a_beginning_it_is_the_day_before_the_end(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path
) -> None:
    until = ("--until", "2025-03-01T12:00:01Z")
    rows = ask(capsys, archive, "who-accessed", "/etc/passwd", when=until)
    assert only(rows, "process", "action") == [("cat", "open")]  # of cron's a day before it is a second too late
    page = tmp_path / "report.html"
    assert Said(capsys, "report", *until, "--archive", archive, "--output", page).code == 0
    assert "2025-02-28 12:00:01 to 2025-03-01 12:00:01 UTC (1 d)" in page.read_text()
    assert Said(capsys, "ask", "top-talkers", "--until", "9999-12-30", "--archive", archive).code == 0


def test_an_answer_is_the_same_in_every_form(capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path) -> None:
    words = ("ask", "ran", "c*", *WHEN, "--archive", archive)
    rows = Said(capsys, *words, "--format", "json").rows
    told = csv.DictReader(io.StringIO(Said(capsys, *words, "--format", "csv").out))
    in_csv = [{**row, "args": json.loads(row["args"])} for row in told]
    assert in_csv == [
        {name: "" if value is None else value if name == "args" else str(value) for name, value in row.items()}
        for row in rows
    ]
    file = tmp_path / "answer.parquet"
    said = Said(capsys, *words, "--output", file)
    assert (said.code, said.out) == (0, "")
    assert "2 rows are in" in said.err
    table = pq.read_table(file)
    stamps = [(one.value - NOON * (table.schema.field("timestamp").type.unit == "ns")) for one in table["timestamp"]]
    assert len(stamps) == 2
    assert table.drop_columns(["timestamp"]).to_pylist() == [
        {name: value for name, value in row.items() if name != "timestamp"} for row in rows
    ]


def test_the_archive_is_that_of_the_environment_or_of_the_agents_configuration(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'[[probe]]\npipelines = ["a"]\n[probe.config]\ntype = "DNS"\n'
        f'[pipeline.a.config]\nbackend = "Archive"\npath = "{archive}"\n'
    )
    words = ("ask", "top-talkers", *WHEN, "--format", "json")
    by_file = Said(capsys, *words, "--config", config)
    monkeypatch.setenv("INGRAIN_ARCHIVE", str(archive))
    assert by_file.rows == Said(capsys, *words).rows != []
    monkeypatch.delenv("INGRAIN_ARCHIVE")
    lost = Said(capsys, *words)
    assert lost.code == 2
    assert "which archive?" in lost.err
    gone = Said(capsys, *words, "--archive", tmp_path / "none")
    assert gone.code == 2
    assert "is not there" in gone.err


def test_who_follows_a_container_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    write(tmp_path, {"container.stdout": [{**CURL, "timestamp": time.time_ns() - HOUR, "line": "x", "bytes": 1}]})
    command = ["env", "--default-signal=INT", sys.executable, "-m", "ingrain", "ask", "logs", "web7", "--follow"]
    with subprocess.Popen(
        [*command, "--archive", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as following:
        try:
            assert following.stderr
            assert following.stderr.readline() == ("ingrain: nothing in that time is of 'web7'; what there is: web1\n")
            assert following.stderr.readline() == "ingrain: waiting for lines, until Ctrl-C\n"
            following.send_signal(signal.SIGINT)
            out, err = following.communicate(timeout=60)
        finally:
            following.kill()
    assert (following.returncode, out, err) == (0, "", "")


def test_logs_that_are_followed_go_on_with_each_object_and_end_with_ctrl_c(tmp_path: Path) -> None:
    now = time.time_ns()

    def line(text: str, at: int) -> dict[str, list[Row]]:
        return {"container.stdout": [{**CURL, "timestamp": at, "line": text, "bytes": 1}]}

    write(tmp_path, line("first", now - HOUR))
    heeding = ["env", "--default-signal=INT"]  # a shell has what it runs in the background ignore it
    command = [*heeding, sys.executable, "-m", "ingrain", "ask", "logs", "web1", "--follow", "--archive", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout
            assert following.stdout.readline().endswith("  first\n")
            write(tmp_path, line("second", now + SECOND))
            assert following.stdout.readline().endswith("  second\n")
            following.send_signal(signal.SIGINT)
            out, err = following.communicate(timeout=60)
        finally:
            following.kill()
    assert (following.returncode, out, err) == (0, "", "")

"""HTTP: what the settings and the environment may say, and what is told of them: never a secret. What it does with a
server is tested in tests/servers."""

from __future__ import annotations

import time
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain import config
from ingrain.account import Station
from ingrain.backends import exchange
from ingrain.backends.environment import Redaction
from ingrain.backends.http import HTTP, HTTPSettings, only_origin

FILE = """\
[[probe]]
pipelines = ["http"]
[probe.config]
type = "Network"
[pipeline.http.config]
backend = "HTTP"
"""
SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))


def started(**settings: Any) -> HTTP:
    """A backend that was made, and has let go of its spool."""
    made = HTTP(HTTPSettings(**{"uri": "http://127.0.0.1:9/insert", **settings}), Station("http"))
    made.close()
    return made


def mistakes(folder: Path, lines: str) -> list[config.Problem]:
    file = folder / "ingrain.toml"
    file.write_text(FILE + lines)
    with pytest.raises(config.ConfigError) as caught:
        config.load(file)
    return caught.value.problems


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ("uri = 'example.com/insert'", "uri", 'expected "http://HOST/PATH"'),
        ("uri = 'ftp://example.com'", "uri", 'expected "http://HOST/PATH"'),
        ("uri = 'https://a b/'", "uri", 'expected "http://HOST/PATH"'),
        ("uri = 'https://example.com/ü'", "uri", "stands as %XX"),
        (f"uri = 'https://me:{SECRET}@example.com/'", "uri", "credentials never stand in this file"),
        ("uri = 5", "uri", "expected text"),
        ("encoding = 'Capnp'", "encoding", 'one of "JSON", "JSONL"'),
        (f"headers = '{SECRET}'", "headers", "expected a table, each value text"),
        (f"headers = {{ 'a b' = '{SECRET}' }}", "headers", "'a b' is no name of a header"),
        (f'headers = {{ a = "{SECRET}\\nb: c" }}', "headers", "the value of a has something else than printable ASCII"),
        ("headers = { a = 123456 }", "headers.a", "expected text"),
        ("headers = { Content-Length = '1' }", "headers", "Content-Length is the agent's to set"),
        ("headers = { a = '1', A = '2' }", "headers", "there twice"),
        ("ca_file = 'ca.pem'", "ca_file", "from / on"),
        ("timeout_s = 0", "timeout_s", "from 1"),
        ("format = 'parquet'", "format", "unknown key"),
        ("roll_mb = 65", "roll_mb", "from 1 to 64"),
        (f"token = '{SECRET}'", "token", "${NAME} of the environment"),
    ],
)
def test_a_mistake_is_told_on_its_line_before_anything_runs_and_tells_no_secret(
    tmp_path: Path, line: str, key: str, said: str
) -> None:
    uri = "" if key == "uri" else "\nuri = 'https://example.com/'"
    (problem,) = mistakes(tmp_path, line + uri)
    assert (problem.line, problem.key) == (7, f"pipeline.http.config.{key}")
    assert said in problem.message
    assert SECRET not in problem.message
    assert "123456" not in problem.message


def test_without_a_uri_it_is_a_mistake(tmp_path: Path) -> None:
    (problem,) = mistakes(tmp_path, "")
    assert problem.message == "uri is missing; it takes text"


def test_the_graph_tells_names_of_headers_and_where_they_go_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "ingrain.toml"
    headers = f'headers = {{ authorization = "API-Key {SECRET}", "redsift-account" = "${{ACCOUNT}}", "x.y" = "z" }}'
    file.write_text(f"{FILE}uri = 'https://example.com/insert?key={SECRET}'\n{headers}\n")
    told = config.describe(config.load(file))
    assert 'uri = "https://example.com/..."' in told
    assert 'headers = { authorization = "...", redsift-account = "...", "x.y" = "..." }' in told
    assert SECRET not in told


@given(st.text(max_size=40) | st.from_regex(r"\Ahttps?://[a-z0-9:@\[\]/?#.%-]{0,20}\Z"))
def test_whatever_stands_as_a_uri_is_taken_or_a_mistake(text: str) -> None:
    try:
        made = HTTPSettings(uri=text)
    except ValueError as error:
        assert "uri: " in str(error)  # noqa: PT017 - it is taken, or this is said
    else:
        assert made.uri == text


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=3))
def test_whatever_stands_in_headers_can_be_sent_or_is_a_mistake(headers: dict[str, str]) -> None:
    try:
        made = HTTPSettings(uri="http://h/", headers=headers)
    except ValueError as error:
        assert "headers: " in str(error)  # noqa: PT017 - as above
    else:
        assert all(f"{name}: {value}".encode("ascii").isascii() for name, value in made.headers.items())


def test_the_environment_fills_in_headers_and_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TOKEN", f"{SECRET}\n")
    monkeypatch.setenv("INGEST_HOST", "logs.example.com:8443")
    made = started(
        uri="https://${INGEST_HOST}/v1?k=${INGEST_TOKEN}", headers={"authorization": "Bearer ${INGEST_TOKEN}"}
    )
    assert made._exchange._headers["authorization"] == f"Bearer {SECRET}"
    assert made._exchange._target == f"/v1?k={SECRET}"
    assert made._exchange._uri.port == 8443


@pytest.mark.parametrize(
    ("settings", "environment", "said"),
    [
        ({"headers": {"a": "x ${NOT_THERE}"}}, {}, "headers: needs NOT_THERE of the environment, which is not set"),
        ({"uri": "${NOT_THERE}"}, {}, "uri: needs NOT_THERE of the environment"),
        ({"uri": "http://h/${KEY}"}, {"KEY": f"{SECRET} x"}, "uri: with what the environment says: expected"),
        ({"uri": "http://h:${KEY}"}, {"KEY": SECRET}, "uri: with what the environment says: expected"),
        ({"uri": "http://${KEY}"}, {"KEY": f"me:{SECRET}@h"}, "uri: with what the environment says: expected"),
        ({"headers": {"a": "${KEY}"}}, {"KEY": f"{SECRET}\r\nb: c"}, "the value of a has something else"),
        ({"uri": "https://h/", "ca_file": "/nowhere.pem"}, {}, "ca_file: /nowhere.pem cannot be used: No such file"),
        ({"uri": "https://h/", "ca_file": "/etc/hosts"}, {}, "it holds no certificate in PEM"),
        ({}, {"HTTP_PROXY": f"socks5://me:{SECRET}@p:1"}, "HTTP_PROXY in the environment: expected http://HOST:PORT"),
        ({}, {"HTTP_PROXY": f"https://me:{SECRET}@p:1"}, "no other way to a proxy is known here"),
        ({}, {"HTTP_PROXY": f"http://{SECRET}@[p:1"}, "HTTP_PROXY in the environment: expected"),
    ],
)
def test_what_the_environment_lacks_or_has_wrong_ends_the_start_and_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], environment: dict[str, str], said: str
) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"uri|headers|ca_file|PROXY") as caught:
        started(**settings)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None or SECRET not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("http://h", "http://h"),
        ("http://h/", "http://h/"),
        ("https://h:81/services/T0KEN", "https://h:81/..."),
        ("http://h?key=T0KEN", "http://h/..."),
        ("HTTP://h/T0KEN#T0KEN", "HTTP://h/..."),
        ("https://${INGEST_HOST}/T0KEN", "https://${INGEST_HOST}/..."),
        ("${INGEST_URL}", "${INGEST_URL}"),
        ("${INGEST_URL}/T0KEN", "/..."),
    ],
)
def test_of_a_uri_only_scheme_host_and_port_are_shown(uri: str, told: str) -> None:
    assert only_origin(uri) == told


def test_all_that_the_environment_lacks_is_found_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOT_THERE", "NOR_THIS"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "ingrain.toml"
    (spool := tmp_path / "spool").write_text("no folder")
    uri, headers = "https://h/${NOT_THERE}", 'headers = { a = "${NOR_THIS}", b = "c" }'
    file.write_text(FILE + f'uri = "{uri}"\nspool = "{spool}"\n{headers}\n')
    loaded = config.load(file)
    assert [(problem.line, problem.key.rpartition(".")[2]) for problem in loaded.lacking()] == [
        (7, "uri"),
        (8, "spool"),
        (9, "headers"),
    ]
    monkeypatch.setenv("NOT_THERE", "a b")
    monkeypatch.setenv("NOR_THIS", "x")
    assert [problem.line for problem in loaded.lacking()] == [7, 8]
    monkeypatch.setenv("NOT_THERE", "a")
    spool.unlink()
    assert loaded.lacking() == []
    assert sorted(tmp_path.iterdir()) == [file]


def test_the_header_of_ingraind_s_first_version_is_sent_and_not_shown(tmp_path: Path) -> None:
    assert started(authorization=SECRET)._exchange._headers["authorization"] == SECRET
    file = tmp_path / "ingrain.toml"
    file.write_text(FILE + f"uri = 'http://h/'\nauthorization = '{SECRET}'\n")
    assert 'authorization = "..."' in config.describe(config.load(file))
    (twice,) = mistakes(tmp_path, f"uri = 'http://h/'\nauthorization = '{SECRET}'\nheaders = {{ Authorization = 'x' }}")
    assert (twice.line, SECRET in twice.message) == (8, False)


@given(
    st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="&?#/,;:=\"' "), min_size=4, max_size=9
    ),
    st.text(max_size=20),
)
def test_whoever_repeats_a_secret_it_is_left_out_also_percent_decoded_and_quoted(secret: str, around: str) -> None:
    redacted = Redaction([f"Bearer {secret}"])
    for form in (secret, unquote(secret), repr(around + secret)[1:-1]):
        left = redacted(f"{around}{form}{around}")
        assert len(unquote(secret)) < 4 or unquote(secret) in around or secret not in left


def test_ingraind_s_keys_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "ingrain.toml"
    file.write_text(
        FILE + "uri = 'http://h/'\nthreads = 40\nparallel_chunk_size = 1000\n[pipeline.http.config.headers]\n"
    )
    settings = config.load(file).pipelines["http"].settings
    assert (settings.threads, settings.parallel_chunk_size, settings.headers) == (40, 1000, {})
    made = HTTP(settings, Station("http"))
    made.close()
    assert made._threads == 16


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("-5", 0),
        ("", 0),
        ("soon", 0),
        ("9" * 400, 3600),
        ("Wed, 21 Oct 1015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 9015 07:28:00 GMT", 3600),
        ("٣", 0),
    ],
)
def test_a_server_is_left_alone_for_as_long_as_it_asks_up_to_an_hour(header: str, seconds: float) -> None:
    assert exchange._seconds(header) == seconds


def test_a_date_to_come_back_at_is_understood() -> None:
    assert 500 < exchange._seconds(formatdate(time.time() + 600, usegmt=True)) <= 600


@given(st.text(max_size=30))
def test_whatever_a_server_asks_for_is_some_time_up_to_an_hour(header: str) -> None:
    assert 0 <= exchange._seconds(header) <= 3600


@given(st.text(max_size=50))
def test_whatever_a_redirect_says_is_told_without_what_may_be_secret(location: str) -> None:
    assert exchange._elsewhere(location)
    assert exchange._elsewhere("https://me:pw@other.example:81/x?y=z") == "https://other.example:81"

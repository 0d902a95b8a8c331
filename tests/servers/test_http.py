"""HTTP, with Node's server as the receiver, a proxy before it that does harm, and servers that are nothing but harm:
every record arrives, or is counted where it went, and no secret is told to anybody but the server that it is for."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from faulty import faulty
from hostile import SLOW_HANDSHAKE, Answer, drip, for_ever, hostile, told
from serving import Receiver, batch_of, end, pipeline, receiver, refusing, until

from ingrain.account import Station
from ingrain.backends import backoff
from ingrain.backends.exchange import Exchange, RefusedError
from ingrain.backends.http import HTTPSettings
from ingrain.backends.spool import Spool
from ingrain.grains.network import CONNECTION, VOLUME
from ingrain.pipeline import Pipeline

NOON = 1_740_830_400_000_000_000  # 2025-03-01 12:00 UTC, in ns
TOKEN = "canary-token-canary"
HEADERS = {"authorization": f"API-Key {TOKEN}", "redsift-account": "canary-account"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(backoff, "LEAST_S", 0.05)
    monkeypatch.setattr(backoff, "MOST_S", 0.2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path / "received") as made:
        yield made


def settings(to: str | Receiver, **more: Any) -> HTTPSettings:
    uri = to if isinstance(to, str) else f"http://127.0.0.1:{to.port}/insert"
    return HTTPSettings(**{"uri": uri, "headers": HEADERS, **more})


def offer(made: Pipeline, first: int, count: int) -> Counter[int]:
    """So many records, each with a number of its own as its value, in objects of four measurements; the numbers."""
    numbers = range(first, first + count)
    for at, measurement in enumerate((*VOLUME, *CONNECTION)):
        rows = [{"timestamp": NOON + n, "value": n, "packets": 1, "process": f"p{n}"} for n in numbers if n % 4 == at]
        assert made.offer(batch_of(measurement, rows))
    return Counter(numbers)


def arrived(server: Receiver) -> Counter[int]:
    return Counter(record["measurement"] for body in server.bodies() for record in json.loads(body))


def flush(made: Pipeline) -> None:
    made._flush.done.clear()
    made.flush()
    assert made._flush.done.wait(60)


def spooled(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "state/spool/pipeline_test__HTTP").glob("*,*"))


def balance(station: Station) -> tuple[int, int, int, int]:
    assert station.received + station.resumed == station.delivered + station.merged + station.lost + station.in_flight
    return station.received, station.delivered, station.lost, station.spooled


def test_each_object_is_one_post_with_the_headers_of_the_file_and_a_key_of_its_own(server: Receiver) -> None:
    with pipeline("HTTP", settings(server)) as made:
        sent = offer(made, 0, 400)
        assert end(made)
        assert balance(made.stations[-1]) == (400, 400, 0, 0)
    assert arrived(server) == sent
    requests = server.requests
    assert [(one["method"], one["url"], one["status"]) for one in requests] == [("POST", "/insert", 204)] * 4
    assert len({one["headers"]["idempotency-key"] for one in requests}) == 4
    for one in requests:
        assert one["headers"].items() >= HEADERS.items()
        assert one["headers"]["content-type"] == "application/json"
    (record,) = [record for body in server.bodies() for record in json.loads(body) if record["measurement"] == 5]
    at, unit = 5 % 4, "byte"
    assert record == {
        "timestamp": NOON + 5,
        "kind": 1,
        "name": f"{VOLUME[at].name}_{unit}",
        "measurement": 5,
        "packets": 1,
        "tags": {"process": "p5"},
    }


def test_json_lines_have_what_the_archive_has(server: Receiver) -> None:
    with pipeline("HTTP", settings(server, encoding="JSONL", headers={"Content-Type": "text/plain"})) as made:
        offer(made, 0, 4)
        assert end(made)
    records = [json.loads(line) for body in server.bodies() for line in body.splitlines()]
    assert sorted(record["value"] for record in records) == [0, 1, 2, 3]
    assert {record["timestamp"][:19] for record in records} == {"2025-03-01T12:00:00"}
    assert {one["headers"]["content-type"] for one in server.requests} == {"text/plain"}, "the file has the last word"


def test_what_was_spooled_in_another_encoding_is_sent_as_what_it_is(server: Receiver, tmp_path: Path) -> None:
    spool = str(tmp_path / "spool")
    with refusing() as port, pipeline("HTTP", settings(f"http://127.0.0.1:{port}/", spool=spool)) as made:
        offer(made, 0, 4)
        assert end(made)
    with pipeline("HTTP", settings(server, spool=spool, encoding="JSONL")) as made:
        assert end(made)
        assert made.stations[-1].delivered == 4
    assert {one["headers"]["content-type"] for one in server.requests} == {"application/json"}
    assert arrived(server) == Counter(range(4))


def test_what_was_spooled_for_another_backend_stays_and_that_is_said(server: Receiver, tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool", None)
    file = spool.create()
    file.write(b"PAR1")
    spool.commit(file, f"measurement=m/date=2025-03-01/hour=12/host-{NOON}-0123abcd-000000.parquet", 4)
    spool.close()
    with pipeline("HTTP", settings(server, spool=str(tmp_path / "spool"))) as made:
        until("that to be said", lambda: "spooled for can send it" in "".join(made.stations[-1].failing.values()))
        assert end(made)
        assert (made.stations[-1].resumed, made.stations[-1].spooled) == (4, 4)
    assert server.requests == []


@pytest.mark.parametrize("fault", [503, 429, 403, 404, 400, 500, "cut"])
def test_whatever_the_server_did_every_record_is_there_when_it_is_mended(
    server: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: int | str
) -> None:
    with faulty(server.port) as between, pipeline("HTTP", settings(f"{between.url}/insert")) as made:
        between.cut_after, between.answer = (3000, 0) if isinstance(fault, str) else (0, fault)
        between.saying = f"you said: API-Key {TOKEN}"
        sent = offer(made, 0, 400)
        flush(made)
        assert balance(made.stations[-1]) == (400, 0, 0, 400)
        between.mend()
        until("the spool to be empty", lambda: not spooled(tmp_path))
        sent += offer(made, 400, 400)
        assert end(made)
        assert balance(made.stations[-1]) == (800, 800, 0, 0)
    assert arrived(server) == sent
    failed, works = [record for record in caplog.records if "uploading to http://127.0.0.1:" in record.message]
    assert (failed.levelno, works.levelno) == (logging.ERROR, logging.WARNING)
    assert (f"{fault} Fault" if isinstance(fault, int) else "Connection") in failed.message
    assert "you said: [...]" in failed.message or fault == "cut"
    assert TOKEN not in caplog.text


def test_an_answer_that_is_lost_has_the_same_body_sent_again_with_the_same_key(
    server: Receiver, tmp_path: Path
) -> None:
    with faulty(server.port) as between, pipeline("HTTP", settings(f"{between.url}/insert")) as made:
        between.mute = True
        assert made.offer(batch_of(VOLUME[0], [{"timestamp": NOON, "value": 7, "packets": 1}]))
        flush(made)
        assert arrived(server) == Counter([7])
        assert balance(made.stations[-1]) == (1, 0, 0, 1)
        between.mend()
        until("the spool to be empty", lambda: not spooled(tmp_path))
        assert end(made)
        assert balance(made.stations[-1]) == (1, 1, 0, 0)
    assert len(server.requests) > 1
    assert len({one["headers"]["idempotency-key"] for one in server.requests}) == 1
    assert arrived(server) == Counter([7])


def test_what_is_too_large_goes_in_smaller_bodies_and_a_record_that_alone_is_so_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(tmp_path / "received", limit=20_000) as server, pipeline("HTTP", settings(server)) as made:
        rows = [{"timestamp": NOON + n, "value": n, "packets": 1, "process": f"p{n}"} for n in range(2000)]
        rows[1234]["process"] = "x" * 30_000
        assert made.offer(batch_of(VOLUME[0], rows))
        assert end(made)
        station = made.stations[-1]
        assert balance(station) == (2000, 1999, 1, 0)
        assert station.detail["too large"] == 1
        assert arrived(server) == Counter(n for n in range(2000) if n != 1234)
        taken = [one for one in server.requests if one["status"] == 204]
        assert max(one["size"] for one in taken) <= 20_000
        assert len({one["headers"]["idempotency-key"] for one in taken}) == len(taken)
    assert "413 Payload Too Large: no more than 20000 bytes" in caplog.text


def test_a_server_that_takes_no_body_however_small_loses_nothing(tmp_path: Path) -> None:
    with receiver(tmp_path / "received", limit=10) as server, pipeline("HTTP", settings(server)) as made:
        assert made.offer(batch_of(VOLUME[0], [{"timestamp": NOON, "value": 1, "packets": 1}] * 100))
        flush(made)
        assert balance(made.stations[-1]) == (100, 0, 0, 100)
        assert "413" in str(made.stations[-1].failing)
        assert end(made)


def test_a_redirect_is_told_and_not_followed(
    server: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    to = f"http://127.0.0.1:{server.port}/elsewhere?token={TOKEN}"
    head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
    with hostile(told(head.encode())) as uri, pipeline("HTTP", settings(uri)) as made:
        offer(made, 0, 4)
        flush(made)
        assert balance(made.stations[-1]) == (4, 0, 0, 4)
        assert end(made)
    assert server.requests == []
    assert f"307 Temporary Redirect: it redirects to http://127.0.0.1:{server.port}, and no redirect" in caplog.text
    assert TOKEN not in caplog.text


def silent(near: socket.socket) -> None:
    while near.recv(1 << 16):
        pass


HEAD = b"HTTP/1.1 200 OK\r\n"
HARM: dict[str, tuple[Answer, str]] = {
    "nothing": (told(b""), "RemoteDisconnected"),
    "silence": (silent, "TimeoutError"),
    "slowness": (drip(HEAD + b"X: ", b"y"), "TimeoutError: no whole answer within 1 s"),
    "garbage": (told(b"\x00\xff\x1b[2J\n" * 100), "BadStatusLine"),
    "endless head": (for_ever(HEAD, b"X: y\r\n"), "HTTPException: got more than 100 headers"),
    "endless line": (for_ever(HEAD, b"x" * 9999), "LineTooLong"),
    "endless promises": (for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "TimeoutError: no whole answer within 1 s"),
    "endless refusal": (for_ever(b"HTTP/1.1 500 No\r\n\r\n", b"\x1b" * 9999), r"500 No: \x1b\x1b"),
    "endless chunk": (
        for_ever(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"fffffff\r\n"),
        "500 No: ",
    ),
    "an odd status": (told(b"HTTP/1.1 999 \xff\r\n\r\n"), "999 "),
    "a slow handshake": (SLOW_HANDSHAKE, "The handshake operation timed out"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_hostile_server_costs_the_delivery_to_it_for_so_long_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    monkeypatch.setattr("ingrain.backends.exchange._CONNECT_S", 0.2)
    answer, said = HARM[harm]
    scheme = "https" if answer is SLOW_HANDSHAKE else "http"
    with hostile(answer, scheme) as uri, pipeline("HTTP", settings(uri, timeout_s=1)) as made:
        assert made.offer(batch_of(VOLUME[0], [{"timestamp": NOON, "value": 7, "packets": 1}]))
        flush(made)
        until("that to be told", lambda: said in "".join(made.stations[-1].failing.values()))
        assert balance(made.stations[-1]) == (1, 0, 0, 1)
        assert end(made)
    (message,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(message) < 700
    assert message.isprintable()


REPEATED = {
    "no status": b"%s is what you asked for\r\n\r\n",
    "a reason": b"HTTP/1.1 403 no %s\r\n\r\n",
    "a body": b"HTTP/1.1 403 no\r\n\r\n<p>/v1/%s/insert",
    "an error of its own": b"HTTP/1.1 413 %s\r\n\r\n",
}


@pytest.mark.parametrize("form", ["to%6Ben-in_the.path", "token-in_the.path"])
@pytest.mark.parametrize("answer", REPEATED)
def test_a_token_in_the_path_is_told_to_nobody_whoever_repeats_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: str, form: str
) -> None:
    monkeypatch.setenv("INGEST_TOKEN", "to%6Ben-in_the.path")
    with hostile(told(REPEATED[answer] % form.encode())) as uri:
        to = settings(f"{uri}/v1/${{INGEST_TOKEN}}/insert")
        with pipeline("HTTP", to) as made:
            assert made.offer(batch_of(VOLUME[0], [{"timestamp": NOON, "value": 7, "packets": 1}]))
            flush(made)
            failing = until("that to be told", lambda: str(made.stations[-1].failing))
            assert end(made)
    assert f"uploading to {uri.removesuffix('/insert')}'" in failing
    for said in (failing, caplog.text):
        assert "[...]" in said
        assert form not in said


def test_an_endless_answer_to_what_was_taken_is_not_waited_for() -> None:
    with (
        hostile(for_ever(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", b"x" * 9999)) as uri,
        pipeline("HTTP", settings(uri)) as made,
    ):
        offer(made, 0, 40)
        assert end(made)
        assert balance(made.stations[-1]) == (40, 40, 0, 0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key, and a certificate of `localhost` that it signed itself."""
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(made[0]), "-out", str(made[1]), "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return made


def test_who_cannot_show_who_he_is_gets_neither_records_nor_headers_and_ca_file_says_whom_to_believe(
    tmp_path: Path, certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(tmp_path / "received", tls=certificate) as server:
        uri, believed = f"https://localhost:{server.port}/insert", str(certificate[1])
        for to, ca_file, said in [
            (uri, None, "self-signed certificate"),
            (uri.replace("localhost", "127.0.0.1"), believed, "IP address mismatch"),
        ]:
            with pipeline("HTTP", settings(to, ca_file=ca_file)) as made:
                offer(made, 0, 4)
                assert end(made)
            assert said in caplog.text
            assert "ca_file names who may have signed it" in caplog.text
        assert server.requests == []
        with pipeline("HTTP", settings(uri, ca_file=believed)) as made:
            assert end(made)
            assert (made.stations[-1].resumed, made.stations[-1].delivered) == (8, 8)
        assert arrived(server) == Counter([0, 1, 2, 3] * 2)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_environment_s_proxy_is_used_with_its_password_unless_no_proxy_names_the_server(
    server: Receiver,
    tmp_path: Path,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    proxy, behind = server, tmp_path / "behind"
    password = {"proxy-authorization": "Basic bWU6Y2FuYXJ5QA=="}  # me:canary@
    monkeypatch.setenv(f"{scheme}_proxy", f"http://me:canary%40@127.0.0.1:{proxy.port}")
    with receiver(behind, tls=certificate if scheme == "https" else None) as far:
        uri = f"{scheme}://localhost:{far.port}/insert?a=b"
        chosen = settings(uri, ca_file=str(certificate[1]))
        with pipeline("HTTP", chosen) as made:
            sent = offer(made, 0, 1)
            assert end(made)
        (asked,) = proxy.requests
        assert asked["headers"].items() >= password.items()
        if scheme == "https":
            assert (asked["method"], asked["url"]) == ("CONNECT", f"localhost:{far.port}")
            assert not asked["headers"].keys() & HEADERS.keys(), "the proxy is told nothing"
            assert arrived(far) == sent
            assert not far.requests[0]["headers"].keys() & password.keys()
        else:
            assert (asked["method"], asked["url"]) == ("POST", uri)
            assert asked["headers"]["host"] == f"localhost:{far.port}"
        monkeypatch.setenv("no_proxy", "localhost")
        with pipeline("HTTP", chosen) as made:
            sent += offer(made, 1, 1)
            assert end(made)
        assert len(proxy.requests) == 1
        assert arrived(far)[1] == 1


def test_the_time_that_a_server_asks_for_is_in_its_refusal() -> None:
    with hostile(told(b"HTTP/1.1 429 Slow down\r\nRetry-After: 1800\r\n\r\n")) as uri:
        asked = Exchange(urlsplit(uri), {}, 5, None)
        with pytest.raises(RefusedError, match="429 Slow down") as caught:
            asked.post(b"[]", {})
    assert caught.value.seconds == 1800

"""Questions to a bucket of a real S3 server, which the backend S3 filled: the answers are those of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
from bucket import settings, use
from known import EVENTS, WHEN, batch, write
from serving import Gateway, end, pipeline, refusing, versitygw

from ingrain import cli
from ingrain.query.bucket import Bucket
from ingrain.query.questions import QUESTIONS

ASKED = {
    "who-accessed": "/etc/passwd",
    "talked-to": "www.example.test",
    "looked-up": "www.example.test",
    "tls-to": "*.test",
    "top-talkers": "",
    "ran": "c*",
    "logs": "web1",
    "new-names": "",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Gateway]:
    with versitygw(tmp_path) as made:
        yield made


def fill(server: Gateway) -> None:
    with pipeline("S3", settings(server.url, prefix="eu/west", region="us-east-1")) as made:
        for name, rows in EVENTS.items():
            assert made.offer(batch(name, rows))
        assert end(made)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words))
    return code, *capsys.readouterr()


def test_every_question_has_the_same_answer_from_a_bucket_as_from_a_folder(
    server: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ASKED.keys() == QUESTIONS.keys()
    fill(server)
    folder = str(write(tmp_path / "archive"))
    where = ("--archive", "s3://logs/eu/west", "--endpoint-url", server.url)
    for question, what in ASKED.items():
        words = ("ask", question, *([what] if what else []), *WHEN, "--format", "json")
        there, here = said(capsys, *words, *where), said(capsys, *words, "--archive", folder)
        assert there == here
        assert there[1].count("\n") > 0
    tables = said(capsys, "query", "SHOW TABLES", *where, "--format", "json")
    assert {json.loads(line)["name"] for line in tables[1].splitlines()} >= {"dns.query", "dns_query"}


def test_the_bucket_is_that_of_the_agents_configuration(
    server: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(server)
    config = tmp_path / "agent.toml"
    config.write_text(
        '[[probe]]\npipelines = ["s3"]\n[probe.config]\ntype = "DNS"\n[pipeline.s3.config]\nbackend = "S3"\n'
        f'bucket = "logs"\nprefix = "eu/west"\nregion = "us-east-1"\nendpoint_url = "{server.url}"\n'
    )
    sql = "SELECT count(*) AS n FROM dns_query"
    assert said(capsys, "query", sql, "--config", str(config), "--format", "json") == (0, '{"n": 3}\n', "")


def test_objects_of_no_archive_are_left_out_and_counted(server: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    fill(server)
    client = boto3.Session(Gateway.access, Gateway.secret, region_name="us-east-1").client(
        "s3", endpoint_url=server.url
    )
    folder = "eu/west/measurement=dns.query/date=2025-03-01/hour=12"
    client.put_object(Bucket="logs", Key=f"{folder}/x-1-00000000-1.parquet", Body=b"no Parquet, whatever its name")
    client.put_object(Bucket="logs", Key=f"{folder}/notes.txt", Body=b"")
    code, out, err = said(
        capsys, "query", "SELECT count(*) AS n FROM dns_query", "--archive", "s3://logs/eu/west/",
        "--endpoint-url", server.url, "--format", "json",
    )  # fmt: skip
    assert (code, out) == (3, '{"n": 3}\n')
    assert "left out 1 object that cannot be read\n" in err
    assert "left out 1 object not part of an archive\n" in err


@pytest.mark.parametrize("may", [(), ("s3:GetObject",)])
def test_who_may_list_objects_and_not_read_them_gets_no_answer(
    server: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, may: tuple[str, ...]
) -> None:
    fill(server)
    server.add_user("reader")
    client = boto3.Session(Gateway.access, Gateway.secret, region_name="us-east-1").client(
        "s3", endpoint_url=server.url
    )
    client.put_bucket_ownership_controls(
        Bucket="logs", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    allowed = [("s3:ListBucket", "arn:aws:s3:::logs"), *((action, "arn:aws:s3:::logs/*") for action in may)]
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": "reader"}, "Action": action, "Resource": of} for action, of in allowed
    ]
    client.put_bucket_policy(Bucket="logs", Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    words = ("ask", "looked-up", "*", *WHEN, "--archive", "s3://logs/eu/west", "--endpoint-url", server.url)
    code, out, err = said(capsys, *words)
    if may:
        assert (code, err) == (0, "")
    else:
        assert (code, out) == (1, "")
        assert "none of the 2 objects that this needs can be read:\n" in err
        assert "(AccessDenied)" in err
        assert "measurement=dns.answer/date=2025-03-01/hour=12/" in err


def test_only_the_days_that_are_asked_for_are_listed(
    server: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(server)
    listed: list[str] = []
    pages = Bucket._pages

    def noted(self: Bucket, prefix: str, **more: Any) -> Any:
        listed.append(prefix)
        return pages(self, prefix, **more)

    monkeypatch.setattr(Bucket, "_pages", noted)
    code, _, _ = said(
        capsys, "ask", "looked-up", "old.test", *WHEN, "--archive", "s3://logs/eu/west", "--endpoint-url", server.url
    )
    assert code == 0
    assert {one.removeprefix("eu/west/") for one in listed} == {
        "measurement=dns.answer/",
        "measurement=dns.answer/date=2025-03-01/",
        "measurement=dns.query/",
        "measurement=dns.query/date=2025-03-01/",
        "",
    }


@pytest.mark.parametrize(
    ("place", "told", "expected"),
    [
        ("s3://absent", "NoSuchBucket", 1),
        ("s3://No_Bucket/x", "is no name of a bucket", 2),
        ("s3://", "is no name of a bucket", 2),
    ],
)
def test_a_bucket_that_is_not_there_is_told(
    server: Gateway, capsys: pytest.CaptureFixture[str], place: str, told: str, expected: int
) -> None:
    code, out, err = said(capsys, "ask", "top-talkers", "--archive", place, "--endpoint-url", server.url)
    assert (code, out) == (expected, "")
    assert told in err


def test_a_server_that_goes_away_within_a_question_is_no_damage_of_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Bucket.read
    with ExitStack() as stack:
        server = stack.enter_context(versitygw(tmp_path))
        fill(server)

        def gone(self: Bucket, key: str, start: int, end: int) -> bytes:
            stack.close()
            return read(self, key, start, end)

        monkeypatch.setattr(Bucket, "read", gone)
        words = ("ask", "looked-up", "*", *WHEN, "--archive", "s3://logs/eu/west", "--endpoint-url", server.url)
        code, out, err = said(capsys, *words)
    assert (code, out) == (1, "")
    assert "Could not connect" in err
    assert "left out" not in err


def test_an_object_that_is_taken_away_within_a_question_is_left_out_and_counted(
    server: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(server)
    read = Bucket.read

    def taken(self: Bucket, key: str, start: int, end: int) -> bytes:
        for path in server.folder.glob("logs/eu/west/measurement=dns.answer/date=2025-03-01/hour=12/*.parquet"):
            path.unlink()
        return read(self, key, start, end)

    monkeypatch.setattr(Bucket, "read", taken)
    words = ("ask", "looked-up", "www.*", *WHEN, "--archive", "s3://logs/eu/west", "--endpoint-url", server.url)
    code, out, err = said(capsys, *words, "--format", "json")
    assert (code, [json.loads(line)["event"] for line in out.splitlines()]) == (3, ["query"]), err
    assert "left out 1 object that cannot be read" in err
    assert "(NoSuchKey)" in err


def test_a_server_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with refusing() as port:
        url = f"http://127.0.0.1:{port}"
        code, _, err = said(capsys, "ask", "top-talkers", "--archive", "s3://logs", "--endpoint-url", url)
    assert code == 1
    assert "Could not connect" in err

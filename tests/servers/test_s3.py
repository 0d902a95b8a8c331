"""S3: what boto3 writes to a real server reads back row for row; what a server refuses waits, is told once, and holds
up no other pipeline. What the spool promises is tested in test_delivery."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bucket import objects, rows_of, settings, use
from serving import Gateway, Row, batch_of, end, pipeline, refusing, versitygw

from ingrain.account import Station
from ingrain.backends.archive import ArchiveSettings
from ingrain.backends.s3 import S3Settings
from ingrain.batch import TIMESTAMP, Batch
from ingrain.grains.dns import DNS
from ingrain.grains.network import CONNECTION, VOLUME
from ingrain.steps.regex import Pattern, RegexSettings
from ingrain.steps.whitelist import WhitelistSettings

NOON = 1_740_830_400_000_000_000  # 2025-03-01 12:00 UTC, in ns
HOUR = 3_600_000_000_000
KEY = re.compile(
    r"eu/logs/measurement=(?P<measurement>[a-z.]+)/date=2025-03-01/hour=(?P<hour>1[23])/"
    r"[0-9A-Za-z._-]+-(?P<first>\d+)-[0-9a-f]{8}-\d+\.(parquet|jsonl\.gz)"
)
ANSWER = next(one for one in DNS.measurements if one.name == "dns.answer")
ALLOW = ["process", "cgroup_id", "s_ip", "d_port", "q_name", "answers"]
STEPS: list[tuple[str, Any]] = [
    ("Whitelist", WhitelistSettings(allow=ALLOW)),
    ("Regex", RegexSettings(patterns=[Pattern(key="process", regex=r"conn\d+", replace_with="docker_conn_proxy")])),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Gateway]:
    with versitygw(tmp_path) as made:
        yield made


def some_answers(count: int) -> list[Row]:
    """Answers of two hours, out of order, with all that JSON and names may stumble over."""
    names = ["conn1", "conn22", "x|c\\x0afoo:1", '"}, {"a":1', "naïve 日本", "", None]
    answers = [
        None,
        [],
        [
            {"name": "a.test", "type": "A", "data": "192.0.2.1", "ttl": 60},
            {"name": "b.test", "type": "TXT", "data": '"', "ttl": 2**32 - 1},
        ],
    ]
    return [
        {
            "timestamp": NOON + (n * 7919 % count) * 2 * HOUR // count,
            "value": 1,
            "latency_ns": n * 1000,
            "process": names[n % 7],
            "cgroup_id": 2**64 - 1 - n,
            "s_ip": f"2001:db8::{n % 50:x}",
            "d_port": n % 65536 if n % 3 else None,
            "q_name": f"host-{n}.example",
            "answers": answers[n % 3],
        }
        for n in range(count)
    ]


def in_order(rows: list[Row]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_what_went_into_the_pipeline_reads_back_from_the_server_row_for_row(server: Gateway, form: str) -> None:
    sent = some_answers(3000)
    with pipeline("S3", settings(server.url, format=form, prefix="/eu/logs/", region="eu-west-1"), *STEPS) as made:
        for start in range(0, len(sent), 100):
            assert made.offer(batch_of(ANSWER, sent[start : start + 100]))
        assert end(made)
        station = made.stations[-1]
    found: list[Row] = []
    stored = objects(server)
    for key, body in stored.items():
        told = KEY.fullmatch(key)
        assert told, key
        rows = rows_of(key, body)
        stamps = [row["timestamp"] for row in rows]
        assert stamps == sorted(stamps)
        assert int(told["first"]) == stamps[0]
        assert all(12 + (stamp - NOON) // HOUR == int(told["hour"]) for stamp in stamps)
        found += rows
    expected = [
        {**row, "process": "docker_conn_proxy" if str(row["process"]).startswith("conn") else row["process"]}
        for row in sent
    ]
    assert in_order(found) == in_order(expected)
    assert (station.received, station.delivered, station.lost) == (3000, 3000, 0)
    assert station.detail["objects"] == len(stored) == 2
    assert station.detail["bytes"] == sum(map(len, stored.values()))


def test_objects_are_rolled_by_size_and_uploaded_while_records_come(server: Gateway) -> None:
    random = np.random.default_rng(1)
    count = 65_536
    with pipeline("S3", settings(server.url, roll_mb=1)) as made:
        for start in range(8):
            stamps = pa.array(NOON + start * count + np.arange(count), TIMESTAMP)
            noise = [pa.array(random.integers(0, 1 << 62, count)) for _ in VOLUME[0].values]
            tags = [pa.nulls(count, column.type) for column in VOLUME[0].tags]
            assert made.offer(
                Batch(VOLUME[0], pa.RecordBatch.from_arrays([stamps, *noise, *tags], schema=VOLUME[0].schema))
            )
        assert end(made)
        station = made.stations[-1]
    stored = objects(server)
    assert len(stored) > 4
    rows = sum(pq.ParquetFile(io.BytesIO(body)).metadata.num_rows for body in stored.values())
    assert station.delivered == rows == 8 * count


def test_the_bucket_may_come_from_the_environment(server: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_BUCKET", "logs")
    with pipeline("S3", settings(server.url, bucket=None)) as made:
        made.offer(batch_of(VOLUME[0], [{"timestamp": NOON, "value": 1, "packets": 1}]))
        assert end(made)
    assert len(objects(server)) == 1


@dataclass(frozen=True)
class Refusal:
    """What the server finds, and what is said of it."""

    environment: dict[str, str]
    bucket: str
    said: str


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal({"AWS_SECRET_ACCESS_KEY": "wrong-wrong"}, "logs", "SignatureDoesNotMatch"),
        Refusal({"AWS_ACCESS_KEY_ID": "nobody"}, "logs", "InvalidAccessKeyId"),
        Refusal({}, "other", "bucket other failed: NoSuchBucket"),
        Refusal({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "logs", "boto3 looks for"),
    ],
    ids=lambda refusal: refusal.said,
)
def test_a_refusal_is_told_once_with_its_reason_and_the_records_wait_until_it_is_mended(
    server: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refusal: Refusal,
) -> None:
    for name, value in refusal.environment.items():
        monkeypatch.setenv(name, value)
    with pipeline("S3", settings(server.url, bucket=refusal.bucket)) as made:
        for measurement in (*VOLUME, *CONNECTION):
            made.offer(batch_of(measurement, [{"timestamp": NOON, "value": 1, "packets": 1}] * 10))
        assert end(made)
        station = made.stations[-1]
    assert (station.received, station.delivered, station.lost, station.spooled) == (40, 0, 0, 40)
    (message,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert refusal.said in message
    assert "Everything waits in the spool" in message
    assert Gateway.secret not in caplog.text
    assert "wrong-wrong" not in caplog.text
    use(monkeypatch, tmp_path)
    with pipeline("S3", settings(server.url)) as made:
        assert end(made)
        station = made.stations[-1]
    assert (station.received, station.resumed, station.delivered, station.in_flight) == (0, 40, 40, 0)
    assert sum(len(rows_of(key, body)) for key, body in objects(server).items()) == 40


def deliver_beside_archive(folder: Path, s3: S3Settings, seconds: float) -> tuple[Station, Station, bool]:
    """The same records to S3 and to an archive, as the agent does it; both stations, and whether S3 ended in time."""
    with (
        pipeline("S3", s3, name="s3") as remote,
        pipeline("Archive", ArchiveSettings(path=str(folder)), name="archive") as local,
    ):
        for measurement in (*VOLUME, *CONNECTION):
            batch = batch_of(measurement, [{"timestamp": NOON + n, "value": n, "packets": 1} for n in range(500)])
            assert remote.offer(batch)
            assert local.offer(batch)
        remote.flush()
        local.flush()
        in_time = remote.finish(time.monotonic() + seconds)
        assert local.finish(time.monotonic() + 60)
        return remote.stations[-1], local.stations[-1], in_time


def archived(folder: Path) -> int:
    return sum(pq.ParquetFile(path).metadata.num_rows for path in folder.rglob("*.parquet"))


def test_a_server_that_is_away_is_told_once_and_nothing_of_the_archive_waits_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing() as port:
        nobody = f"http://127.0.0.1:{port}"
        remote, local, in_time = deliver_beside_archive(tmp_path / "archive", settings(nobody), 60)
    assert in_time
    assert (remote.received, remote.delivered, remote.lost, remote.spooled) == (2000, 0, 0, 2000)
    assert (local.received, local.delivered, local.lost) == (2000, 2000, 0)
    assert archived(tmp_path / "archive") == 2000
    (message,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert "uploading to bucket logs failed" in message
    assert nobody in message
    assert "2000 records" in caplog.messages[-1]
    assert "stay in the spool" in caplog.messages[-1]


def test_a_server_that_never_answers_holds_up_neither_the_stop_nor_the_other_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingrain.backends.spooled.FLUSH_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts for it; nobody reads
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        remote, local, in_time = deliver_beside_archive(tmp_path / "archive", settings(url), 60)
    assert in_time
    assert (remote.received, remote.delivered, remote.lost, remote.spooled) == (2000, 0, 0, 2000)
    assert archived(tmp_path / "archive") == local.delivered == 2000

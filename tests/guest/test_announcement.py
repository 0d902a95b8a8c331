"""The configuration of ingraind's announcement, unchanged: files and TLS of the whole host, in a bucket."""

from __future__ import annotations

import io
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from serving import Gateway, accepts, free_port, until, versitygw

from ingrain import config
from ingrain.agent import Agent

pytestmark = pytest.mark.timeout(900)  # Files alone loads 40 programs, and an emulated processor verifies them slowly

CONFIG = Path(__file__).parents[2] / "config" / "ingraind-announcement.toml"

Row = dict[str, Any]


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with versitygw(tmp_path) as server:
        monkeypatch.setenv("AWS_S3_BUCKET", "logs")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield server


def rows(measurement: str) -> list[Row]:
    """All records of a measurement in the bucket, by pyarrow's own reader; without their timestamps."""
    client = boto3.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="logs", Prefix=f"measurement={measurement}/")
    found: list[Row] = []
    for key in [one["Key"] for page in pages for one in page.get("Contents", [])]:
        body = client.get_object(Bucket="logs", Key=key)["Body"].read()
        found += pq.ParquetFile(io.BytesIO(body)).read().drop_columns(["timestamp"]).to_pylist()
    return found


def handshake(folder: Path, name: str) -> int:
    """A TLS connection of openssl's to itself; the port."""
    port = free_port(socket.SOCK_STREAM)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-keyout", str(key), "-out", str(certificate), "-days", "1"], check=True, capture_output=True,
    )  # fmt: skip
    server = [
        "openssl",
        "s_server",
        "-quiet",
        "-accept",
        f"127.0.0.1:{port}",
        "-key",
        str(key),
        "-cert",
        str(certificate),
    ]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as serving:
        until("openssl to listen", lambda: accepts(port))
        client = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name]
        subprocess.run(client, stdin=subprocess.DEVNULL, check=True, capture_output=True)
        serving.kill()
    return port


def test_files_and_tls_of_the_whole_host_are_in_the_bucket(tmp_path: Path, bucket: Gateway) -> None:
    assert bucket.url
    watched = tmp_path / "a file"
    watched.write_text("what it holds")
    proxies = [tmp_path / f"conn{number}" for number in (1, 22)]
    for proxy in proxies:
        proxy.symlink_to("/bin/cat")
    agent = Agent(config.load(CONFIG))
    agent.start()
    try:
        for proxy in proxies:
            subprocess.run([proxy, watched], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["rm", watched], check=True)
        port = handshake(tmp_path, "www.example.test")
    finally:
        account = agent.stop()

    opened = [row for row in rows("file.open") if row["path"] == str(watched)]
    assert opened == [{"value": 1, "process": "docker_conn_proxy", "path": str(watched)}] * 2
    read = [row for row in rows("file.read") if row["path"] == str(watched)]
    assert [(row["process"], row["value"]) for row in read] == [("docker_conn_proxy", 13)] * 2
    deleted = [row["process"] for row in rows("file.delete") if row["path"] == str(watched)]
    assert deleted == ["rm"]
    hellos = [row for row in rows("tls.handshake.clienthello") if row["d_port"] == port]
    assert {(row["process"], row["s_ip"]) for row in hellos} == {("openssl", "127.0.0.1")}
    assert {key for row in hellos for key in row} == {"value", "process", "s_ip", "d_port"}
    assert sum(station.lost + station.refused for stations in account.pipelines.values() for station in stations) == 0
    assert [probe.lost for probe in account.probes] == [0, 0]

"""What the tests with an S3 server share: the environment that boto3 sees, and what the bucket holds, asked of it."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving import Gateway, Row

from ingrain.backends.s3 import S3Settings
from ingrain.batch import TIMESTAMP


def environ(folder: Path) -> dict[str, str]:
    """Credentials for the server, spools below the folder, and nothing of this machine's own."""
    return {
        "AWS_ACCESS_KEY_ID": Gateway.access,
        "AWS_SECRET_ACCESS_KEY": Gateway.secret,
        "AWS_CONFIG_FILE": str(folder / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "STATE_DIRECTORY": str(folder / "state"),
    }


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have that environment."""
    for name in ("AWS_S3_BUCKET", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ(folder).items():
        monkeypatch.setenv(name, value)


def settings(url: str, **more: Any) -> S3Settings:
    """Of a backend that sends to the bucket `logs` there."""
    return S3Settings(**{"bucket": "logs", "endpoint_url": url, **more})


def objects(server: Gateway, bucket: str = "logs") -> dict[str, bytes]:
    """All objects of the bucket, by key."""
    keys = boto3.Session(Gateway.access, Gateway.secret, region_name="us-east-1")
    client = keys.client("s3", endpoint_url=server.url)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    names = [one["Key"] for page in pages for one in page.get("Contents", [])]
    return {name: client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}


def rows_of(key: str, body: bytes) -> list[Row]:
    """An object's records; timestamps in ns."""
    if key.endswith(".jsonl.gz"):
        rows = [json.loads(line) for line in gzip.decompress(body).decode().split("\n")[:-1]]
        stamps = pa.array([row["timestamp"] for row in rows]).cast(TIMESTAMP).cast(pa.int64()).to_pylist()
        names = {row.pop("measurement") for row in rows}
        assert all(f"measurement={name}/" in key for name in names)
    else:
        table = pq.ParquetFile(io.BytesIO(body)).read()
        stamps = table.column("timestamp").cast(pa.int64()).to_pylist()
        rows = table.drop_columns(["timestamp"]).to_pylist()
    return [{**row, "timestamp": stamp} for row, stamp in zip(rows, stamps, strict=True)]

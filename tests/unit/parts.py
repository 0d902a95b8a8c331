"""Small stand-ins for grains and backends, so that the configuration is tested by itself."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pyarrow as pa

from ingrain.batch import TEXT, Column, Measurement
from ingrain.settings import Settings


class GrainSettings(Settings, frozen=True):
    interface: str | None = None
    buffer_kb: Annotated[int, msgspec.Meta(ge=8, le=4096)] = 512


class TLS:
    Settings = GrainSettings
    measurements = (
        Measurement(
            name="tls.handshake.clienthello",
            about="",
            tags=(Column("process", TEXT, ""), Column("s_ip", TEXT, ""), Column("d_port", pa.uint16(), "")),
        ),
    )


class S3Settings(Settings, frozen=True):
    bucket: str | None = None
    format: Literal["parquet", "jsonl"] = "parquet"
    roll: list[Annotated[int, msgspec.Meta(ge=1)]] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.bucket == "BAD":
            raise ValueError("bucket: S3 has no capital letters in names of buckets")


class S3:
    Settings = S3Settings

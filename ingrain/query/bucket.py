"""A bucket as a store: listed and read through boto3, as the backend S3 finds its server and credentials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ingrain.backends.s3 import S3Settings, connect, is_bucket
from ingrain.query.errors import UsageError
from ingrain.query.ranges import Ranges
from ingrain.text import harmless

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AT_ONCE = 16
_SERVER_ERROR = 500  # from this status on it is not for the object that there is no answer
_TAIL = 64 << 10  # of an object: its footer and what is before it, in one request in place of three


class Bucket:
    """An `ingrain.query.archive.Store`; keys are those below the prefix. Only lists and reads."""

    def __init__(self, bucket: str, prefix: str, region: str | None, endpoint_url: str | None) -> None:
        try:
            is_bucket(bucket)
            settings = S3Settings(
                bucket=bucket, prefix=prefix, region=region, endpoint_url=endpoint_url, concurrency=_AT_ONCE
            )
            self._client: S3Client = connect(settings)
        except ValueError as error:
            raise UsageError(f"s3://{harmless(bucket)}/{harmless(prefix)}: {error}") from error
        self.failure: ConnectionError | None = None
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def folders(self, below: str) -> list[str]:
        """As the protocol says."""
        prefix = self._prefix + below
        return [
            one["Prefix"][len(prefix) :].rstrip("/")
            for page in self._pages(prefix, Delimiter="/")
            for one in page.get("CommonPrefixes", [])
        ]

    def keys(self, below: str) -> Iterator[tuple[str, int]]:
        """As the protocol says."""
        for page in self._pages(self._prefix + below):
            for one in page.get("Contents", []):
                yield one["Key"][len(self._prefix) :], one["Size"]

    def open(self, key: str, size: int) -> Ranges:
        """As the protocol says; a request for each read, but one for all at the end."""
        tail_at = max(0, size - _TAIL)
        tail = b""

        def read(start: int, end: int) -> bytes:
            nonlocal tail
            if start < tail_at:
                return self.read(key, start, end)
            tail = tail or self.read(key, tail_at, size)
            return tail[start - tail_at : end - tail_at]

        return Ranges(size, read)

    def read(self, key: str, start: int, end: int) -> bytes:
        """These bytes of an object. Raises OSError."""
        with self._told(self._prefix + key):
            got = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes={start}-{end - 1}")
            return got["Body"].read()

    def _pages(self, prefix: str, **more: Any) -> Iterator[Any]:
        with self._told(prefix):
            yield from self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, **more
            )

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """What boto3 raises as an OSError that says what could not be had: a ConnectionError where nothing can be."""
        told = f"s3://{self._bucket}/{what}"
        try:
            yield
        except ClientError as error:
            message = harmless(f"{told}: {error}")
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < _SERVER_ERROR:
                raise OSError(message) from error
            self.failure = ConnectionError(message)
            raise self.failure from error
        except (BotoCoreError, OSError) as error:  # OSError: a connection that ends within an object
            self.failure = ConnectionError(harmless(f"{told}: {error}"))
            raise self.failure from error

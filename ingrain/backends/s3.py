"""S3: objects to a bucket through boto3, in the layout of `ingrain.backends.layout` below a prefix.

In: any batch. An object is written to an unnamed temporary file, then uploaded by a thread of its own. Credentials and
everything else that boto3 finds by itself (AWS_PROFILE, AWS_CA_BUNDLE, roles, proxies) is left to its chain; no secret
stands in the settings. This is the only module that imports boto3, when a pipeline starts: it takes 30 MB of memory.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, BinaryIO
from urllib.parse import urlsplit

import msgspec

from ingrain.account import Station
from ingrain.backends.objects import Object, Objects, ObjectSettings
from ingrain.backends.uploader import Uploader
from ingrain.text import harmless

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

BUCKET = "AWS_S3_BUCKET"
"""The environment's word for the bucket, as in ingraind."""

QUEUED = 4
"""Objects that wait for the one that is being uploaded: temporary files of `roll_mb` each, no memory."""

PATIENCE_S = 5.0
"""How long a complete object waits for room in the queue. Meanwhile the inbox fills, and the pipeline refuses."""

FLUSH_S = 10.0
"""How long a flush waits for uploads: less than the agent waits for a pipeline when it stops."""

_CONNECT_S = 5
_READ_S = 20
_ATTEMPTS = 3
_POLL_S = 0.25  # how soon the account tells of an upload

_BUCKET_NAME = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ACCESS_POINT = re.compile(r"arn:aws[a-z-]*:s3[a-z-]*:[a-z0-9-]*:\d*:[A-Za-z0-9:/._-]+")
_PREFIX_BYTES = 512  # a key has at most 1024 with what follows


def is_bucket(bucket: str) -> None:
    """Raise ValueError for what no bucket can be called."""
    if not _BUCKET_NAME.fullmatch(bucket) and not _ACCESS_POINT.fullmatch(bucket):
        raise ValueError(
            "is no name of a bucket: 3 to 63 characters of a-z, 0-9, '-' and '.', a letter or digit at both ends "
            "(without s3:// and without a path: `prefix` is for that), or an access point's ARN"
        )


def is_region(region: str) -> None:
    """Raise ValueError for what no region can be called."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", region):
        raise ValueError('is no name of a region; one looks like "eu-central-1"')


def is_endpoint(url: str) -> None:
    """Raise ValueError for what is no URL of a server."""
    expected = 'expected "http://HOST:PORT" or "https://HOST:PORT"'
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f"{expected}: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{expected}, with no user and password in it: credentials never stand in this file")
    if not valid or parts.query or parts.fragment or re.search(r"[\s\x00-\x20]", url):
        raise ValueError(expected)


def is_prefix(prefix: str) -> None:
    """Raise ValueError for a prefix that no key should have."""
    if harmless(prefix) != prefix:
        raise ValueError("has a control character in it")
    if len(prefix.encode()) > _PREFIX_BYTES:
        raise ValueError(f"is longer than {_PREFIX_BYTES} bytes")


class S3Settings(ObjectSettings, frozen=True):
    """bucket: AWS_S3_BUCKET of the environment when it is missing; what stands in the file wins.

    region, endpoint_url: as boto3 finds them when they are missing. prefix: stands before every key, with a slash.
    """

    bucket: Annotated[str | None, msgspec.Meta(extra={"check": is_bucket})] = None
    region: Annotated[str | None, msgspec.Meta(extra={"check": is_region})] = None
    endpoint_url: Annotated[str | None, msgspec.Meta(extra={"check": is_endpoint})] = None
    prefix: Annotated[str, msgspec.Meta(extra={"check": is_prefix})] = ""


class S3(Objects):
    """Records are delivered when S3 has said that it has their object.

    An object that cannot be uploaded, after boto3 tried again by its own rules, is lost, and so is one that finds the
    queue full. Raises ValueError when no bucket is named, or when boto3 cannot make a client of what it is told.
    """

    Settings = S3Settings

    def __init__(self, settings: S3Settings, station: Station) -> None:
        self._bucket = _bucket(settings)
        super().__init__(settings, station, f"uploading to bucket {self._bucket}")
        prefix = settings.prefix.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._type = "application/vnd.apache.parquet" if settings.format == "parquet" else "application/gzip"
        self._client = _client(settings)
        self._uploader = Uploader(self._put, QUEUED)
        self._stalled = False

    def create(self, key: str) -> BinaryIO:
        """A temporary file without a name: it is gone when it is closed, however that comes."""
        del key
        return tempfile.TemporaryFile(prefix="ingrain-")

    def store(self, made: Object) -> None:
        """Hand the object to the uploader."""
        made.file.flush()
        made.size = made.file.tell()
        self._settle()
        if not self._uploader.offer(made, time.monotonic() + (0.0 if self._stalled else PATIENCE_S)):
            self._stalled = True  # until there is room again nothing waits: the inbox must be emptied to stop in time
            self.discard(made.key, made.file)
            self.lose(made.rows, "queue full", "objects come faster than S3 takes them")
            return
        self._stalled = False
        self.wake_in(_POLL_S)

    def discard(self, key: str, file: BinaryIO) -> None:
        """Close the file, and with it, it is gone."""
        del key
        _close(file)

    def tick(self) -> None:
        """Complete objects that are old enough, and count those whose upload has ended."""
        self._settle()
        if self._uploader.busy:
            self.wake_in(_POLL_S)
        super().tick()

    def flush(self) -> None:
        """Complete all objects and wait until they are uploaded; what is not within FLUSH_S is lost."""
        deadline = time.monotonic() + FLUSH_S
        try:
            super().flush()
        finally:
            self._uploader.wait(deadline)
            self._settle()
            for made in self._uploader.give_up():
                self.lose(made.rows, "not in time", f"no answer within {FLUSH_S:.0f} s of the end")
            self._settle()

    def close(self) -> None:
        """Let the uploader's thread end."""
        self._uploader.close()

    def _settle(self) -> None:
        """Count the objects whose upload has ended."""
        for made, error in self._uploader.results():
            _close(made.file)
            if error is None:
                self.stored(made.rows, made.size, made.first)
            else:
                self.lose(made.rows, *_reason(error))

    def _put(self, made: Object) -> None:
        made.file.seek(0)
        self._client.put_object(
            Bucket=self._bucket, Key=self._prefix + made.key, Body=made.file, ContentType=self._type
        )


def _bucket(settings: S3Settings) -> str:
    named = os.environ.get(BUCKET, "")
    if settings.bucket:
        if named and named != settings.bucket:
            log.warning("%s is %r, but the file says bucket = %r; the file counts", BUCKET, named, settings.bucket)
        return settings.bucket
    if not named:
        raise ValueError(f"S3 needs a bucket: set `bucket` in the pipeline's config, or {BUCKET} in the environment")
    try:
        is_bucket(named)
    except ValueError as error:
        raise ValueError(f"{BUCKET}={named!r} in the environment {error}") from error
    return named


def _client(settings: S3Settings) -> S3Client:
    with _hidden("OpenSSL"):  # botocore uses nothing of pyOpenSSL, but imports it where it is: 9 MB
        import boto3  # noqa: PLC0415 - `ingrain check` and everything without an S3 pipeline does without it
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    # Servers other than AWS's do not all know the checksums that newer versions of boto3 send unasked.
    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "adaptive"},
        request_checksum_calculation="when_required" if settings.endpoint_url else "when_supported",
        max_pool_connections=1,
        user_agent_extra="ingrain",
    )
    try:
        session = boto3.session.Session(region_name=settings.region)
        return session.client("s3", endpoint_url=settings.endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ValueError(f"S3: boto3 cannot use what its environment says: {error}") from error


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """The package is as if not installed, unless it was imported before."""
    hidden = sys.modules.setdefault(package, None) is None  # type: ignore[arg-type] # None: importing it fails
    try:
        yield
    finally:
        if hidden:
            del sys.modules[package]


def _reason(error: Exception) -> tuple[str, str]:
    """Why an upload failed: in few words, and as the operator should read it."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        told = answer.get("Error", {})
        code = harmless(str(told.get("Code", "error")))[:40]
        return code, f"{code}: {harmless(str(told.get('Message', '')))[:200]}"
    kind = type(error).__name__
    if kind in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
        return "no credentials", (
            f"{error}. boto3 looks for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, for a profile "
            "in ~/.aws, and for the role of the instance or the container"
        )
    return "unreachable", harmless(f"{kind}: {error}")[:300]


def _close(file: BinaryIO) -> None:
    with suppress(OSError):  # what its buffer holds does not fit the disk; the file goes all the same
        file.close()

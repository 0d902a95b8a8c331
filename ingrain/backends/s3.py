"""S3: Parquet or JSON lines to a bucket, by way of a spool on disk.

In: any batch. Out: objects in the layout of `ingrain.backends.layout` below a prefix, sent through boto3. What is sent
waits in a spool until S3 has it (`ingrain.backends.spooled`). Credentials, their renewal, redirects and everything
else that boto3 does by itself (AWS_PROFILE, AWS_CA_BUNDLE, roles, proxies) is left to it; no secret stands in the
settings. Only this module imports boto3, when a pipeline starts: it takes 30 MB of memory.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO
from urllib.parse import urlsplit

import msgspec

from ingrain.account import Station
from ingrain.backends.environment import Redaction
from ingrain.backends.objects import Format
from ingrain.backends.proxies import proxy_of
from ingrain.backends.spooled import Sent, SpoolSettings
from ingrain.backends.urls import parse_url, userinfo
from ingrain.text import harmless

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

BUCKET = "AWS_S3_BUCKET"
"""The environment's word for the bucket, as in ingraind."""

_CONNECT_S = 5
_READ_S = 60  # an upload that is given up too early would be given up again and again
_ATTEMPTS = 2  # a connection that was kept open may be gone; all else waits as `Uploader` says
_WITHOUT_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")

_WITH_URL = re.compile(r"\w+_proxy|AWS_ENDPOINT_URL\w*", re.IGNORECASE)
_ENDPOINT = 'expected "http://HOST:PORT" or "https://HOST:PORT"'
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
    parts = parse_url(url, _ENDPOINT)
    if parts.query or parts.fragment:
        raise ValueError(_ENDPOINT)


def is_prefix(prefix: str) -> None:
    """Raise ValueError for a prefix that no key should have."""
    if harmless(prefix) != prefix:
        raise ValueError("has a control character in it")
    if len(prefix.encode()) > _PREFIX_BYTES:
        raise ValueError(f"is longer than {_PREFIX_BYTES} bytes")


class S3Settings(SpoolSettings, frozen=True):
    """The bucket. Credentials are never in the file: boto3 finds them.

    bucket: by default AWS_S3_BUCKET of the environment
    region: by default as boto3 finds it
    endpoint_url: of a server other than AWS; by default as boto3 finds it
    prefix: put before every key, with a slash
    format: `parquet` (zstd), or `jsonl`, gzipped JSON lines
    """

    bucket: Annotated[str | None, msgspec.Meta(extra={"check": is_bucket})] = None
    region: Annotated[str | None, msgspec.Meta(extra={"check": is_region})] = None
    endpoint_url: Annotated[str | None, msgspec.Meta(extra={"check": is_endpoint})] = None
    prefix: Annotated[str, msgspec.Meta(extra={"check": is_prefix})] = ""
    format: Format = "parquet"

    def lacking(self) -> list[str]:
        """A bucket, and what boto3 makes a client of: it makes one, and asks nobody."""
        found = super().lacking()
        for look in (_bucket, connect):
            try:
                look(self)
            except ValueError as error:
                found.append(str(error))
        gc.collect()  # the client: 10 MB, in cycles
        return found


class S3(Sent):
    """Objects to a bucket. What S3 refuses waits too: a permission or a bucket that is missing will be mended.

    Raises ValueError when no bucket is named, or when boto3 cannot make a client of what it is told.
    """

    Settings = S3Settings

    def __init__(self, settings: S3Settings, station: Station) -> None:
        self._settings = settings
        self._bucket = _bucket(settings)
        named = os.environ.get(BUCKET, "")
        if named not in ("", self._bucket):
            log.warning("%s is %r, but the file says bucket = %r; the file counts", BUCKET, named, self._bucket)
        prefix = settings.prefix.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._client: S3Client | None = _sender(settings)
        self._renewing = threading.Lock()
        self._secret = _secrets(self._client.meta.endpoint_url)
        super().__init__(settings, station, f"bucket {self._bucket}", settings.format)

    def put(self, key: str, file: BinaryIO) -> int:
        """One request: S3 has the whole object afterwards, or nothing of it."""
        with self._renewing:
            if self._client is None:
                gc.collect()  # the one before: 10 MB, in cycles
                self._client = _sender(self._settings)
            client = self._client
        try:
            client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=file, ContentType=_type(key))
        except Exception as error:
            if _of_credentials(error):  # those that were mended in ~/.aws are read by a new client only
                self._client = None
            raise
        return 0

    def why(self, error: Exception) -> str:
        """As S3 or boto3 tells it, and where credentials are looked for; without passwords of URLs."""
        told = _answer(error)
        if told is not None:
            return self._secret(f"{told.get('Code', 'error')}: {told.get('Message', '')}")
        if type(error).__name__ in _WITHOUT_CREDENTIALS:
            return (
                f"{self._secret(str(error))}. boto3 looks for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
                "environment, for a profile in ~/.aws, and for the role of the instance or the container"
            )
        return f"{type(error).__name__}: {self._secret(str(error))}"


def _type(key: str) -> str:
    """By the name: what was spooled before may have another form than what is written now."""
    return "application/vnd.apache.parquet" if key.endswith(".parquet") else "application/gzip"


def _bucket(settings: S3Settings) -> str:
    """Raises ValueError where there is none."""
    if settings.bucket:
        return settings.bucket
    named = os.environ.get(BUCKET, "")
    if not named:
        raise ValueError(f"S3 needs a bucket: set `bucket` in the pipeline's config, or {BUCKET} in the environment")
    try:
        is_bucket(named)
    except ValueError as error:
        raise ValueError(f"{BUCKET}={named!r} in the environment {error}") from error
    return named


def connect(settings: S3Settings) -> S3Client:
    """A client as these settings and boto3's environment say. Raises ValueError where boto3 cannot make one."""
    with _hidden("OpenSSL"):  # botocore uses nothing of pyOpenSSL, but imports it where it is: 9 MB
        import boto3  # noqa: PLC0415 - `ingrain check` and everything without an S3 pipeline does without it
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    # Servers other than AWS's do not all know the checksums that newer versions of boto3 send unasked.
    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        request_checksum_calculation="when_required" if settings.endpoint_url else "when_supported",
        max_pool_connections=settings.concurrency,
        user_agent_extra="ingrain",
    )
    try:
        session = boto3.session.Session(region_name=settings.region)
        client = session.client("s3", endpoint_url=settings.endpoint_url, config=config)
        proxy_of(urlsplit(client.meta.endpoint_url), "http", "https")
    except (BotoCoreError, ValueError) as error:  # which may tell a password
        raise ValueError(f"S3: boto3 cannot use what its environment says: {_secrets()(str(error))}") from None
    return client


def _sender(settings: S3Settings) -> S3Client:
    """One for uploads, each of which ends in time, and whose answers say little. Raises ValueError likewise."""
    client = connect(settings)
    from ingrain.backends.bounded import bound  # noqa: PLC0415 - it needs boto3

    bound(client)
    return client


def _secrets(*urls: str) -> Redaction:
    """Of users and passwords in these URLs, and in those of the environment that boto3 uses: it tells some of them."""
    known = [value for name, value in os.environ.items() if _WITH_URL.fullmatch(name)]
    return Redaction(map(userinfo, [*known, *urls]))


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """The package is as if not installed, unless it was imported before."""
    hidden = sys.modules.setdefault(package, None) is None  # type: ignore[arg-type] # None: importing it fails
    try:
        yield
    finally:
        if hidden:
            del sys.modules[package]


def _answer(error: Exception) -> dict[str, Any] | None:
    """What the server said, where it said something (botocore's ClientError)."""
    response = getattr(error, "response", None)
    told = response.get("Error") if isinstance(response, dict) else None
    return told if isinstance(told, dict) else None


def _of_credentials(error: Exception) -> bool:
    """Whether other credentials may help: by what AWS calls it, and by the status that it has everywhere."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return type(error).__name__ in _WITHOUT_CREDENTIALS
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status in (401, 403) or (_answer(error) or {}).get("Code") in _EXPIRED

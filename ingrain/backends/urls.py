"""URLs of a configuration: what S3 and HTTP ask of them, before anything is opened."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit


def parse_url(url: str, expected: str) -> SplitResult:
    """Its parts. Raises ValueError, which begins with what was `expected`, for what is no URL of an HTTP server."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f"{expected}: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{expected}, with no user and password in it: credentials never stand in this file")
    if not valid or re.search(r"[\s\x00-\x20\x7f]", url):
        raise ValueError(expected)
    return parts


def origin(parts: SplitResult) -> str:
    """Scheme, host and port: what may be told of a URL, of which the rest may be a secret."""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def userinfo(url: str) -> str:
    """The user and password of a URL, or of what is none because of them: all before its last `@`, if it has one."""
    before = url.rpartition("@")[0]
    return before.partition("://")[2] or before

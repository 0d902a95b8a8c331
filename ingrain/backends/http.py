"""HTTP: one POST per object to a server, as ingraind does it, by way of a spool on disk.

In: any batch. What is sent waits in a spool until the server has said 2xx (`ingrain.backends.spooled`). Each request
has the object's name as its Idempotency-Key, so that a server can tell what it has already, when an answer got lost.
"""

from __future__ import annotations

import logging
import math
import re
import ssl
from typing import Annotated, BinaryIO, Literal
from urllib.parse import SplitResult

import msgspec

from ingrain.account import Station
from ingrain.backends.bodies import Body, JsonArray, JsonLines
from ingrain.backends.environment import VARIABLE, Environment, unset
from ingrain.backends.exchange import Exchange, RefusedError, TooLargeError
from ingrain.backends.spooled import Sent, SpoolSettings
from ingrain.backends.urls import parse_url
from ingrain.settings import Positive, is_absolute
from ingrain.text import harmless

log = logging.getLogger(__name__)

_FORMS = {"JSON": "json", "JSONL": "ndjson"}
_BODIES: dict[str, type[Body]] = {"json": JsonArray, "ndjson": JsonLines}
_MOST_THREADS = 16
_LEAST = 4096  # bytes of a body that no server can find too large: one that does refuses for another reason
_EXPECTED = 'expected "http://HOST/PATH" or "https://HOST/PATH"'
_ORIGIN = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.1
_VALUE = re.compile(r"[\x20-\x7e\t]*")  # section 5.5, without what is not ASCII
_OURS = ("connection", "content-length", "expect", "idempotency-key", "te", "trailer", "transfer-encoding", "upgrade")


def is_uri(uri: str) -> None:
    """Raise ValueError for what is no address of a server, as far as that is known without the environment."""
    if not VARIABLE.search(uri):
        _parsed(uri)


def only_origin(uri: str) -> str:
    """What may be told of it: tokens stand in paths and queries."""
    if VARIABLE.fullmatch(uri):
        return uri
    found = _ORIGIN.match(uri)
    head = found[0] if found else ""
    return uri if uri in (head, f"{head}/") else f"{head}/..."


def are_headers(headers: dict[str, str]) -> None:
    """Raise ValueError for names and values that no header may have. No value is told."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{harmless(name)!r} is no name of a header")
        if name.lower() in _OURS:
            raise ValueError(f"{name} is the agent's to set")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of {name} has something else than printable ASCII in it")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header is there twice: capital letters make no difference")


def without_values(headers: dict[str, str]) -> dict[str, str]:
    """What may be told of them."""
    return dict.fromkeys(headers, "...")


def is_value(value: str) -> None:
    """Raise ValueError for what no header may say. It is not told."""
    are_headers({"authorization": value})


def nothing(_: str) -> str:
    """What may be told of a secret."""
    return "..."


class HTTPSettings(SpoolSettings, frozen=True, kw_only=True):
    """The server, and what it is sent. A body has at most roll_mb MiB, 1 by default as many servers allow no more.

    uri: where bodies are posted; `${NAME}` is replaced by the environment variable
    headers: sent with each request; `${NAME}` in a value is replaced likewise
    encoding: `JSON`, an array in ingraind's layout, or `JSONL`, one line per record, as in the archive
    ca_file: PEM file of the certificate authorities to trust; by default the system's
    timeout_s: the most seconds for a whole exchange, once connected
    authorization: the header of that name, a key of ingraind's first version
    threads: ingraind's name for `concurrency`
    parallel_chunk_size: accepted for ingraind's files, without effect
    """

    uri: Annotated[str, msgspec.Meta(extra={"check": is_uri, "shown": only_origin})]
    headers: Annotated[dict[str, str], msgspec.Meta(extra={"check": are_headers, "shown": without_values})] = (
        msgspec.field(default_factory=dict)
    )
    encoding: Literal["JSON", "JSONL"] = "JSON"
    ca_file: Annotated[str | None, msgspec.Meta(extra={"check": is_absolute})] = None
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 60
    threads: Positive | None = None
    parallel_chunk_size: Annotated[int, msgspec.Meta(ge=0)] = 0
    authorization: Annotated[str | None, msgspec.Meta(extra={"check": is_value, "shown": nothing})] = None
    roll_mb: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    roll_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 10

    def __post_init__(self) -> None:
        """Raise ValueError also where the header `authorization` is there twice."""
        super().__post_init__()
        if self.authorization is not None and "authorization" in map(str.lower, self.headers):
            raise ValueError("authorization: the headers have one, too")

    def lacking(self) -> list[str]:
        """Variables that are not set, and what cannot be used with those that are."""
        texts = [("uri", self.uri), *(("headers", value) for value in self.all_headers.values())]
        missing = ((field, name) for field, text in texts for name in unset(text))
        found = [f"{field}: needs {name} of the environment, which is not set" for field, name in missing]
        if not found:
            try:
                exchange(self)
            except ValueError as error:
                found.append(str(error))
        return [*super().lacking(), *found]

    @property
    def all_headers(self) -> dict[str, str]:
        """As they stand in the file."""
        return self.headers if self.authorization is None else {"authorization": self.authorization, **self.headers}


def exchange(settings: HTTPSettings) -> Exchange:
    """With the environment's values. Raises ValueError, which tells none, for those that are missing or cannot be."""
    environment = Environment()
    field = "uri"
    try:
        uri = environment.filled(settings.uri)
        field = "headers"
        headers = {name: environment.filled(value) for name, value in settings.all_headers.items()}
        are_headers(headers)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None
    try:
        parsed = _parsed(uri)
    except ValueError:  # which may tell some of it
        raise ValueError(f"uri: with what the environment says: {_EXPECTED}") from None
    return Exchange(parsed, headers, settings.timeout_s, settings.ca_file, environment.values)


class HTTP(Sent):
    """Objects to a server. What it says is too large (413) goes in halves, and never again so large.

    A record that alone is too large is lost, `too large` in `detail`. Raises ValueError for what the environment lacks.
    """

    Settings = HTTPSettings

    def __init__(self, settings: HTTPSettings, station: Station) -> None:
        self._exchange = exchange(settings)
        self._typed = "content-type" in map(str.lower, settings.headers)
        self._refused = math.inf  # so many bytes were too many for the server
        if settings.threads is not None:
            settings = msgspec.structs.replace(settings, concurrency=min(settings.threads, _MOST_THREADS))
        super().__init__(settings, station, self._exchange.origin, _FORMS[settings.encoding])

    def put(self, key: str, file: BinaryIO) -> int:
        """A request, or several where the body is too large for the server."""
        name, _, form = key.rpartition("/")[2].rpartition(".")
        if form not in _BODIES:  # the pipeline had another backend when it was written
            raise ValueError("it is none of HTTP's encodings; the backend that it was spooled for can send it")
        return self._send(name, file.read(), _BODIES[form])

    def why(self, error: Exception) -> str:
        """As the server put it, or what kept it from being asked; without secrets, whoever repeats them."""
        told = self._exchange.redacted(str(error))
        if isinstance(error, RefusedError):
            return told
        hint = "; ca_file names who may have signed it" if isinstance(error, ssl.SSLCertVerificationError) else ""
        return f"{type(error).__name__}: {told}{hint}"

    def _send(self, name: str, body: bytes, kind: type[Body]) -> int:
        """How many records in it the server will never take."""
        headers = {"Idempotency-Key": name} | ({} if self._typed else {"Content-Type": kind.content_type})
        try:
            if len(body) < self._refused:
                self._exchange.post(body, headers)
                return 0
        except TooLargeError as error:
            if len(body) <= _LEAST:
                raise
            self._refused = min(self._refused, len(body))
            what = "%s: the server takes no body of %d bytes; smaller ones are sent. It said: %s"
            log.warning(what, self.station.name, len(body), harmless(str(error)))
        halves = kind.halves(body)
        if halves is None:
            return 1
        return sum(self._send(f"{name}-{number}", half, kind) for number, half in enumerate(halves))


def _parsed(uri: str) -> SplitResult:
    if not uri.isascii():
        raise ValueError(f"{_EXPECTED}; what is not ASCII in it stands as %XX")
    return parse_url(uri, _EXPECTED)

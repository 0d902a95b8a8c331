"""One HTTP request and its answer (RFC 9112): a body goes out, and the server has it, or says why not.

Whatever the server does, it ends within a time, and little of what it says is read. No redirect is followed, so headers
go nowhere but to the server that they are for. The standard library's client is used by itself: of those built on it
none ends a whole exchange in time, however slowly the server answers.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import SplitResult, unquote, urlsplit

import ingrain
from ingrain.backends.environment import Redaction
from ingrain.backends.proxies import proxy_of
from ingrain.backends.uploader import LaterError
from ingrain.backends.urls import origin, userinfo

_CONNECT_S = 10
_READ = 4096  # bytes of an answer that says why
_LATEST_S = 3600.0  # no server is left alone for longer, whatever it asks for
_SEGMENT = 8  # characters of a part of a path that may be a token; shorter ones are words, like "insert"
_AUTHORITIES = (  # where distributions keep them, for a Python that looks elsewhere
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class RefusedError(LaterError):
    """The server answered, and did not take it; the message says how it put that, without anything secret."""


class TooLargeError(RefusedError):
    """It may take a smaller one (RFC 9110, 413)."""


class Exchange:
    """What a server is asked with. Raises ValueError for a CA file or a proxy that cannot be used.

    uri: of what takes the bodies. headers: sent with each. timeout_s: how long an exchange may take, once connected.
    secrets: what no message may have in it, beside the headers' values and all of the URI that is behind its host.
    """

    def __init__(
        self,
        uri: SplitResult,
        headers: Mapping[str, str],
        timeout_s: int,
        ca_file: str | None,
        secrets: Iterable[str] = (),
    ) -> None:
        self._uri = uri
        self._target = (uri.path or "/") + (f"?{uri.query}" if uri.query else "")
        self._headers = {**headers}
        if "user-agent" not in map(str.lower, headers):
            self._headers["User-Agent"] = f"ingrain/{ingrain.__version__}"
        self._timeout_s = timeout_s
        self._tls = _tls(ca_file) if uri.scheme == "https" else None
        self._proxy = proxy_of(uri, "http")
        known = _authorization(self._proxy)
        user = userinfo(self._proxy.netloc) if self._proxy else ""
        self._secret = Redaction([*secrets, *headers.values(), *known.values(), uri.query, user])
        self._path = Redaction([uri.path], _SEGMENT)
        if self._proxy and not self._tls:  # RFC 9112 section 3.2.2: a proxy is told the whole of it
            self._target = uri.geturl()
            self._headers |= known

    @property
    def origin(self) -> str:
        """All that may be told of where it sends."""
        return origin(self._uri)

    def redacted(self, text: str) -> str:
        """What was said, without secrets."""
        return self._path(self._secret(text))

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a body, with these headers too; the server has it when this returns.

        Raises RefusedError, or OSError or HTTPException where there is no answer.
        """
        connection = self._connection()
        try:
            with _ended(connection, self._timeout_s):
                connection.connect()
                connection.sock.settimeout(self._timeout_s)
                # Where the server breaks off it may have answered before: RFC 9112 section 9.5
                with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                    connection.request("POST", self._target, body, {**self._headers, **headers})
                answer = connection.getresponse()
                if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    raise self._refused(answer)
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        to = self._proxy or self._uri
        host = to.hostname or ""
        if self._tls is None:
            return HTTPConnection(host, to.port, timeout=_CONNECT_S)
        connection = HTTPSConnection(host, to.port, timeout=_CONNECT_S, context=self._tls)
        if self._proxy:
            connection.set_tunnel(self._uri.hostname or "", self._uri.port, _authorization(self._proxy))
        return connection

    def _refused(self, answer: HTTPResponse) -> RefusedError:
        read = b""
        with suppress(OSError, HTTPException):  # its status is known
            read = answer.read(_READ)
        if len(read) >= _READ:  # a secret may be cut off at its end
            read = read[: -max(self._secret.longest, self._path.longest)]
        said = read.decode("utf-8", "replace")
        text = f"{answer.status} {answer.reason}"
        if 300 <= answer.status < 400:  # noqa: PLR2004 - redirects (RFC 9110 section 15.4)
            where = _elsewhere(answer.getheader("Location", ""))
            text += f": it redirects to {where}, and no redirect is followed; set uri to what takes the records"
        elif said.strip():
            text += f": {said.strip()}"
        text = self.redacted(text)
        kind = TooLargeError if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else RefusedError
        return kind(text, _seconds(answer.getheader("Retry-After", "")))


@contextmanager
def _ended(connection: HTTPConnection, seconds: float) -> Iterator[None]:
    """What is done with the connection inside ends in time, with a TimeoutError: each single wait would begin anew."""
    late, what = threading.Event(), f"no whole answer within {seconds} s"

    def end() -> None:
        late.set()
        with suppress(OSError, AttributeError):  # closed, or not connected yet
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds + _CONNECT_S, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, HTTPException) as error:
        if late.is_set():
            raise TimeoutError(what) from error
        raise
    else:
        if late.is_set():  # the client takes a head that is cut off for a whole one
            raise TimeoutError(what)
    finally:
        timer.cancel()


def _tls(ca_file: str | None) -> ssl.SSLContext:
    """Certificates and names are verified, always."""
    known = ssl.get_default_verify_paths()
    if ca_file is None and known.cafile is None and known.capath is None:
        ca_file = next((file for file in _AUTHORITIES if os.access(file, os.R_OK)), None)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # SSLError is one
        why = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no certificate in PEM"
        raise ValueError(f"ca_file: {ca_file} cannot be used: {why}") from error


def _authorization(proxy: SplitResult | None) -> dict[str, str]:
    if proxy is None or proxy.username is None:
        return {}
    words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}


def _elsewhere(location: str) -> str:
    try:
        parts = urlsplit(location)
        return origin(parts) if parts.hostname else "another path of the same server"
    except ValueError:
        return "what is no URL"


def _seconds(retry_after: str) -> float:
    """How long to wait by a Retry-After (RFC 9110 section 10.2.3), a number or a date; 0 where there is none."""
    try:
        if retry_after.strip().isascii() and retry_after.strip().isdigit():
            seconds = float(retry_after)
        else:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):
        return 0.0
    return min(max(0.0, seconds), _LATEST_S)

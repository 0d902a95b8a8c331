"""boto3's connections, bounded: an exchange ends in time, and little of its answer is read.

boto3 bounds each single wait, so a server that says a byte now and then would hold an upload for ever; and it reads an
answer whole, however large it is. There is no setting for either: connections are made by a class of ours instead.
Of uploads alone: what is asked of a bucket has long answers. Imported where boto3 is, by `ingrain.backends.s3`.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from threading import Timer
from typing import Any

from botocore import __version__
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

log = logging.getLogger(__name__)

_ANSWER_S = 90.0  # longer than any single wait
_SLOWEST = 16 << 10  # bytes of an object in a second: one that goes out more slowly is given up
_READ = 1 << 20  # bytes of an answer; S3's own take one or two thousand
_SIZES = ("X-Amz-Decoded-Content-Length", "Content-Length")


class Connection(AWSHTTPConnection):
    """One to a server or a proxy. What is late, or too long, ends: the connection is closed, and never used again."""

    _timer: Timer | None = None
    _late = False
    _reading: Any = None  # its socket, while there is an answer to come: it is let go of before all of that is read

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, *more: Any, **named: Any) -> Any:
        """Send a request, in as much time as its size takes. The time goes on until there is the answer."""
        self._late = False
        size = next((int(headers[name]) for name in _SIZES if name in headers), 0)
        self._timer = Timer(_ANSWER_S + size / _SLOWEST, self._end)
        self._timer.daemon = True
        self._timer.start()
        return super().request(method, url, body, headers, *more, **named)

    def getresponse(self) -> Any:
        """The answer, as much of it as is read. Raises TimeoutError where it took too long."""
        self._reading = self.sock
        try:
            answer: Any = super().getresponse()
            said = answer.read(_READ)
        finally:
            self._reading = None
            self._stop()
            if self._late:  # what was cut off may look like a whole answer
                raise TimeoutError("no whole answer in time")
        if not answer.closed:
            self.close()

        def stream(*_: object) -> Iterator[bytes]:
            yield said
            answer.release_conn()

        answer.stream = stream
        return answer

    def close(self) -> None:
        """End it, in whatever state it is."""
        if self._reading is None:
            self._stop()
        super().close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self._late = True
        at = self._reading or self.sock
        with suppress(OSError, AttributeError), socket.socket(fileno=os.dup(at.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)

    def _consume_headers(self, file: Any) -> None:
        """Those of a `100 Continue`. botocore's own goes on for ever where the connection ends within them."""
        while file.readline(_READ) not in (b"\r\n", b""):
            pass


class TLSConnection(Connection, AWSHTTPSConnection):  # type: ignore[misc] # as botocore's own
    """The same over TLS."""


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = Connection


class _TLSPool(AWSHTTPSConnectionPool):
    ConnectionCls = TLSConnection


def bound(client: Any) -> None:
    """Have a boto3 client make such connections, also to proxies.

    botocore has no public way to that. One that has this way no more keeps its own connections, and the log says so.
    """
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    classes = getattr(session, "_pool_classes_by_scheme", None)
    if isinstance(classes, dict):
        classes.update(http=_Pool, https=_TLSPool)
    else:
        log.warning("S3: botocore %s makes its connections in another way: an upload may take for ever", __version__)

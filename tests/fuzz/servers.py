"""What comes over a socket: the records of a running agent, and the answers of a server that records go to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from http.client import HTTPException
from typing import Any

from chain import VOLUME, batch_of

from fuzz.target import Target
from ingrain.backends.exchange import Exchange, RefusedError
from ingrain.backends.urls import parse_url
from ingrain.live.frames import FrameError, decode, encode

_SECRET = "hunter2-and-more"


def live(data: bytes) -> bool:
    """A frame is records that are whole, with names that are text, or FrameError."""
    try:
        frame = decode(data)
    except FrameError:
        return False
    frame.records.validate(full=True)
    for name in (frame.measurement, *frame.records.schema.names):
        assert name == name.encode().decode()
    return True


class _Server:
    """Answers every request with the same bytes."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            asking, _ = self._listener.accept()
            with asking, suppress(OSError):
                said = b""
                while not said.endswith(b"\r\n\r\nbody") and (more := asking.recv(1 << 16)):
                    said += more
                asking.sendall(self.answer)
                asking.shutdown(socket.SHUT_WR)
                asking.recv(1)


@cache
def _server() -> _Server:
    return _Server()


def answer(data: bytes) -> bool:
    """Whatever a server says, it has the body, or there is an error that is expected, in which no secret stands."""
    server = _server()
    server.answer = data
    uri = parse_url(f"http://127.0.0.1:{server.port}/in", "a URL")
    exchange = Exchange(uri, {"Authorization": f"Bearer {_SECRET}"}, 60, None)
    try:
        exchange.post(b"body", {})
    except RefusedError as error:
        assert _SECRET not in str(error)
        return True
    except (OSError, HTTPException) as error:
        assert _SECRET not in exchange.redacted(str(error))
        return False
    return True


def _frames() -> Iterable[bytes]:
    rows: list[dict[str, Any]] = [
        {"value": 1, "packets": 2, "process": "curl", "d_port": 443},
        {"value": 1, "packets": 0},
    ]
    return [encode(batch_of(VOLUME, rows), left_out)[4:] for left_out in (0, 7)]


def _answers() -> Iterable[bytes]:
    yield b"HTTP/1.1 204 No Content\r\n\r\n"
    yield b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nContent-Length: 4\r\n\r\nlate"
    later = b"HTTP/1.1 429 x\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"
    yield later + b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
    yield f"HTTP/1.0 400 {_SECRET}\r\n\r\nno key {_SECRET} here, Bearer {_SECRET}".encode()
    yield b"HTTP/1.1 302 Found\r\nLocation: https://user:pass@[::1]:1/x\r\n\r\n"
    yield b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Large\r\n\r\n"


_WORDS = (b"HTTP/1.1 ", b"\r\n", b"Retry-After: ", b"Location: ", b"Transfer-Encoding: chunked", _SECRET.encode())

TARGETS = (
    Target("live", live, _frames, 5),
    Target("answer", answer, _answers, 3, words=_WORDS, longest=1024),
)

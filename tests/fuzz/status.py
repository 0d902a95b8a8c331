"""What a server that is no honest agent answers to `ingrain status`."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

import msgspec

from fuzz.promises import check_text
from fuzz.target import Target, scratch
from ingrain import report
from ingrain.account import Account, ProbeAccount, Station
from ingrain.status import Status, StatusError, ask


class _Server:
    """Answers everybody with the same bytes."""

    def __init__(self) -> None:
        self.answer = b""
        self.path = str(scratch() / "status.sock")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            asking, _ = self._listener.accept()
            with asking, suppress(OSError):
                asking.sendall(self.answer)


@cache
def _server() -> _Server:
    return _Server()


def status(data: bytes) -> bool:
    """An answer is shown, harmless, as text and as JSON, or StatusError says in harmless words why not."""
    server = _server()
    server.answer = data
    try:
        told = ask(server.path)
    except StatusError as error:
        check_text(str(error))
        return False
    for line in report.state(told).split("\n"):
        check_text(line)
    for line in json.dumps(told.document(), indent=2).split("\n"):
        check_text(line)
    return True


def _answers() -> Iterable[bytes]:
    station = Station("pipeline out: S3", received=5, delivered=3, spooled=2, spooled_bytes=100)
    station.detail["overflow"] = 1
    station.gauges["inbox.depth"] = 7
    station.failing["uploading"] = "refused"
    account = Account([ProbeAccount("DNS", handed_over=9, received=9, corrupt=1)], {"out": [station]})
    for capture in (None, {"read": 5, "unknown_links": {"127": 2}}):
        told = Status("1", os.getpid(), "/etc/x.toml", time.time(), time.time() + 1e9, ["slow"], account)
        answered = msgspec.json.decode(msgspec.json.encode(told))
        answered["account"]["capture"] = capture
        yield msgspec.json.encode(answered)
    yield b"{}"


_WORDS = (b'"detail"', b'"capture"', b'"started"', b"1e300", b"-1", b"\\u001b", b"\\u202e", b"null", b"[[", b"{}")

TARGETS = (Target("status", status, _answers, 3, words=_WORDS, longest=2048),)

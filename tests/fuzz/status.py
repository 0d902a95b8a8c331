"""What a server that is no honest agent answers to `ingrain status`."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

import msgspec

from fuzz.promises import check_text
from fuzz.target import Chosen, Target, piece, scratch
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
    chosen = Chosen(data)
    server = _server()
    server.answer = _told(chosen) if chosen.number() else chosen.rest()
    try:
        told = ask(server.path)
    except StatusError as error:
        check_text(str(error))
        return False
    for line in (report.state(told) + "\n" + report.as_json(told)).split("\n"):
        check_text(line)
    return True


def _told(chosen: Chosen) -> bytes:
    """A document of the right form, with any names and numbers in it."""
    names = [chosen.text() for _ in range(6)]
    counts = [chosen.number(chosen.number() % 16) - 2 for _ in range(6)]
    started, at = (float(_MOMENTS[chosen.number() % len(_MOMENTS)]) for _ in range(2))
    station = Station(names[0], received=counts[0], spooled=counts[1], detail=Counter({names[1]: counts[2]}))
    station.gauges[names[2]] = counts[3]
    probe = ProbeAccount(names[3], handed_over=counts[4], corrupt=counts[5])
    capture: dict[str, int | dict[str, int]] = {names[4]: counts[0], names[5]: {names[0]: counts[1]}}
    account = Account([probe], {names[1]: [station]}, capture if chosen.number() & 1 else None)
    return msgspec.json.encode(Status(names[2], counts[5], names[3], started, at, names[4:], account))


_MOMENTS = (0, 1, 1.75e9, 253_402_300_799, 253_402_300_800, 1e18, -1, 1e308)


def _answers() -> Iterable[bytes]:
    station = Station("pipeline out: S3", received=5, delivered=3, spooled=2, spooled_bytes=100)
    station.detail["overflow"] = 1
    station.gauges["inbox.depth"] = 7
    station.failing["uploading"] = "refused"
    account = Account([ProbeAccount("DNS", handed_over=9, received=9, corrupt=1)], {"out": [station]})
    told = Status("1", os.getpid(), "/etc/x.toml", time.time(), time.time() + 1e9, ["slow"], account)
    yield b"\0" + msgspec.json.encode(told)
    texts = [piece(one) for one in (b"out: S3", b"\x1b[2J", "\u202e\x9b".encode(), b"DNS", b"read", b"links")]
    yield b"\1" + b"".join(texts) + bytes([2, 9, 0, 1, 7]) + bytes(20)
    yield b"\1" + b"".join(texts) + bytes([8, *b"\xff" * 8, 15, *b"\xff" * 15]) + bytes(4) + b"\2\2\1"


_WORDS = (b'"detail"', b'"capture"', b'"started"', b"1e300", b"-1", b"\\u001b", b"\\u202e", b"null", b"[[", b"{}")

TARGETS = (Target("status", status, _answers, 3, words=_WORDS, longest=2048),)

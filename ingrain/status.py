"""The state of a running agent, asked over a Unix socket that only root and the agent's own user can open.

Who connects gets one JSON document and the end of the stream; nothing is ever read from the other side. Nobody who does
not read, and no number of those who ask, holds the agent up: a thread of its own answers, at a bounded rate.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec

from ingrain.account import Account
from ingrain.local import PATIENCE_S, Door, LocalError, connect, why

SOCKET = "/run/ingrain/status.sock"
"""Where the agent is asked, unless the configuration says otherwise."""

OVERDUE_S = 10.0
"""An agent that has not looked at itself for so long is not well: it does so every second."""

_ANSWER_S = 0.5  # how long one who does not read is waited for
_PATH_BYTES = 107  # sun_path holds 108 with the zero that ends it (unix(7))
_DOCUMENT_BYTES = 16 << 20
_YEAR_9999_S = 253_402_300_799  # the last that Python has


Moment = Annotated[float, msgspec.Meta(ge=0, le=_YEAR_9999_S)]
"""Seconds since 1970."""


class StatusError(RuntimeError):
    """There is no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Status:
    """An agent at a moment; `at` is when it looked at itself last.

    It is healthy when there are no problems. hung: why nothing is done any more until a restart; else empty.
    """

    version: str
    pid: int
    file: str
    started: Moment
    at: Moment
    problems: list[str]
    account: Account
    hung: str = ""

    def document(self) -> dict[str, Any]:
        """The same as plain lists and dictionaries, for JSON."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        return {"healthy": not self.problems} | told | {"account": self.account.document()}


def is_socket(path: str) -> None:
    """Raise ValueError for what no socket can be called."""
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > _PATH_BYTES:
        raise ValueError(f"expected an absolute path of at most {_PATH_BYTES} bytes, like {SOCKET}")
    if path.endswith(".live"):
        raise ValueError(f"may not end in .live, where `ingrain top` watches: expected a path like {SOCKET}")


class StatusServer(Door):
    """Answers at `path` with what `status` gives, until `stop`. Raises OSError where it cannot be there."""

    def __init__(self, path: str, status: Callable[[], Status]) -> None:
        self._status = status
        super().__init__(path, "status", self._answer)

    def _answer(self, asking: socket.socket) -> None:
        with asking:
            asking.settimeout(_ANSWER_S)
            with suppress(OSError):  # who does not read, or has gone, does without
                asking.sendall(msgspec.json.encode(self._status()))


def ask(path: str) -> Status:
    """What the agent at `path` says of itself. Raises StatusError where there is no answer, or no honest one."""
    deadline = time.monotonic() + PATIENCE_S
    try:
        with connect(path, deadline) as asked:
            document = _read(asked, deadline)
    except LocalError as error:
        raise StatusError(str(error)) from error
    except OSError as error:
        raise StatusError(why(path, error)) from error
    try:
        status = msgspec.json.decode(document, type=Status, dec_hook=_counter)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StatusError(f"the agent at {path} is of another version, or ended while it answered: {error}") from error
    late = time.time() - status.at
    if late > OVERDUE_S:
        hung = f"the agent has not looked at itself for {late:.0f} s: its main thread hangs"
        return replace(status, problems=[*status.problems, hung], hung=hung)
    return status


def _read(asked: socket.socket, deadline: float) -> bytes:
    document = bytearray()
    while len(document) <= _DOCUMENT_BYTES:
        asked.settimeout(max(0.001, deadline - time.monotonic()))
        piece = asked.recv(1 << 16)
        if not piece:
            break
        document += piece
    return bytes(document)


def _counter(kind: Any, value: Any) -> Any:
    del kind  # the only type of the document that JSON does not have
    return Counter(msgspec.convert(value, dict[str, int]))

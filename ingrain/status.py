"""The state of a running agent, asked over a Unix socket that only root and the agent's own user can open.

Who connects gets one JSON document and the end of the stream; nothing is ever read from the other side. Nobody who does
not read, and no number of those who ask, holds the agent up: a thread of its own answers, at a bounded rate.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ingrain.account import Account

log = logging.getLogger(__name__)

SOCKET = "/run/ingrain/status.sock"
"""Where the agent is asked, unless the configuration says otherwise."""

PATIENCE_S = 5.0
"""How long whoever asks waits for an answer."""

OVERDUE_S = 10.0
"""An agent that has not looked at itself for so long is not well: it does so every second."""

_ANSWER_S = 0.5  # how long one who does not read is waited for
_PACE_S = 0.01  # between two answers: a flood of questions costs a few per cent of a core at the most
_WAITING = 16  # who may wait for an answer; the kernel turns the others away, or lets them wait
_PATH_BYTES = 107  # sun_path holds 108 with the zero that ends it (unix(7))
_DOCUMENT_BYTES = 16 << 20
_CREDENTIALS = struct.Struct("3i")  # struct ucred of socket(7): process, user and group


class StatusError(RuntimeError):
    """There is no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Status:
    """An agent at a moment. started, at: seconds since 1970; `at` is when it looked at itself last.

    It is healthy when there are no problems.
    """

    version: str
    pid: int
    file: str
    started: float
    at: float
    problems: list[str]
    account: Account

    def document(self) -> dict[str, Any]:
        """The same as plain lists and dictionaries, for JSON."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        return {"healthy": not self.problems} | told | {"account": self.account.document()}


def is_socket(path: str) -> None:
    """Raise ValueError for what no socket can be called."""
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > _PATH_BYTES:
        raise ValueError(f"expected an absolute path of at most {_PATH_BYTES} bytes, like {SOCKET}")


class StatusServer:
    """Answers at `path` with what `status` gives, from `start` to `stop`. Raises OSError where it cannot be there."""

    def __init__(self, path: str, status: Callable[[], Status]) -> None:
        self.path = path
        self._status = status
        self._allowed = {0, os.geteuid()}
        self._stopping = threading.Event()
        self._listener = _listen(path)
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more, and take the socket away."""
        self._stopping.set()
        with suppress(OSError):  # who has dropped its rights leaves it to its successor
            _remove(self.path)
        self._listener.shutdown(socket.SHUT_RDWR)  # who waits in accept(2) is woken
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asking, _ = self._listener.accept()
            except OSError as error:  # too many open files, or the end
                if not self._stopping.is_set():
                    log.warning("status: nobody can be answered now: %s", error.strerror)
                    self._stopping.wait(_ANSWER_S)
                continue
            with asking:
                try:
                    self._answer(asking)
                except Exception:  # the thread's edge
                    log.exception("status: a question could not be answered")
            self._stopping.wait(_PACE_S)

    def _answer(self, asking: socket.socket) -> None:
        user = peer(asking)
        if user not in self._allowed:
            log.warning("status: user %d asked, and was told nothing", user)
            return
        asking.settimeout(_ANSWER_S)
        try:
            asking.sendall(msgspec.json.encode(self._status()))
        except OSError:  # who does not read, or has gone, does without
            return


def ask(path: str) -> Status:
    """What the agent at `path` says of itself. Raises StatusError where there is no answer, or no honest one."""
    deadline = time.monotonic() + PATIENCE_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asked:
        try:
            _connect(asked, path, deadline)
            if peer(asked) not in (0, os.geteuid(), Path(path).parent.stat().st_uid):
                raise StatusError(f"who listens at {path} is user {peer(asked)}, whom its folder does not belong to")
            document = _read(asked, deadline)
        except OSError as error:
            raise StatusError(_why(path, error)) from error
    try:
        status = msgspec.json.decode(document, type=Status, dec_hook=_counter)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StatusError(f"the agent at {path} is of another version, or ended while it answered: {error}") from error
    late = time.time() - status.at
    if late > OVERDUE_S:
        status.problems.append(f"the agent has not looked at itself for {late:.0f} s: its main thread hangs")
    return status


def peer(connected: socket.socket) -> int:
    """The user at the other side of a connection, as the kernel noted it."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(raw)[1]
    return user


def _listen(path: str) -> socket.socket:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(listener.fileno(), 0o600)  # before it has a name: it is never open to others (unix_bind_bsd)
        listener.bind(path)
        listener.listen(_WAITING)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Remove what an agent that was killed left there. Raises OSError where somebody listens, or it is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "this is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as other:
        other.settimeout(PATIENCE_S)
        if other.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "another agent answers there")
    _remove(path)


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _connect(asked: socket.socket, path: str, deadline: float) -> None:
    while True:
        asked.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            return asked.connect(path)
        except BlockingIOError:  # as many as can wait there wait already
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            time.sleep(_PACE_S)


def _read(asked: socket.socket, deadline: float) -> bytes:
    document = bytearray()
    while len(document) <= _DOCUMENT_BYTES:
        asked.settimeout(max(0.001, deadline - time.monotonic()))
        piece = asked.recv(1 << 16)
        if not piece:
            break
        document += piece
    return bytes(document)


def _why(path: str, error: OSError) -> str:
    match error:
        case FileNotFoundError() | ConnectionRefusedError():
            return f"no agent answers at {path}: it does not run, or its configuration names another socket"
        case PermissionError():
            return f"{path} may be opened by root and the agent's own user only"
        case TimeoutError():
            return f"the agent at {path} does not answer within {PATIENCE_S:.0f} s"
        case _:
            return f"the agent at {path} cannot be asked: {error.strerror or error}"


def _counter(kind: Any, value: Any) -> Any:
    del kind  # the only type of the document that JSON does not have
    return Counter(msgspec.convert(value, dict[str, int]))

"""Unix sockets of the agent: only root and its own user can open them, and each side knows who the other is."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""How long whoever asks waits for an answer."""

_RETRY_S = 0.5  # until nobody can be let in for want of descriptors any more
_PACE_S = 0.01  # between two who ask: a flood of questions costs a few per cent of a core at the most
_WAITING = 16  # who may wait to be let in; the kernel turns the others away, or lets them wait
_CREDENTIALS = struct.Struct("3i")  # struct ucred of socket(7): process, user and group


class LocalError(RuntimeError):
    """Nobody answers, or a stranger; the message says who and why."""


class Door:
    """Listens at `path`, from when it is made to `stop`, in a thread of its own. Raises OSError where it cannot.

    serve: called in that thread with the connection of each who may come in; it closes that.
    """

    def __init__(self, path: str, name: str, serve: Callable[[socket.socket], None]) -> None:
        self.path = path
        self._name = name
        self._serve = serve
        self._allowed = {0, os.geteuid()}
        self._stopping = threading.Event()
        self._listener = _listen(path)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the limit of threads
            self._listener.close()
            _remove(path)
            raise OSError(errno.EAGAIN, str(error)) from error

    def stop(self) -> None:
        """Let nobody in any more, and take the socket away."""
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
                    log.warning("%s: nobody can be answered now: %s", self._name, error.strerror)
                    self._stopping.wait(_RETRY_S)
                continue
            self._let_in(asking)
            self._stopping.wait(_PACE_S)

    def _let_in(self, asking: socket.socket) -> None:
        try:
            user = peer(asking)
            if user in self._allowed:
                self._serve(asking)
                return
            log.warning("%s: user %d asked, and was told nothing", self._name, user)
        except Exception:  # the thread's edge
            log.exception("%s: a question could not be answered", self._name)
        asking.close()


def connect(path: str, deadline: float) -> socket.socket:
    """A connection to the agent at `path`. Raises LocalError where it is not there by then (`time.monotonic`)."""
    asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _connect(asked, path, deadline)
        honest = peer(asked) in (0, os.geteuid(), Path(path).parent.stat().st_uid)
    except OSError as error:
        asked.close()
        raise LocalError(why(path, error)) from error
    if not honest:
        stranger = peer(asked)
        asked.close()
        raise LocalError(f"who listens at {path} is user {stranger}, whom its folder does not belong to")
    return asked


def peer(connected: socket.socket) -> int:
    """The user at the other side of a connection, as the kernel noted it."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(raw)[1]
    return user


def why(path: str, error: OSError) -> str:
    """An error on the way to the agent at `path`, as the operator should read it."""
    match error:
        case FileNotFoundError() | ConnectionRefusedError():
            return f"no agent answers at {path}: it does not run, or its configuration names another socket"
        case PermissionError():
            return f"{path} may be opened by root and the agent's own user only"
        case TimeoutError():
            return f"the agent at {path} does not answer within {PATIENCE_S:.0f} s"
        case _:
            return f"the agent at {path} cannot be asked: {error.strerror or error}"


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

"""Datagrams to a server that may be away: over UDP or a Unix socket, with no wait that has no end, and nobody lied to.

`Peer.send` says of each datagram whether the socket took it. A host's name is looked up in a thread of its own, again
from time to time.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

REFRESH_S = 60.0
"""A name is looked up again after this many seconds: the server may have moved."""

RETRY_S = 5.0
"""A name that could not be looked up is tried again after this many seconds."""

_GONE = {errno.ECONNREFUSED, errno.ENOTCONN, errno.ECONNRESET}
_ELSEWHERE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_UNIX = "unix://"
_UNIX_PATH_BYTES = 107  # sun_path holds 108 with the zero that ends it (unix(7))
_PORTS = 1 << 16
_NAME, _LABEL = 253, re.compile(r"[0-9A-Za-z_-]{1,63}")  # of a host: RFC 1035 section 2.3.4, as text

Place = tuple[socket.AddressFamily, Any]


@dataclass(frozen=True, slots=True)
class Address:
    """Where datagrams go: a host and a UDP port, or the path of a Unix datagram socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return _UNIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str, default_port: int) -> Address:
    """The address of `HOST`, `HOST:PORT`, `[IPV6]:PORT` or `unix:///PATH`. Raises ValueError for anything else."""
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if not path.startswith("/") or "\0" in path or len(path.encode()) > _UNIX_PATH_BYTES:
            raise ValueError(
                f"unix:// takes an absolute path of at most {_UNIX_PATH_BYTES} bytes: unix:///run/statsd.sock"
            )
        return Address(path=path)
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        valid = (
            bool(closed)
            and ":" in host
            and _is_number(host.partition("%")[0], socket.AF_INET6)
            and (not port or port.startswith(":"))
        )
        port = port.removeprefix(":") if port else str(default_port)
    else:
        host, colon, port = text.partition(":")
        valid = len(host) <= _NAME and all(map(_LABEL.fullmatch, host.removesuffix(".").split(".")))
        port = port if colon else str(default_port)
    if not valid or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < _PORTS):
        raise ValueError('expected "HOST:PORT", "[IPV6]:PORT" with a port from 1 to 65535, or "unix:///PATH"')
    return Address(host, int(port))


def _is_number(host: str, *families: socket.AddressFamily) -> bool:
    for family in families or (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


class Peer:
    """One server. Not for more than one thread at a time."""

    def __init__(self, address: Address, look_up: Callable[[str, int], list[Place]] | None = None) -> None:
        self._names = Names(address, look_up or _look_up)
        self._socket: socket.socket | None = None
        self._place: Place | None = None
        self._turn = 0

    def send(self, datagram: memoryview, deadline: float) -> str:
        """Send one datagram: empty text when the socket took it, else why not.

        Waits until `deadline` (`time.monotonic`) for room in a full buffer or for a name that is being looked up. Of a
        host with several addresses, each is tried until one does not refuse. A refusal that only comes back later from
        a server far away is told by the next call, whose own datagram goes out nevertheless.
        """
        places, why = self._names.places(deadline)
        for _ in places:
            place = places[self._turn % len(places)]
            error = self._send(place, datagram, deadline)
            if not error:
                return ""
            why = os.strerror(error) if error != errno.EAGAIN else "its buffer stays full"
            if error not in _ELSEWHERE or len(places) == 1:
                break
            self._turn += 1
        return why

    def close(self) -> None:
        """Let go of the socket; the next `send` opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, place: Place, datagram: memoryview, deadline: float) -> int:
        """The error number, 0 for none."""
        error = 0
        for _ in range(2):
            try:
                connected = self._connected(place)
                self._take(connected, datagram, deadline)
                # Linux tells a refusal (ICMP port unreachable) with the next call on the socket; from this host it is
                # there already.
                error = connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            except OSError as told:
                error = told.errno or errno.EIO
                if error not in _GONE:
                    break
                # Either an earlier datagram was refused, or the Unix socket's server is another one now: this
                # datagram was not sent.
                if place[0] == socket.AF_UNIX:
                    self.close()
            else:
                break
        return error

    def _take(self, connected: socket.socket, datagram: memoryview, deadline: float) -> None:
        while True:
            try:
                connected.send(datagram, socket.MSG_DONTWAIT)
            except BlockingIOError:
                poll = select.poll()
                poll.register(connected, select.POLLOUT)
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise
            else:
                return

    def _connected(self, place: Place) -> socket.socket:
        if self._socket is None or self._place != place:
            self.close()
            opened = socket.socket(place[0], socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                opened.setblocking(False)  # noqa: FBT003 - the standard library's
                opened.connect(place[1])
            except OSError:
                opened.close()
                raise
            self._socket, self._place = opened, place
        return self._socket


class Names:
    """What an address stands for. getaddrinfo(3) may take half a minute, uninterrupted: a thread calls it."""

    def __init__(self, address: Address, look_up: Callable[[str, int], list[Place]]) -> None:
        self._address = address
        self._look_up = look_up
        self._places: list[Place] = []
        self._why = ""
        self._due = 0.0
        self._idle = threading.Event()
        self._idle.set()
        if address.path:
            self._places, self._due = [(socket.AF_UNIX, address.path)], float("inf")
        elif _is_number(address.host):
            self._find()
            self._due = float("inf")

    def places(self, deadline: float) -> tuple[list[Place], str]:
        """Where to send to, best first; when that is nowhere, why. Waits until `deadline` for the first answer only."""
        now = time.monotonic()
        if now >= self._due and self._idle.is_set():
            self._begin()
        if not self._places:
            if not self._idle.wait(max(0.0, deadline - now)):
                return [], f"the name {self._address.host} is still being looked up"
            if not self._places:
                return [], f"the name {self._address.host} cannot be looked up: {self._why}"
        return self._places, ""

    def _begin(self) -> None:
        """Look it up; without a thread for that, later."""
        self._idle.clear()
        try:
            threading.Thread(target=self._find, name="names", daemon=True).start()
        except RuntimeError as error:
            self._fails(str(error))
            self._idle.set()

    def _find(self) -> None:
        try:
            self._places = self._look_up(self._address.host, self._address.port)
            self._due = time.monotonic() + REFRESH_S
        except (OSError, UnicodeError) as error:
            self._fails(getattr(error, "strerror", None) or str(error))
        finally:
            self._idle.set()

    def _fails(self, why: str) -> None:
        """What was found before stays in use."""
        self._why = why
        self._due = time.monotonic() + RETRY_S


def _look_up(host: str, port: int) -> list[Place]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return [(family, place) for family, _, _, _, place in found]

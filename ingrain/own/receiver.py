"""A datagram socket that is read in bulk: many datagrams in, one piece of bytes out, and what the kernel dropped.

Over UDP or a Unix socket. Nothing is sent, so nobody can be made to answer anybody.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ingrain.backends.datagrams import Address

DATAGRAM_BYTES = 1 << 16
"""Of a datagram so much is read: all of any that comes over UDP."""

PIECE_BYTES = 1 << 18
"""At so many bytes a piece ends: enough for the costs of a round to be small beside those of its lines."""

_LINE_END = ord("\n")
# asm-generic/socket.h; Python's module does not have them
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")  # linux/sock_diag.h: sk_meminfo_drops is the last
_ANYBODY_WRITES = 0o722  # whoever may open a UDP port's other end may use this one; DogStatsD's socket is the same


@dataclass(slots=True)
class Drained:
    """Datagrams that were read together. data: each of them whole, and a line end behind it.

    datagrams: how many. blank: those without a line. cut: those that were too long, whose last line is left out.
    """

    data: bytes
    datagrams: int
    blank: int = 0
    cut: int = 0


class Receiver:
    """One socket, bound. Raises OSError where it cannot be. For one thread, but any may ask for `dropped`."""

    def __init__(self, address: Address, buffer_bytes: int) -> None:
        self._path = address.path
        self._socket = _bound(address)
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's
        self.buffer_bytes = _enlarge(self._socket, buffer_bytes)
        self._buffer = memoryview(bytearray(PIECE_BYTES + DATAGRAM_BYTES + 1))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._dropped = self._last = 0
        self._counting = threading.Lock()

    def wait(self, seconds: float) -> bool:
        """Wait so long for a datagram; whether there is one."""
        return bool(self._poll.poll(max(0.0, seconds) * 1000))

    def drain(self) -> Drained:
        """Read what is there, up to PIECE_BYTES and a datagram."""
        view, receive = self._buffer, self._socket.recv_into
        drained, at = Drained(b"", 0), 0
        while at < PIECE_BYTES:
            try:
                size = receive(view[at:], DATAGRAM_BYTES, socket.MSG_TRUNC)
            except BlockingIOError:
                break
            drained.datagrams += 1
            if size > DATAGRAM_BYTES:
                drained.cut += 1
                size = bytes(view[at : at + DATAGRAM_BYTES]).rfind(b"\n") + 1
            elif (not size or view[at] == _LINE_END) and not bytes(view[at : at + size]).strip(b"\n"):
                drained.blank += 1
            at += size
            view[at] = _LINE_END
            at += 1
        drained.data = bytes(view[:at])
        return drained

    def dropped(self) -> int:
        """Datagrams that the kernel had no room for, so far. It counts them in 32 bits. Unix sockets drop none."""
        with self._counting, suppress(OSError, struct.error):  # closed, or a kernel before 4.12
            now = _MEMINFO.unpack(self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1]
            self._dropped += (now - self._last) % (1 << 32)
            self._last = now
        return self._dropped

    def shut(self) -> None:
        """Let nothing in any more; what is there can still be read."""
        with suppress(OSError):
            if self._path:
                self._socket.shutdown(socket.SHUT_RD)
            else:
                # A UDP socket that is connected is given nothing but its peer's datagrams (udp(7)): here its own.
                self._socket.connect(self._socket.getsockname())

    def close(self) -> None:
        """Let go of it."""
        self.dropped()
        self._socket.close()
        if self._path:
            Path(self._path).unlink(missing_ok=True)


def _bound(address: Address) -> socket.socket:
    if address.path:
        _remove_stale(address.path)
        places = [(socket.AF_UNIX, address.path)]
    else:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
        places = [(family, place) for family, _, _, _, place in found]  # type: ignore[misc] # of either family
    family, place = places[0]
    bound = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        bound.bind(place)
        if address.path:
            _open_to_anybody(address.path)
    except BaseException:
        bound.close()
        raise
    return bound


def _open_to_anybody(path: str) -> None:
    """Have anybody write to the socket there. Raises OSError for what others have put in its place meanwhile.

    Where its folder is another user's, that may be a link: what it leads to must not become writable.
    """
    there = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(there).st_mode):
            raise OSError(errno.EEXIST, "somebody has put something else there")
        Path(f"/proc/self/fd/{there}").chmod(_ANYBODY_WRITES)
    finally:
        os.close(there)


def _remove_stale(path: str) -> None:
    """Remove what a server that was killed left there; others stay, and binding tells of them."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as other:
            other.connect(path)
    except ConnectionRefusedError:
        Path(path).unlink(missing_ok=True)
    except OSError:
        return


def _enlarge(bound: socket.socket, size: int) -> int:
    """Give the socket a buffer of so many bytes, or what it may have (net.core.rmem_max); how many it has."""
    try:
        bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size // 2)  # the kernel doubles it (socket(7))
    except PermissionError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size // 2)
    return bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

"""A network and a server at fault: a TCP proxy before a real server, which does harm until it is mended."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_PIECE = 1 << 14


@dataclass
class Faulty:
    """What to do with connections from now on.

    answer: a status that all are answered with, unseen by the server; saying: the message with it. cut_after: bytes of
    a connection that get through, then it is reset. rate: bytes a second. mute: the server's answers get lost. resets:
    connections that were cut so far.
    """

    url: str
    answer: int = 0
    saying: str = "as it was told"
    cut_after: int = 0
    rate: int = 0
    mute: bool = False
    resets: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mend(self) -> None:
        """Do no harm any more."""
        self.answer = self.cut_after = self.rate = 0
        self.mute = False


@contextmanager
def faulty(port: int) -> Iterator[Faulty]:
    """Before the server on that port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Faulty(f"http://127.0.0.1:{listening.getsockname()[1]}")
        threading.Thread(target=_accept, args=(made, listening, port), daemon=True).start()
        yield made
        listening.shutdown(socket.SHUT_RDWR)


def _accept(it: Faulty, listening: socket.socket, port: int) -> None:
    with suppress(OSError):  # the end
        while True:
            near = listening.accept()[0]
            threading.Thread(target=_serve, args=(it, near, port), daemon=True).start()


def _serve(it: Faulty, near: socket.socket, port: int) -> None:
    with near, suppress(OSError):
        if it.answer:
            _answer(near, it.answer, it.saying)
            return
        with socket.create_connection(("127.0.0.1", port)) as far:
            threading.Thread(target=_back, args=(it, near, far), daemon=True).start()
            _there(it, near, far)


def _there(it: Faulty, near: socket.socket, far: socket.socket) -> None:
    through = 0
    while piece := near.recv(_PIECE):
        if it.rate:
            time.sleep(len(piece) / it.rate)
        if it.cut_after and through + len(piece) > it.cut_after:
            far.sendall(piece[: it.cut_after - through])
            with it._lock:
                it.resets += 1
            for one in (near, far):  # with the rest unsaid, as by a router that lost its table
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            return
        far.sendall(piece)
        through += len(piece)


def _back(it: Faulty, near: socket.socket, far: socket.socket) -> None:
    with suppress(OSError):
        while (piece := far.recv(_PIECE)) and not it.mute:
            near.sendall(piece)
        near.shutdown(socket.SHUT_RDWR)


def _answer(near: socket.socket, status: int, saying: str) -> None:
    said = b""
    while b"\r\n\r\n" not in said:
        piece = near.recv(_PIECE)
        if not piece:
            return
        said += piece
    body = f"<Error><Code>Fault{status}</Code><Message>{saying}</Message></Error>".encode()
    head = f"HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    near.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
    near.shutdown(socket.SHUT_WR)
    near.settimeout(1.0)
    while near.recv(_PIECE):  # so that the answer is read before the reset that unread bytes make
        pass

"""Servers that do harm: each connection is answered by a function, once its request's head, or its hello, has come."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[socket.socket], None]


_HANDSHAKE = b"\x16"  # the first byte of a TLS record


@contextmanager
def hostile(answer: Answer, scheme: str = "http") -> Iterator[str]:
    """Its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, answer), daemon=True).start()
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/insert"
        listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, answer: Answer) -> None:
    with suppress(OSError):  # the end
        while True:
            threading.Thread(target=_serve, args=(listening.accept()[0], answer), daemon=True).start()


def _serve(near: socket.socket, answer: Answer) -> None:
    with near, suppress(OSError):
        said = b""
        while b"\r\n\r\n" not in said and not said.startswith(_HANDSHAKE):
            said += near.recv(1 << 16)
        answer(near)


def told(text: bytes) -> Answer:
    """Says that, and hangs up when all was read."""

    def answer(near: socket.socket) -> None:
        near.sendall(text)
        near.shutdown(socket.SHUT_WR)
        while near.recv(1 << 16):
            pass

    return answer


def for_ever(head: bytes, again: bytes) -> Answer:
    """Says the one, then the other again and again, until nobody listens."""

    def answer(near: socket.socket) -> None:
        near.sendall(head)
        while True:
            near.sendall(again)

    return answer


def drip(head: bytes, again: bytes) -> Answer:
    """Says the one, then the other again and again, each time sooner than anything that waits for it gives up."""

    def answer(near: socket.socket) -> None:
        near.sendall(head)
        while True:
            near.sendall(again)
            time.sleep(0.05)

    return answer


SLOW_HANDSHAKE = drip(b"\x16\x03\x03\x40\x00", b"\x02")
"""A record of TLS, of 16 KiB."""

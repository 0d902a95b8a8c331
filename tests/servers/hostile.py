"""Servers that do harm: each connection is answered by a function, once its request's head has come."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[socket.socket], None]


@contextmanager
def hostile(answer: Answer) -> Iterator[str]:
    """Its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, answer), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/insert"
        listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, answer: Answer) -> None:
    with suppress(OSError):  # the end
        while True:
            threading.Thread(target=_serve, args=(listening.accept()[0], answer), daemon=True).start()


def _serve(near: socket.socket, answer: Answer) -> None:
    with near, suppress(OSError):
        said = b""
        while b"\r\n\r\n" not in said:
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

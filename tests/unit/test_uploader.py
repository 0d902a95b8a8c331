"""Uploader: a queue with an end, results for who asks, and nobody waits for a server that never answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ingrain.backends.uploader import Uploader

LONG = 60.0


class Server:
    """Takes one thing at a time, as long as its gate is closed not even that."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.began = threading.Semaphore(0)
        self.got: list[int] = []

    def put(self, one: int) -> None:
        self.began.release()
        self.gate.wait()
        if one < 0:
            raise OSError(one)
        self.got.append(one)


@contextmanager
def uploader(server: Server, capacity: int) -> Iterator[Uploader[int]]:
    made = Uploader(server.put, capacity)
    try:
        yield made
    finally:
        server.gate.set()
        made.close()


def later() -> float:
    return time.monotonic() + LONG


def test_what_is_queued_is_sent_in_order_and_each_has_a_result() -> None:
    server = Server()
    server.gate.set()
    with uploader(server, 4) as made:
        for one in (1, 2, -3, 4):
            assert made.offer(one, later())
        made.wait(later())
        assert made.busy, "results are there to be asked for"
        assert [(one, str(error or "")) for one, error in made.results()] == [(1, ""), (2, ""), (-3, "-3"), (4, "")]
        assert made.results() == []
        assert not made.busy
    assert server.got == [1, 2, 4]


def test_a_full_queue_refuses_and_takes_again_when_there_is_room() -> None:
    server = Server()
    with uploader(server, 2) as made:
        assert made.offer(1, 0.0)
        assert server.began.acquire(timeout=LONG)
        assert made.offer(2, 0.0)
        assert made.offer(3, 0.0)
        assert not made.offer(4, 0.0)
        server.gate.set()
        assert made.offer(5, later())
        made.wait(later())
    assert server.got == [1, 2, 3, 5]


def test_what_is_given_up_has_no_result_even_if_it_is_sent_in_the_end() -> None:
    server = Server()
    with uploader(server, 4) as made:
        for one in (1, 2, 3):
            made.offer(one, 0.0)
        assert server.began.acquire(timeout=LONG)
        made.wait(0.0)
        assert made.give_up() == [1, 2, 3]
        assert not made.busy
        server.gate.set()
        assert made.offer(4, 0.0)
        made.wait(later())
        assert [one for one, _ in made.results()] == [4]
    assert server.got == [1, 4]

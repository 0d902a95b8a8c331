"""When the reader drains what the kernel handed over: at once, or when it is much, or before the counts are polled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from frames import CLIENT, SERVER, query, udp

from ingrain.kernel.buffers import Buffers
from ingrain.kernel.program import Program
from ingrain.kernel.reader import Reader, Source
from ingrain.kernel.records import Drained
from ingrain.kernel.testrun import ETHERNET, TestRun

KILOBYTES = 64
NEVER = 3600.0
PATIENCE_S = 30.0


@dataclass
class Watched:
    """One program of DNS with buffers of its own. `happened`: how many events a drain had, or None for a poll."""

    run: Callable[[bytes, int], bool]
    source: Source
    happened: list[int | None] = field(default_factory=list)

    def ask(self, count: int = 1) -> None:
        packet = udp(CLIENT, (SERVER[0], 53), query("www.example.com"))[ETHERNET:]
        assert all(self.run(packet, time.monotonic_ns()) for _ in range(count))

    @property
    def events(self) -> int:
        return sum(filter(None, self.happened))


@pytest.fixture
def watched(group: object) -> Iterator[Callable[..., Watched]]:
    with ExitStack() as stack:

        def _watched(interval: float = NEVER, patience: float = 0.0) -> Watched:
            program = stack.enter_context(Program("dns", {"replay": 1}))
            buffers = Buffers(program, "packet", KILOBYTES, packets=True)
            stack.callback(buffers.close)
            ingress = next(name for name, hook in program.hooks.items() if hook.endswith("ingress"))

            def drained(one: Drained) -> None:
                made.happened.append(len(one.events))

            source = Source(
                "dns", buffers, drained, lambda: made.happened.append(None), interval=interval, patience=patience
            )
            made = Watched(TestRun(program.fd(ingress)).run, source)
            return made

        yield _watched


def reading(*watched: Watched) -> Reader:
    def failed(_source: Source, error: BaseException) -> None:
        raise error

    reader = Reader(failed)
    for one in watched:
        reader.add(one.source)
    reader.start()
    return reader


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_may_wait_is_drained_once_it_is_much(watched: Callable[..., Watched]) -> None:
    prompt, patient = watched(), watched(patience=NEVER)
    reader = reading(prompt, patient)
    patient.ask()
    prompt.ask()
    until(lambda: prompt.events == 1)
    assert patient.events == 0
    asked = 1
    while not patient.events:  # more than a quarter of the buffer wakes the reader
        patient.ask(10)
        asked += 10
        time.sleep(0.01)
        assert asked < KILOBYTES * 1024 / len(b"www.example.com")
    assert asked > 20
    reader.stop()
    assert patient.events == asked
    assert patient.happened[-1] is None


def test_what_may_wait_is_drained_before_the_counts_are_polled(watched: Callable[..., Watched]) -> None:
    patient = watched(interval=0.5, patience=NEVER)
    reader = reading(patient)
    patient.ask(3)
    until(lambda: None in patient.happened)
    reader.stop()
    assert patient.happened[:2] == [3, None]


def test_nothing_waits_longer_than_it_may(watched: Callable[..., Watched]) -> None:
    patient = watched(patience=0.3)
    reader = reading(patient)
    patient.ask(2)
    until(lambda: patient.events == 2)
    reader.stop()
    assert patient.happened == [2, None]

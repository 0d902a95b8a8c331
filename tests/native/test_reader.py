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
from ingrain.kernel.reader import TICK, Reader, Source
from ingrain.kernel.records import Drained
from ingrain.kernel.testrun import ETHERNET, TestRun

KILOBYTES = 64
NEVER = 3600.0
PATIENCE_S = 60.0


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


def held(one: Watched) -> int:
    """Bytes that wait in its fullest buffer, as the kernel's own head and tail have it."""
    rings = [opened.ring for opened in one.source.buffers.opened.values()]
    return max(int(ring._head.value - ring._tail.value) for ring in rings)


def test_what_may_wait_is_drained_once_it_is_much(watched: Callable[..., Watched]) -> None:
    prompt, patient = watched(), watched(patience=NEVER)
    quarter = KILOBYTES * 1024 // 4
    reader = reading(prompt, patient)
    asked = 0
    while held(patient) < quarter * 3 // 4:
        patient.ask()
        asked += 1
    prompt.ask()
    until(lambda: prompt.events == 1)
    assert patient.events == 0
    while not patient.events and held(patient) <= quarter:
        patient.ask()
        asked += 1
    until(lambda: patient.events > 0)
    reader.stop()
    assert patient.events == asked
    assert patient.happened[-1] is None


def test_what_may_wait_is_drained_before_the_counts_are_polled(watched: Callable[..., Watched]) -> None:
    patient = watched(interval=0.05, patience=NEVER)
    patient.ask(3)
    reader = reading(patient)
    until(lambda: None in patient.happened)
    reader.stop()
    assert patient.happened[:2] == [3, None]


def test_nothing_waits_longer_than_it_may(watched: Callable[..., Watched]) -> None:
    patient = watched(patience=0.3)
    patient.ask(2)
    reader = reading(patient)
    until(lambda: patient.events == 2)
    reader.stop()
    assert patient.happened == [2, None]


def test_counts_are_polled_at_their_interval_also_where_it_is_shorter_than_a_tick(
    watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingrain.kernel.reader.TICK", NEVER)  # so that nothing but the interval wakes the reader
    idle = watched(interval=0.01)
    reader = reading(idle)
    until(lambda: len(idle.happened) > 20)
    reader.stop()
    assert set(idle.happened) == {None}


def test_an_idle_reader_wakes_for_ticks_and_polls_alone(watched: Callable[..., Watched]) -> None:
    idle, rounds = watched(interval=0.25), 0

    def count() -> None:
        nonlocal rounds
        rounds += 1

    idle.source.tick = count
    began = time.monotonic()
    reader = reading(idle)
    until(lambda: rounds > 10)
    seen, took = rounds, time.monotonic() - began
    reader.stop()
    assert seen <= took / TICK + took / 0.25 + 1


def test_a_poll_that_takes_longer_than_its_interval_is_followed_by_a_pause(watched: Callable[..., Watched]) -> None:
    slow, interval, begun = watched(interval=0.02), 0.02, []

    def poll() -> None:
        begun.append(time.monotonic())
        time.sleep(interval + 0.001)

    slow.source.poll = poll
    began = time.monotonic()
    reader = reading(slow)
    until(lambda: len(begun) > 10)
    reader.stop()
    assert begun[10] - began >= interval + 10 * 2 * interval, "each missed the interval in which it was still at work"

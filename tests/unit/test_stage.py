"""A stage's inbox is bounded, its errors are counted and survived, and a flush follows the data down the chain."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pykka
import pytest
from chain import chain, tagged
from pykka._envelope import Envelope

from ingrain.account import Station
from ingrain.batch import TEXT, Batch
from ingrain.inbox import Inbox, Tick
from ingrain.stage import Flush, Step


def records(count: int, name: str = "a") -> Batch:
    return tagged("process", pa.array([name] * count, TEXT))


class Odd(Step):
    """Passes each row on by itself and raises at the first that is called `bad`."""

    def __init__(self, settings: Any, station: Station, downstream: pykka.ActorRef[Any]) -> None:
        super().__init__(station, downstream)
        self.settings = settings

    def process(self, batch: Batch) -> Iterator[Batch]:
        for at, process in enumerate(batch.records.column("process").to_pylist()):
            if process == "bad":
                raise ValueError(process)
            yield batch.with_records(batch.records.slice(at, 1))


class Held(Odd):
    """Holds everything until a tick or a flush; the settings are the seconds to the tick."""

    def on_start(self) -> None:
        self.held: list[Batch] = []

    def process(self, batch: Batch) -> Iterator[Batch]:
        self.held.append(batch)
        if isinstance(self.settings, float):
            self.wake_in(self.settings)
        yield from ()

    def release(self) -> Iterable[Batch]:
        held, self.held = self.held, []
        return held


class Slow(Odd):
    """Passes a batch on when the settings, an event, are set."""

    def process(self, batch: Batch) -> Iterator[Batch]:
        self.settings.wait()
        yield batch


def wait_until(condition: Any) -> None:
    while not condition():  # the suite's time limit is what ends this where a promise is broken
        time.sleep(0.002)


def test_a_full_inbox_refuses_and_takes_again_when_there_is_room() -> None:
    inbox = Inbox(capacity=10)
    assert [inbox.offer(records(4)) for _ in range(3)] == [True, True, False]
    assert inbox.depth == 8
    assert inbox.offer(records(2))
    inbox.get()
    assert inbox.offer(records(4))
    assert inbox.depth == 10


def test_a_batch_larger_than_the_inbox_is_taken_when_no_other_waits() -> None:
    inbox = Inbox(capacity=10)
    assert inbox.offer(records(11))
    assert not inbox.offer(records(1))
    inbox.get()
    assert inbox.offer(records(11))


def test_an_inbox_is_bounded_by_bytes_where_records_are_large() -> None:
    inbox = Inbox(capacity=1000, capacity_bytes=100_000)
    assert inbox.offer(records(1, "x" * 60_000))
    assert not inbox.offer(records(1, "x" * 60_000))


def test_an_inbox_is_bounded_however_small_the_batches_are() -> None:
    inbox = Inbox(capacity_bytes=1 << 20)
    taken = 0
    while inbox.offer(records(1)):
        taken += 1
    assert 10 < taken <= 256
    empty = Inbox(capacity_bytes=1 << 20)
    while empty.offer(records(0)):
        assert len(empty._envelopes) <= 256


def test_control_messages_always_get_in() -> None:
    inbox = Inbox(capacity=1)
    assert inbox.offer(records(1))
    flush = Flush()
    inbox.put(Envelope(flush))
    assert isinstance(inbox.get().message, Batch)
    assert inbox.get().message is flush
    assert inbox.empty()


def test_put_waits_until_there_is_room() -> None:
    inbox = Inbox(capacity=10)
    assert inbox.offer(records(10))
    second = records(5)
    thread = threading.Thread(target=inbox.put, args=(Envelope(second),), daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    assert inbox.depth == 10
    inbox.get()
    thread.join()
    assert inbox.get().message is second


def test_a_closed_inbox_takes_no_batch_and_lets_nobody_wait() -> None:
    inbox = Inbox(capacity=10)
    assert inbox.offer(records(10))
    raised: list[BaseException] = []

    def put() -> None:
        try:
            inbox.put(Envelope(records(5)))
        except pykka.ActorDeadError as error:
            raised.append(error)

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    inbox.close()
    thread.join()
    assert len(raised) == 1
    assert not inbox.offer(records(1))
    assert (inbox.depth, len(inbox.get().message)) == (10, 10)


def test_a_tick_comes_at_its_time_even_while_messages_wait() -> None:
    inbox = Inbox()
    assert inbox.offer(records(1))
    inbox.wake_at = time.monotonic() - 1
    assert isinstance(inbox.get().message, Tick)
    assert isinstance(inbox.get().message, Batch)
    inbox.wake_at = time.monotonic() + 0.01
    assert isinstance(inbox.get().message, Tick)
    assert inbox.wake_at is None


def test_an_earlier_tick_that_was_asked_for_stays() -> None:
    step = Odd(None, Station("step"), None)  # type: ignore[arg-type] # nothing is sent
    step.wake_in(10)
    first = step.actor_inbox.wake_at
    step.wake_in(20)
    assert step.actor_inbox.wake_at == first
    step.wake_in(5)
    assert step.actor_inbox.wake_at is not None
    assert first is not None
    assert step.actor_inbox.wake_at < first


def test_a_tick_releases_what_a_step_held() -> None:
    with chain((Held, 0.01)) as steps:
        steps.tell(records(3))
        wait_until(lambda: steps.batches)
        assert steps.stations[0].delivered == 3


def test_an_exception_is_counted_against_what_was_not_passed_on_and_the_stage_lives() -> None:
    with chain((Odd, None)) as steps:
        steps.tell(tagged("process", pa.array(["a", "b", "bad", "c"], TEXT)), records(2, "d"))
        steps.flush()
        station = steps.stations[0]
        assert (station.received, station.delivered, station.lost, station.in_flight) == (6, 4, 2, 0)
        assert station.detail["errors"] == 1
        assert [row["process"] for row in steps.rows] == ["a", "b", "d", "d"]


def test_an_error_of_every_batch_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "ingrain.stage"), chain((Odd, None)) as steps:
        steps.tell(*(records(1, "bad") for _ in range(100)))
        steps.flush()
        assert steps.stations[0].detail["errors"] == 100
        assert [record.args[-1] for record in caplog.records if isinstance(record.args, tuple)] == [
            1,
            2,
            4,
            8,
            16,
            32,
            64,
        ]


def test_a_flush_goes_down_the_chain_behind_the_data_and_each_stage_hands_on_first() -> None:
    with chain((Held, None), (Held, None)) as steps:
        steps.tell(records(1, "a"), records(2, "b"))
        steps.flush()
        assert [one if isinstance(one, str) else len(one) for one in steps.out] == [1, 2, "flush"]


def test_a_full_stage_makes_the_one_before_it_wait_and_nothing_is_lost() -> None:
    with chain((Odd, None)) as steps:
        steps.gate.clear()
        inbox: Any = steps.refs[1].actor_inbox
        inbox.capacity = 5
        steps.tell(records(20))
        wait_until(lambda: inbox.depth == 5)
        assert steps.stations[0].delivered < 20
        steps.gate.set()
        steps.flush()
        assert len(steps.rows) == 20
        assert steps.stations[0].in_flight == 0


def test_what_cannot_reach_a_stopped_stage_is_counted_as_lost() -> None:
    with chain((Odd, None)) as steps:
        steps.refs[1].stop()
        steps.tell(records(3))
        steps.flush()  # and the flush is answered nevertheless
        assert (steps.stations[0].lost, steps.stations[0].detail["next stage stopped"]) == (3, 3)


def test_what_waits_in_the_inbox_of_a_stage_that_stops_is_counted_as_lost() -> None:
    gate = threading.Event()
    with chain((Slow, gate)) as steps:
        steps.tell(records(1))
        wait_until(lambda: steps.stations[0].received == 1)
        steps.refs[0].stop(block=False)
        steps.tell(records(4), records(5))
        gate.set()
        wait_until(lambda: steps.stations[0].lost)
        station = steps.stations[0]
        assert (station.received, station.delivered, station.lost) == (10, 1, 9)
        assert station.detail["abandoned"] == 9


def test_a_backend_lets_go_of_what_it_has_after_the_last_flush() -> None:
    with chain() as steps:
        steps.tell(records(1))
        steps.flush()
    assert [one if isinstance(one, str) else len(one) for one in steps.out] == [1, "flush", "close"]

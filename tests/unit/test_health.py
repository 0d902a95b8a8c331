"""What is wrong with an agent is told while it is so, and for a minute after; what is usual is not told."""

from __future__ import annotations

import time

import pytest

from ingrain.account import Account, ProbeAccount, Station
from ingrain.health import Health


class Looking:
    """Looks at an account, one a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.probe = ProbeAccount("DNS")
        self.station = Station("pipeline out: StatsD")
        self.now = 1000.0
        self._health = Health()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def look(self, seconds: float = 1.0) -> str:
        self.now += seconds
        return "; ".join(self._health.look(Account([self.probe], {"out": [self.station]})))


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Looking:
    return Looking(monkeypatch)


def test_work_that_is_done_is_no_problem(looking: Looking) -> None:
    for number in range(100):
        looking.probe.handed_over += 50
        looking.probe.received += 50 - (number % 2)  # the last one is still on its way, now and then
        looking.station.received += 20
        looking.station.gauges["inbox.depth"] = 5
        assert not looking.look()


def test_what_is_lost_is_told_with_its_number_for_a_minute(looking: Looking) -> None:
    looking.look()
    looking.probe.lost, looking.station.refused, looking.station.lost = 1200, 3, 4
    told = looking.look()
    assert "probe DNS: 1,200 events were lost within a minute" in told
    assert "pipeline out: StatsD: 3 records were refused within a minute" in told
    assert "pipeline out: StatsD: 4 records were lost within a minute" in told
    for _ in range(54):
        assert "1,200 events" in looking.look()
    for _ in range(10):
        last = looking.look()
    assert not last
    looking.probe.lost += 1
    assert "1 events were lost" in looking.look()


def test_buffers_that_are_not_read_are_told_and_one_event_that_is_on_its_way_is_not(looking: Looking) -> None:
    looking.probe.handed_over = looking.probe.received = 10
    looking.look()
    looking.probe.handed_over = 11
    assert not any(looking.look() for _ in range(5))
    looking.probe.handed_over = 500
    assert "probe DNS: its buffers stall: 490 events wait" in looking.look(2)
    looking.probe.received = 500
    assert not looking.look()


def test_events_that_went_wrong_long_ago_are_no_stall(looking: Looking) -> None:
    looking.probe.handed_over, looking.probe.received = 100, 90  # ten of them were none
    assert not any(looking.look() for _ in range(100))


def test_a_stage_that_takes_nothing_is_told_when_records_wait_for_it(looking: Looking) -> None:
    looking.station.received = 7
    assert not any(looking.look() for _ in range(100))
    looking.station.gauges["inbox.depth"] = 40
    assert not any(looking.look() for _ in range(25))
    assert "StatsD: it takes nothing, and 40 records wait for it" in looking.look(10)
    looking.station.received = 47
    assert not looking.look()


def test_what_a_backend_cannot_reach_is_told_as_long_as_it_is_so(looking: Looking) -> None:
    looking.station.failing["sending to x"] = "Connection refused"
    assert looking.look() == "pipeline out: StatsD: sending to x failed: Connection refused"
    looking.station.failing.clear()
    assert not looking.look()


def test_a_step_that_comes_or_goes_with_a_reload_is_no_loss(looking: Looking) -> None:
    first, second = Station("pipeline out: Regex", lost=50), Station("pipeline out: StatsD")
    health = Health()
    for _ in range(100):
        looking.now += 1
        health.look(Account([], {"out": [first, second]}))
    assert health.look(Account([], {"out": [second, first]})) == []


def test_counts_that_begin_anew_are_no_loss(looking: Looking) -> None:
    looking.probe.lost = 100
    looking.look()
    looking.look(100)
    looking.probe.lost = 0
    assert not looking.look()
    looking.probe.lost = 2
    assert "2 events were lost" in looking.look()

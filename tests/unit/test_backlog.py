"""Backlog: every object has its turn, and what is known of them is bounded however many there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from spooling import put, spool

from ingrain.backends import backlog as module
from ingrain.backends.backlog import Backlog


def test_the_oldest_is_first_and_those_of_an_earlier_run_come_before_what_is_added(tmp_path: Path) -> None:
    with spool(tmp_path) as made:
        before = [put(made, number, rows=10) for number in range(3)]
        backlog = Backlog(made)
        assert (backlog.objects, backlog.rows, backlog.bytes) == (3, 30, 12)
        after = put(made)
        backlog.add(after)
        taken = [backlog.next(retry=False) for _ in range(5)]
        assert taken == [*((one, None) for one in [*before, after]), None]
        assert backlog.objects == 4
        for one in before:
            backlog.gone(one)
        assert (backlog.objects, backlog.rows, backlog.bytes) == (1, 1, 4)


def test_what_is_known_is_bounded_and_all_of_it_has_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 4)
    with spool(tmp_path) as made:
        every = [put(made, number) for number in range(10)]
        backlog = Backlog(made)
        taken = []
        for number in range(30):
            if number % 2:  # they come as fast as they go
                every.append(put(made, number))
                backlog.add(every[-1])
            waits = backlog.next(retry=True)
            if waits:
                taken.append(waits[0])
                made.remove(waits[0])
                backlog.gone(waits[0])
            assert len(backlog._fresh) <= 4
        while waits := backlog.next(retry=False):
            taken.append(waits[0])
        assert taken == every


def test_those_that_failed_and_those_never_tried_take_turns(tmp_path: Path) -> None:
    with spool(tmp_path) as made:
        ones = [put(made, number) for number in range(6)]
        backlog = Backlog(made)
        for _ in range(2):
            waits = backlog.next(retry=False)
            assert waits
            backlog.failed(waits[0], 7)
        order = [backlog.next(retry=True) for _ in range(7)]
        assert order == [
            (ones[0], 7), (ones[2], None), (ones[1], 7), (ones[3], None), (ones[4], None), (ones[5], None), None
        ]  # fmt: skip


def test_a_server_that_takes_nothing_makes_no_more_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 3)
    with spool(tmp_path) as made:
        every = [put(made, number) for number in range(12)]
        backlog = Backlog(made)
        for _ in range(100):
            waits = backlog.next(retry=True)
            assert waits
            backlog.failed(waits[0], 0)
            assert len(backlog._fresh) + len(backlog._failed) <= 7
        taken = set()
        while waits := backlog.next(retry=True):  # it takes all again
            taken.add(waits[0])
        assert taken == set(every)


def test_the_oldest_is_found_wherever_it_waits(tmp_path: Path) -> None:
    with spool(tmp_path) as made:
        ones = [put(made, number) for number in range(4)]
        backlog = Backlog(made)
        assert backlog.oldest() == ones[0]
        first, second = backlog.next(retry=False), backlog.next(retry=False)
        assert first
        assert second
        assert backlog.oldest() == ones[2], "what is under way is not there to be dropped"
        backlog.failed(second[0], 0)
        backlog.failed(first[0], 0)
        for one in ones:
            assert backlog.oldest() == one
            backlog.take(one)
        assert backlog.oldest() is None

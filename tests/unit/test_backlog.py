"""Backlog: every object has its turn, what is known of them is bounded however many there are, and all are counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from spooling import put, spool

from ingrain.backends import backlog as module
from ingrain.backends.backlog import Backlog, Total
from ingrain.backends.spool import Spool, Spooled


def take(backlog: Backlog, *, retry: bool) -> Spooled:
    waits = backlog.next(retry=retry)
    assert waits
    return waits[0]


def send(made: Spool, backlog: Backlog, one: Spooled) -> None:
    made.remove(one)
    backlog.gone(one)


def known(backlog: Backlog) -> int:
    """Objects that are in memory."""
    return len(backlog._fresh.known) + len(backlog._oldest.known) + len(backlog._failed)


def test_the_oldest_is_first_and_those_of_an_earlier_run_come_before_what_is_added(tmp_path: Path) -> None:
    with spool(tmp_path) as made:
        before = [put(made, number, rows=10) for number in range(3)]
        backlog = Backlog(made)
        assert backlog.total == Total(3, 30, 12)
        after = put(made)
        backlog.add(after)
        taken = [backlog.next(retry=False) for _ in range(5)]
        assert taken == [*((one, None) for one in [*before, after]), None]
        assert backlog.total.objects == 4
        for one in before:
            backlog.gone(one)
        assert backlog.total == Total(1, 1, 4)


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
                send(made, backlog, waits[0])
            assert known(backlog) <= 12
        while waits := backlog.next(retry=False):
            taken.append(waits[0])
        assert taken == every


def test_an_object_that_is_put_there_and_not_added_yet_is_taken_once(tmp_path: Path) -> None:
    with spool(tmp_path) as made:
        backlog = Backlog(made)
        early = put(made)
        assert backlog.next(retry=True) is None
        backlog.add(early)
        assert [backlog.next(retry=True) for _ in range(2)] == [(early, None), None]
        assert (backlog.total, backlog.removed) == (Total(1, 1, 4), Total())


def test_those_that_failed_and_those_never_tried_take_turns(tmp_path: Path) -> None:
    with spool(tmp_path) as made:
        ones = [put(made, number) for number in range(6)]
        backlog = Backlog(made)
        for _ in range(2):
            backlog.failed(take(backlog, retry=False), 7)
        order = [backlog.next(retry=True) for _ in range(7)]
        assert order == [
            (ones[0], 7), (ones[2], None), (ones[1], 7), (ones[3], None), (ones[4], None), (ones[5], None), None
        ]  # fmt: skip


def test_however_many_failed_those_never_tried_go_on_and_all_that_failed_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", 4)
    with spool(tmp_path) as made:
        refused = [put(made, number) for number in range(30)]
        backlog = Backlog(made)
        for one in refused:
            assert take(backlog, retry=False) == one
            backlog.failed(one, 3)
            assert known(backlog) <= 12
        tried: Counter[Spooled] = Counter()
        for number in range(200):
            fresh = put(made, number)
            backlog.add(fresh)
            turns = {take(backlog, retry=True), take(backlog, retry=True)}
            assert fresh in turns, "it has its turn, whatever failed"
            send(made, backlog, fresh)
            (again,) = turns - {fresh}
            tried[again] += 1
            backlog.failed(again, 4)
        assert set(tried) == set(refused)
        assert max(tried.values()) - min(tried.values()) <= 2
        left = set()
        while waits := backlog.next(retry=True):  # it takes all
            left.add(waits[0])
            send(made, backlog, waits[0])
        assert left == set(refused)
        assert (backlog.total, backlog.removed) == (Total(), Total())


def test_a_server_that_takes_nothing_makes_no_more_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 3)
    with spool(tmp_path) as made:
        every = [put(made, number) for number in range(12)]
        backlog = Backlog(made)
        for _ in range(100):
            backlog.failed(take(backlog, retry=True), 0)
            backlog.oldest()
            assert known(backlog) <= 9
        taken = set()
        while waits := backlog.next(retry=True):  # it takes all again
            taken.add(waits[0])
        assert taken == set(every)


@pytest.mark.parametrize("window", [2, 1024])
def test_the_oldest_is_found_wherever_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(module, "WINDOW", window)
    with spool(tmp_path) as made:
        ones = [put(made, number) for number in range(6)]
        backlog = Backlog(made)
        assert backlog.oldest() == ones[0]
        first, second = take(backlog, retry=False), take(backlog, retry=False)
        assert backlog.oldest() == ones[2], "what is under way is not there to be dropped"
        backlog.failed(second, 0)
        backlog.failed(first, 0)
        for one in ones:
            assert backlog.oldest() == one
            made.remove(one)
            backlog.drop(one)
        assert backlog.oldest() is None
        assert backlog.next(retry=True) is None


@pytest.mark.parametrize("window", [4, 1024])
def test_what_somebody_removes_is_noticed_and_what_comes_back_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(module, "WINDOW", window)
    (folder := tmp_path / "spool").mkdir(0o700)
    with spool(folder) as made:
        ones = [put(made, number, rows=10) for number in range(20)]
        backlog = Backlog(made)
        failed = [take(backlog, retry=False) for _ in range(3)]
        for one in failed:
            backlog.failed(one, 0)
        under_way = take(backlog, retry=False)
        for one in (ones[1], ones[3], *ones[10:]):
            (folder / one.name).rename(tmp_path / one.name)
        missed = 0
        while waits := backlog.next(retry=True):
            missed += not (folder / waits[0].name).exists()  # it was known already: so that is found when it is opened
            send(made, backlog, waits[0])
        assert backlog.removed.objects + missed == 11, "not the one under way, which the server may have by now"
        assert bool(missed) == (window == 1024)
        backlog.gone(under_way)
        assert backlog.total == Total()
        backlog.removed = Total()
        (tmp_path / ones[12].name).rename(folder / ones[12].name)
        assert backlog.next(retry=True) is None, "nobody has looked"
        backlog.add(put(made))
        backlog._fresh.more = True
        assert {take(backlog, retry=True), take(backlog, retry=True)} == {max(made), ones[12]}
        assert (backlog.removed, backlog.total) == (Total(-1, -10, -4), Total(2, 11, 8))


class Whatever(RuleBasedStateMachine):
    """Objects are added, taken, sent, dropped and removed in any order: each has one end, and the totals know it."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self._made = Spool.open(Path(self._folder.name) / "spool", None)
        self._backlog = Backlog(self._made)
        self._there: set[Spooled] = set()
        self._under_way: list[Spooled] = []
        self._removed = 0  # and not met since

    def teardown(self) -> None:
        while self._under_way:
            self.fail()
        self._backlog._fresh.more = True  # it looks
        while waits := self._backlog.next(retry=True):
            self._meet(waits[0])
            self._there.discard(waits[0])
            send(self._made, self._backlog, waits[0])
        assert self._there == set()
        assert self._backlog.removed.objects == self._removed
        assert self._backlog.total == Total()
        self._made.close()
        self._folder.cleanup()

    def _meet(self, one: Spooled) -> bool:
        """Whether it is there; one that is not need not be noticed by a look any more."""
        self._removed -= one not in self._there
        return one in self._there

    @rule()
    def add(self) -> None:
        one = put(self._made)
        self._there.add(one)
        self._backlog.add(one)

    @rule(retry=st.booleans())
    def take(self, retry: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        waits = self._backlog.next(retry=retry)
        if waits and self._meet(waits[0]):
            self._under_way.append(waits[0])
        elif waits:
            self._backlog.gone(waits[0])

    @precondition(lambda self: self._under_way)
    @rule()
    def send(self) -> None:
        one = self._under_way.pop()
        self._there.discard(one)
        send(self._made, self._backlog, one)

    @precondition(lambda self: self._under_way)
    @rule()
    def fail(self) -> None:
        self._backlog.failed(self._under_way.pop(), 0)

    @rule()
    def drop(self) -> None:
        oldest = self._backlog.oldest()
        if oldest is None:
            assert not self._there - set(self._under_way)
        else:
            if self._meet(oldest):
                assert oldest == min(self._there - set(self._under_way))
            self._there.discard(oldest)
            self._made.remove(oldest)
            self._backlog.drop(oldest)

    @precondition(lambda self: self._there - set(self._under_way))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(sorted(self._there - set(self._under_way))))
        self._there.remove(one)
        self._made.remove(one)
        self._removed += 1


class WhateverOfFew(Whatever):
    """The same where few are known."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(module, "WINDOW", 2)
        super().__init__()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._patch.undo()


TestWhatever = Whatever.TestCase
TestWhateverOfFew = WhateverOfFew.TestCase
TestWhatever.settings = TestWhateverOfFew.settings = settings(max_examples=30)  # each has files, and syncs them

"""Uploader: again and again until it is there; a server that fails is left in peace, one object holds up no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from spooling import KEY, LONG, Server, names, put, spool

from ingrain.account import Station
from ingrain.backends import backlog, backoff
from ingrain.backends import uploader as uploader_module
from ingrain.backends.backlog import Total
from ingrain.backends.backoff import Backoff
from ingrain.backends.http import HTTP, HTTPSettings
from ingrain.backends.spool import Spool
from ingrain.backends.uploader import LaterError, Result, Uploader


@contextmanager
def uploader(made: Spool, server: Server, threads: int = 1) -> Iterator[Uploader]:
    it = Uploader(made, server.put, threads, lambda: None)
    try:
        yield it
    finally:
        server.gate.set()
        it.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "LEAST_S", 0.01)
    monkeypatch.setattr(backoff, "MOST_S", 0.05)


def until(it: Uploader, objects: int) -> list[Result]:
    """The results, when there are as many objects of which one is final."""
    results: list[Result] = []
    deadline = time.monotonic() + LONG
    while len([one for one in results if not one.kept]) < objects:
        assert time.monotonic() < deadline
        results += it.results()
        time.sleep(0.005)
    return results


def test_what_is_sent_is_removed_and_told(tmp_path: Path) -> None:
    server = Server()
    with spool(tmp_path) as made:
        for number in range(3):
            put(made, number, content=b"%d" % number)
        with uploader(made, server) as it:
            assert it.found == Total(3, 3, 3)
            it.add(put(made, 3, content=b"3"))
            results = until(it, 4)
            assert [(one.one.key, one.error, one.kept) for one in results] == [
                (KEY.format(number), None, False) for number in range(4)
            ]
    assert server.got == {KEY.format(number): b"%d" % number for number in range(4)}
    assert names(tmp_path) == []


def test_as_many_are_sent_at_a_time_as_there_are_threads(tmp_path: Path) -> None:
    server = Server()
    server.gate.clear()
    with spool(tmp_path) as made:
        for number in range(8):
            put(made, number)
        with uploader(made, server, threads=3) as it:
            while server.at_once < 3:
                time.sleep(0.005)
            server.gate.set()
            until(it, 8)
    assert server.most_at_once == 3


def test_a_server_that_fails_is_tried_by_one_at_a_time_and_gets_all_when_it_is_back(
    tmp_path: Path, quick: None
) -> None:
    server = Server()
    server.down = ConnectionRefusedError("nobody there")
    with spool(tmp_path) as made:
        for number in range(20):
            put(made, number)
        with uploader(made, server, threads=4) as it:
            while len(server.tried) < 30:
                time.sleep(0.005)
            assert len(names(tmp_path)) == 20
            while not server.begins_anew():
                time.sleep(0.001)
            enough = len(server.tried) + 10
            while len(server.tried) < enough:
                time.sleep(0.005)
            assert server.most_at_once == 1
            server.down = None
            results = until(it, 20)
    assert not [one for one in results if one.alone], "it was the server's fault"
    assert {str(one.error) for one in results if one.kept} == {"nobody there"}
    assert len(server.got) == 20


def test_an_object_that_is_refused_alone_holds_up_no_other(tmp_path: Path, quick: None) -> None:
    server = Server()
    with spool(tmp_path) as made:
        server.refused = {KEY.format(0), KEY.format(1)}
        with uploader(made, server) as it:
            for number in range(50):
                it.add(put(made, number))
            results = until(it, 48)
            assert len(server.got) == 48
            while not any(one.alone for one in results):
                results += it.results()
                time.sleep(0.005)
            it.add(put(made, 50))
            results += until(it, 1)
            assert {one.one.key for one in results if one.alone} <= server.refused
            server.refused = set()
            it.hurry(time.monotonic() + LONG)
            it.hurry(time.monotonic() + LONG)
            results += until(it, 2)
    assert len(server.got) == 51


def test_however_many_objects_are_refused_alone_all_others_are_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "WINDOW", 4)
    monkeypatch.setattr(backoff, "LEAST_S", 0.001)
    monkeypatch.setattr(backoff, "MOST_S", 0.002)
    server = Server()
    server.refused = {KEY.format(number) for number in range(12)}
    with spool(tmp_path) as made:
        for number in range(40):
            put(made, number)
        with uploader(made, server, threads=2) as it:
            until(it, 28)
            for number in range(40, 60):
                it.add(put(made, number))
            until(it, 20)
            assert set(server.got) == {KEY.format(number) for number in range(12, 60)}
            server.refused = set()
            until(it, 12)
    assert len(server.got) == 60


def test_what_somebody_else_removes_is_told_and_nobody_turns_round_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "WINDOW", 4)
    server = Server()
    server.gate.clear()
    with spool(tmp_path) as made:
        ones = [put(made, number, rows=10) for number in range(20)]
        with uploader(made, server) as it:
            while not server.at_once:
                time.sleep(0.005)
            for one in ones[6:]:
                (tmp_path / one.name).unlink()
            server.gate.set()
            results = until(it, 4)
            removed = it.removed()
            while removed.objects + len([one for one in results if not one.kept]) < 20:
                results += it.results()
                removed = removed.plus(it.removed())
                time.sleep(0.005)
            assert len(server.got) == 6
            assert removed.rows + 10 * len([one for one in results if one.error]) == 140
            assert it._pause() is None, "there is nothing to do until something is added"
            it.add(put(made, 20))
            until(it, 1)


def test_it_is_told_when_all_that_were_refused_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "WINDOW", 2)
    monkeypatch.setattr(backoff, "LEAST_S", 1e6)
    monkeypatch.setattr(backoff, "MOST_S", 1e6)
    server = Server()
    server.refused = {KEY.format(number) for number in range(5)}
    told: list[bool] = []
    with spool(tmp_path) as made:
        refused = [put(made, number) for number in range(5)]
        put(made, 5)
        server.gate.clear()
        it = Uploader(made, server.put, 1, lambda: told.append(it.refused()))
        try:
            server.gate.set()
            while not any(one.alone for one in it.results()):
                it.hurry(time.monotonic() + LONG)
            for one in refused:
                (tmp_path / one.name).unlink()
            server.gate.clear()
            for number in range(6, 10):  # more than are known: the folder is looked at
                it.add(put(made, number))
            server.gate.set()
            until(it, 4)
            assert it.removed().objects == 5
            assert it.refused(), "when they may be tried again, it is found out"
            it.hurry(time.monotonic() + LONG)
            assert it.refused() is told[-1] is False
        finally:
            server.gate.set()
            it.close()


def test_hurrying_tries_once_and_does_not_wait_for_a_server_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "LEAST_S", 1e6)
    monkeypatch.setattr(backoff, "MOST_S", 1e6)
    server = Server()
    server.down = ConnectionRefusedError("nobody there")
    with spool(tmp_path) as made:
        one = put(made)
        with uploader(made, server) as it:
            while not it.results():
                time.sleep(0.005)
            it.hurry(time.monotonic() + 1e6)
            assert len(server.tried) == 2
            server.down = None
            it.hurry(time.monotonic() + 1e6)
            assert [(result.one, result.error is None) for result in it.results()] == [(one, False), (one, True)]


def test_what_is_under_way_at_the_end_stays_in_the_spool_and_is_not_told(tmp_path: Path) -> None:
    server = Server()
    server.gate.clear()
    with spool(tmp_path) as made:
        one = put(made)
        with uploader(made, server) as it:
            while not server.at_once:
                time.sleep(0.005)
            it.hurry(time.monotonic() + 0.05)
            it.close()
            server.gate.set()
            while not server.got:
                time.sleep(0.005)
            assert it.results() == []
    assert names(tmp_path) == [one.name]


@pytest.mark.parametrize("fault", ["Thread.start", "Backlog"])
def test_a_spool_whose_upload_cannot_begin_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    def start_one(thread: threading.Thread) -> None:
        if begun:
            fail()
        begun.append(thread)
        start(thread)

    begun: list[threading.Thread] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start_one)
    if fault == "Backlog":
        monkeypatch.setattr(uploader_module, "Backlog", fail)
    with pytest.raises(RuntimeError):
        HTTP(HTTPSettings(uri="http://127.0.0.1:9/", spool=str(tmp_path)), Station("http"))
    for thread in begun:
        thread.join(LONG)
        assert not thread.is_alive()
    with spool(tmp_path):
        """It is not locked."""


def test_what_is_damaged_or_gone_is_given_up_and_the_others_are_sent(tmp_path: Path) -> None:
    server = Server()
    with spool(tmp_path) as made:
        ones = [put(made, number) for number in range(4)]
        (tmp_path / ones[0].name).unlink()
        (tmp_path / ones[2].name).write_bytes(b"cut")
        put(made, 5)
        late = Uploader(made, server.put, 1, lambda: None)
        assert late.found.objects == 4
        results = until(late, 4)
        late.close()
    assert [one.one for one in results if one.error] == [ones[2]]
    assert names(tmp_path) == []
    assert len(server.got) == 3


def test_dropping_takes_the_oldest_but_not_what_is_under_way(tmp_path: Path) -> None:
    server = Server()
    server.gate.clear()
    with spool(tmp_path) as made:
        ones = [put(made, number, content=bytes(10)) for number in range(5)]
        with uploader(made, server) as it:
            while not server.at_once:
                time.sleep(0.005)
            assert it.drop(lambda _, held: held > 35) == ones[1:3]
            assert it.drop(lambda one, _: one.stamp < ones[4].stamp) == [ones[3]]
            server.gate.set()
            until(it, 2)
    assert set(server.got) == {ones[0].key, ones[4].key}


def test_room_is_made_by_the_oldest_but_not_in_vain(tmp_path: Path) -> None:
    server = Server()
    server.gate.clear()
    with spool(tmp_path, limit=50) as made:
        ones = [put(made, number, content=bytes(10)) for number in range(5)]
        with uploader(made, server, threads=2) as it:
            while server.at_once < 2:
                time.sleep(0.005)
            assert it.make_room(31) == ([], False), "those under way leave 30"
            assert it.make_room(15) == (ones[2:4], True)
            assert it.make_room(20) == ([], True)
            assert it.make_room(30) == (ones[4:], True)
            server.gate.set()
            until(it, 2)


def test_waiting_grows_to_a_bound_and_is_never_the_same_for_all() -> None:
    waits = [[one.next() for _ in range(12)] for one in (Backoff(), Backoff())]
    for number, wait in enumerate(waits[0]):
        whole = min(60.0, 2.0**number)
        assert whole / 2 <= wait <= whole
    assert waits[0] != waits[1]
    one = Backoff()
    for _ in range(2000):
        assert one.next() <= 60
    one.reset()
    assert one.next() <= 1


def test_a_server_that_asks_for_time_gets_it_and_no_other_object_is_tried_meanwhile(
    tmp_path: Path, quick: None
) -> None:
    server = Server()
    server.down = LaterError("503", 3000.0)
    with spool(tmp_path) as made:
        for number in range(4):
            put(made, number)
        with uploader(made, server) as it:
            while not it.results():
                time.sleep(0.005)
            pause = it._pause()
            assert pause is not None
            assert 2900 < pause <= 3000
            assert not it._due()
            server.down = None
            it.hurry(time.monotonic() + LONG)  # the end of the agent: it asks once more
            assert len(server.got) == 4


def test_an_object_that_is_refused_alone_for_a_time_waits_for_it_alone(tmp_path: Path, quick: None) -> None:
    server = Server()
    server.refused = {KEY.format(0)}
    server.refusal = LaterError("503", 3000.0)
    with spool(tmp_path) as made:
        for number in range(2):
            put(made, number)
        with uploader(made, server) as it:
            while not server.got:  # it may be the server that asks for time: so all wait
                it.hurry(time.monotonic() + LONG)
            assert [one.alone for one in it.results() if one.kept][-1]
            for number in range(2, 20):
                it.add(put(made, number))
            until(it, 18)
            pause = it._pause()
            assert pause is not None
            assert 2900 < pause <= 3000


def test_a_server_that_asks_for_time_gets_it_also_when_an_object_is_refused_alone_meanwhile(
    tmp_path: Path, quick: None
) -> None:
    first, taken, limited = map(KEY.format, range(3))
    again, end = threading.Event(), threading.Event()
    got: list[str] = []

    def send(key: str, _: BinaryIO) -> int:
        if key == limited:
            raise LaterError("429", 3000.0)
        if key == first:
            if got:
                again.set()
                assert end.wait(LONG)
            raise ValueError("too ugly")
        got.append(key)
        return 0

    with spool(tmp_path) as made:
        put(made, 0)
        it = Uploader(made, send, 2, lambda: None)
        try:
            while not it.results():
                time.sleep(0.005)
            it.add(put(made, 1))
            until(it, 1)
            assert again.wait(LONG)
            it.add(put(made, 2))
            while not it.results():
                time.sleep(0.005)
            end.set()
            while not (results := it.results()):
                time.sleep(0.005)
            assert [(one.one.key, one.alone) for one in results] == [(first, True)]
            pause = it._pause()
            assert pause is not None
            assert 2900 < pause <= 3000
            assert not it._due()
        finally:
            end.set()
            it.close()
    assert got == [taken]


def test_records_that_the_server_will_never_take_are_told(tmp_path: Path) -> None:
    with spool(tmp_path) as made:
        put(made, rows=5)
        it = Uploader(made, lambda _key, _file: 2, 1, lambda: None)
        try:
            (result,) = until(it, 1)
            assert (result.one.rows, result.unfit, result.error) == (5, 2, None)
        finally:
            it.close()

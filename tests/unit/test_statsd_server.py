"""A StatsD server on real sockets: what the kernel took is read, and what it dropped is counted."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from doors import Door, nothing
from serving import free_port, until

from ingrain.backends.datagrams import parse
from ingrain.config import ProbeConfig
from ingrain.own.probes import OwnProbes
from ingrain.own.receiver import DATAGRAM_BYTES, Receiver
from ingrain.own.statsd import StatsD, StatsDSettings
from ingrain.probe import ProbeError


@contextmanager
def receiver(address: str, buffer_bytes: int = 1 << 20) -> Iterator[Receiver]:
    made = Receiver(parse(address, 8125), buffer_bytes)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def client(address: str) -> Iterator[socket.socket]:
    there = parse(address, 8125)
    family = socket.AF_UNIX if there.path else socket.AF_INET6 if ":" in there.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.connect(there.path or (there.host, there.port))
        yield made


def server(address: str, *doors: Door, **settings: Any) -> StatsD:
    return StatsD(StatsDSettings(bind_address=address, **settings), list(doors), nothing)


def adds_up(made: StatsD) -> bool:
    it = made.account()
    ended = it.told + it.malformed + it.ignored + it.cut + it.failed
    return it.handed_over == it.received and it.received + it.further == ended


@pytest.fixture(params=["127.0.0.1:{}", "[::1]:{}", "unix://{}"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place: str = request.param
    return place.format(tmp_path / "statsd.sock" if place.startswith("unix") else free_port(socket.SOCK_DGRAM))


def test_what_was_sent_is_told_when_it_ends_though_no_interval_is_over(address: str) -> None:
    door = Door()
    made = server(address, door, flush_interval="86400000")
    made.start()
    with client(address) as sending:
        for n in range(8):
            sending.send(b"a:%d|c\nb:1|c|#k:v\n" % n)
        sending.send(b"\n\n")
        sending.send(b"")
        sending.send(b"what?")
    made.finish()
    assert door.rows == [{"name": "a", "value": 28.0}, {"name": "b", "value": 8.0, "k": "v"}]
    account = made.account()
    assert (account.received, account.told, account.malformed, account.lost) == (11, 16, 3, 0)
    assert account.records == 2
    assert adds_up(made)


def test_it_flushes_at_its_interval() -> None:
    address, door = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}", Door()
    made = server(address, door, flush_interval=50)
    made.start()
    with client(address) as sending:
        for n in range(3):
            sending.send(b"a:1|c")
            until("a record", lambda n=n: len(door.rows) > n)  # type: ignore[misc] # a loop's variable
    made.finish()
    assert [row["value"] for row in door.rows] == [1.0, 1.0, 1.0]


def test_what_the_kernel_had_no_room_for_is_lost_to_the_last_datagram() -> None:
    address = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    made = server(address, Door(), buffer_kb=8)
    made.open()
    sent = 5000
    with client(address) as sending:
        for _ in range(sent):
            sending.send(b"a:1|c")
    made._thread.start()
    made.finish()
    account = made.account()
    assert account.received + account.lost == sent
    assert account.lost > 0
    assert account.told == account.received


def test_what_waits_when_it_is_shut_is_read_and_what_comes_later_is_refused() -> None:
    address = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with receiver(address) as made, client(address) as sending:
        for n in range(100):
            sending.send(b"%d" % n)
        made.shut()
        sending.send(b"late")
        with pytest.raises(ConnectionRefusedError):
            sending.send(b"later")
        assert made.drain().data.split() == [b"%d" % n for n in range(100)]
        assert made.drain().datagrams == made.dropped() == 0


def test_a_datagram_that_is_too_long_is_cut_at_a_line(tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 's'}"
    with receiver(address) as made, client(address) as sending:
        sending.send(b"a:1|c\n" + b"b" * DATAGRAM_BYTES)
        sending.send(b"c" * DATAGRAM_BYTES)
        drained = made.drain()
    assert drained.data == b"a:1|c\n\n" + b"c" * DATAGRAM_BYTES + b"\n"
    assert (drained.datagrams, drained.cut, drained.blank) == (2, 1, 0)


def test_many_datagrams_are_read_in_pieces_and_in_order() -> None:
    address = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with receiver(address, 16 << 20) as made, client(address) as sending:
        sent = [b"%d:" % n + b"x" * 50_000 for n in range(20)]
        for one in sent:
            sending.send(one)
        pieces = []
        while (drained := made.drain()).datagrams:
            pieces.append(drained.data)
    assert len(pieces) > 1
    assert b"".join(pieces).split() == sent


def test_a_unix_socket_is_for_anybody_and_goes_with_its_server_and_so_does_one_left_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with receiver(f"unix://{path}") as first:
        assert stat.S_IMODE(path.stat().st_mode) == 0o722
        with pytest.raises(OSError, match="in use"), receiver(f"unix://{path}"):
            pass
        assert path.exists(), "that of a server that lives is left alone"
        first._socket.close()
        with receiver(f"unix://{path}"):
            assert path.exists()
    assert not path.exists()
    path.write_text("a file")
    with pytest.raises(OSError, match="in use"), receiver(f"unix://{path}"):
        pass
    assert path.read_text() == "a file"


def test_a_link_that_somebody_puts_in_the_place_of_a_unix_socket_makes_nothing_else_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "s", tmp_path / "passwd"
    other.write_text("")
    other.chmod(0o644)

    class Swapped(socket.socket):
        """One in whose folder another user is faster."""

        def bind(self, place: Any) -> None:
            super().bind(place)
            path.unlink()
            path.symlink_to(other)

    monkeypatch.setattr("ingrain.own.receiver.socket.socket", Swapped)
    with pytest.raises(OSError, match="something else there"), receiver(f"unix://{path}"):
        pass
    assert stat.S_IMODE(other.stat().st_mode) == 0o644


def test_an_address_that_cannot_be_had_is_told_with_what_may_mend_it() -> None:
    with receiver(f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}") as other:
        host, port = other._socket.getsockname()
        with pytest.raises(ProbeError, match=f"{host}:{port} cannot be listened at: Address already in use"):
            server(f"{host}:{port}").start()
    with pytest.raises(ProbeError, match=r"no-such-host\.invalid"):
        server("no-such-host.invalid:8125").start()
    with pytest.raises(ProbeError, match=r"cannot be listened at: .*label"):
        server(f"[fe80::1%{'a' * 64}]:8125").start()


def test_one_that_no_thread_can_be_had_for_cannot_run_and_lets_go_of_its_address(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ProbeError, match="can't start new thread"):
            server(address).start()
    made = server(address)
    made.start()
    made.finish()


def test_of_two_servers_for_one_address_one_runs_and_the_other_is_a_problem() -> None:

    address = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    one, other = Door("one"), Door("other")
    doors: Any = {"one": one, "other": other}
    settings = StatsDSettings(bind_address=address)
    probes = OwnProbes(nothing)
    probes.change([ProbeConfig("StatsD", settings, [name]) for name in doors], doors)
    assert len(probes.at_work) == 1
    assert "already in use" in probes.problems()[0]
    probes.finish()


def test_records_go_to_other_pipelines_at_a_change_and_none_is_lost_or_told_twice() -> None:

    address = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    old, new, newest = Door("a"), Door("a"), Door("b")
    settings = StatsDSettings(bind_address=address, flush_interval=20)
    doors: Any = {"a": old, "b": newest}
    probes = OwnProbes(nothing)
    probes.change([ProbeConfig("StatsD", settings, ["a"])], doors)
    first = probes.at_work[0]
    with client(address) as sending:
        for n in range(300):
            if n == 100:
                probes.feed({old: new})
            if n == 200:
                probes.change([ProbeConfig("StatsD", settings, ["b"])], doors)
            sending.send(b"a:1|c")
    assert probes.at_work == [first], "one with the same settings stays"
    other = StatsDSettings(bind_address=address, flush_interval=30)
    probes.change([ProbeConfig("StatsD", other, ["b"])], doors)
    assert probes.at_work != [first]
    probes.finish()
    assert sum(row["value"] for door in (old, new, newest) for row in door.rows) == 300
    (account,) = probes.account()
    assert (account.received, account.told, account.lost) == (300, 300, 0)


def test_who_watches_gets_records_too_as_long_as_it_watches_and_whatever_else_changes() -> None:
    address = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    door, watching = Door("a"), Door("watching")
    doors: Any = {"a": door}
    probes = OwnProbes(nothing)
    with socket.socket(type=socket.SOCK_DGRAM) as sending:
        for interval, watchers, seen in ((20, [], 0), (20, [watching], 1), (30, [watching], 2), (30, [], 2)):
            probes.watch(watchers)
            settings = StatsDSettings(bind_address=address, flush_interval=interval)
            probes.change([ProbeConfig("StatsD", settings, ["a"])], doors)
            before = len(door.rows)
            sending.sendto(b"a:1|c", ("127.0.0.1", parse(address, 0).port))
            until("the record", lambda before=before: len(door.rows) > before)  # type: ignore[misc] # a loop's variable
            until("it to be watched", lambda seen=seen: len(watching.rows) == seen)  # type: ignore[misc] # as above
    probes.finish()
    assert (len(door.rows), len(watching.rows)) == (4, 2)

"""StatsD: what goes out over real sockets reads back as the same counts, and what cannot go out is counted as lost."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from chain import LOAD, VOLUME, batch_of, tagged
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import free_port, refusing

from ingrain.account import Station
from ingrain.backends.cardinality import FORGET_S, Cardinality
from ingrain.backends.datagrams import RETRY_S, Address, Peer, Place, parse
from ingrain.backends.series import series
from ingrain.backends.statsd import StatsD, StatsDSettings, from_environment, packed
from ingrain.batch import TEXT, Batch

NAMES = st.text() | st.sampled_from(
    ["x|c\nfoo:1", "a,b=c#d@e", "\x1b[31m", "2001:db8::1", "", ":", "|#", "none", "日本"]
)
ROWS = st.lists(st.tuples(st.none() | NAMES, st.none() | st.integers(0, 65535), st.integers(0, 1 << 40)), min_size=1)
PLAIN = re.compile(r"(?P<name>[0-9A-Za-z_.-]+):(?P<value>-?\d+)\|(?P<kind>c|g)")
TAGGED = re.compile(PLAIN.pattern + r"(\|#(?P<tags>[^|#@\n]+))?")

Tags = tuple[tuple[str, str], ...]


def read(line: str) -> tuple[str, Tags, int, str]:
    """Name, tags, value and kind of a line, as DogStatsD 1.0 says."""
    found = TAGGED.fullmatch(line)
    assert found, line
    tags = [tag.partition(":") for tag in (found["tags"] or "").split(",") if tag]
    assert all(colon and value for _, colon, value in tags), line
    return found["name"], tuple((name, value) for name, _, value in tags), int(found["value"]), found["kind"]


class Server:
    """A datagram socket that a test reads."""

    def __init__(self, address: str | Path = "127.0.0.1", port: int = 0) -> None:
        self.local = isinstance(address, Path)
        self.socket = socket.socket(socket.AF_UNIX if self.local else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(str(address) if self.local else (str(address), port))
        name = self.socket.getsockname()
        self.address = f"unix://{name}" if self.local else f"{name[0]}:{name[1]}"

    def datagrams(self) -> list[bytes]:
        """What has come: sending over loopback is over when `send` returns."""
        got = []
        while True:
            try:
                got.append(self.socket.recv(1 << 16, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return got

    def lines(self) -> list[str]:
        return [line for one in self.datagrams() for line in one.decode().split("\n")]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.socket.close()


@contextmanager
def statsd(address: str, **more: Any) -> Iterator[StatsD]:
    backend = StatsD(StatsDSettings(address=address, **more), Station("statsd"))
    try:
        yield backend
    finally:
        backend.close()


def volumes(rows: Sequence[tuple[str | None, int | None, int]]) -> Batch:
    return batch_of(VOLUME, [{"process": name, "d_port": port, "value": v, "packets": 1} for name, port, v in rows])


def counted(backend: StatsD) -> tuple[int, int]:
    return backend.station.delivered, backend.station.lost


def test_a_batch_is_a_line_a_series_and_value_column_not_a_line_a_record(server: Server) -> None:
    with statsd(server.address, use_tags=True) as backend:
        backend.deliver(volumes([("curl", 443, 5), ("curl", 443, 7), ("curl", 80, 1), ("curl", 443, 1 << 61)]))
    (datagram,) = server.datagrams()
    assert datagram.split(b"\n") == [
        b"volume.out:2305843009213693964|c|#process:curl,d_port:443",
        b"volume.out.packets:3|c|#process:curl,d_port:443",
        b"volume.out:1|c|#process:curl,d_port:80",
        b"volume.out.packets:1|c|#process:curl,d_port:80",
    ]
    assert counted(backend) == (4, 0)
    assert backend.station.detail["series"] == 2
    assert backend.station.detail["datagrams"] == 1


def test_without_tags_their_values_are_part_of_the_name(server: Server) -> None:
    with statsd(server.address, prefix="web-1") as backend:
        backend.deliver(volumes([("conn 12/x", 443, 5), (None, None, 7), ("10.0.0.1", 1, 2), ("", 1, 3)]))
    assert [line for line in server.lines() if "packets" not in line] == [
        "web-1.volume.out.conn_12_x.443:5|c",
        "web-1.volume.out.none.none:7|c",
        "web-1.volume.out.10_0_0_1.1:2|c",
        "web-1.volume.out._.1:3|c",
    ]


def test_a_gauge_is_the_last_value_and_a_negative_one_is_set_not_subtracted(server: Server) -> None:
    with statsd(server.address, use_tags=True) as backend:
        backend.deliver(batch_of(LOAD, [{"value": v, "process": p} for v, p in ((7, "a"), (9, "b"), (-3, "a"))]))
    assert server.lines() == [
        "load:0|g|#process:a",
        "load:-3|g|#process:a",
        "load:9|g|#process:b",
    ]


def test_a_list_is_one_tag_and_what_is_null_or_empty_is_none(server: Server) -> None:
    with statsd(server.address, use_tags=True) as backend:
        backend.deliver(tagged("alpn", pa.array([["h2", "http/1.1"], [], None, ["a,b|c"]])))
    assert server.lines() == ["m:1|c|#alpn:h2 http/1.1", "m:1|c", "m:1|c", "m:1|c|#alpn:a_b_c"]


def test_a_batch_without_tags_is_one_series(server: Server) -> None:
    with statsd(server.address, use_tags=True) as backend:
        batch = volumes([("a", 1, 2), ("b", 1, 3)])
        backend.deliver(batch.with_records(batch.records.drop_columns(["process", "d_port"])))
    assert server.lines() == ["volume.out:5|c", "volume.out.packets:2|c"]


def test_series_beyond_the_limit_go_under_one_and_no_record_and_no_value_is_lost(server: Server) -> None:
    rows = [(f"p{number}", 1, number) for number in range(10)]
    with statsd(server.address, use_tags=True, max_series=3) as backend:
        backend.deliver(volumes(rows))
        backend.deliver(volumes(rows[::-1]))
    lines = [line for line in server.lines() if "packets" not in line]
    assert lines[:4] == [
        *(f"volume.out:{n}|c|#process:p{n},d_port:1" for n in range(3)),
        "volume.out:42|c|#overflow:true",
    ]
    assert lines[4:] == [
        *(f"volume.out:{n}|c|#process:p{n},d_port:1" for n in (2, 1, 0)),
        "volume.out:42|c|#overflow:true",
    ]
    assert counted(backend) == (20, 0)
    assert backend.station.detail["overflow"] == 14


def test_the_one_beyond_the_limit_has_a_plain_name_as_deep_as_the_others(server: Server) -> None:
    with statsd(server.address, max_series=1) as backend:
        backend.deliver(volumes([("a", 1, 5), ("b", 2, 6), ("c", 3, 7)]))
        backend.deliver(batch_of(LOAD, [{"value": v, "process": p} for v, p in ((7, "a"), (9, "b"))]))
    assert [line for line in server.lines() if "packets" not in line] == [
        "volume.out.a.1:5|c",
        "volume.out.overflow.overflow:13|c",
        "load.overflow:9|g",
    ]


def test_a_series_that_is_remembered_takes_100_bytes_or_so_however_long_it_is() -> None:
    count, known = 10_000, Cardinality(10_000)
    tracemalloc.start()
    try:
        for start in range(0, count, 100):
            known.told_apart("m", [f"{start + number:06}" + "x" * 10_000 for number in range(100)])
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 150 * count


def test_a_series_that_is_not_sent_for_long_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    known = Cardinality(3)
    assert known.told_apart("m", ["a", "b", "c", "d"]).tolist() == [True, True, True, False]
    assert known.told_apart("n", ["a"]).tolist() == [False]
    now += FORGET_S
    assert known.told_apart("m", ["a", "d"]).tolist() == [True, False], "b and c were sent within the hour"
    now += FORGET_S
    assert known.told_apart("m", ["d", "a", "e", "f"]).tolist() == [True, True, True, False]


def text_of(batch: Batch, *, use_tags: bool) -> str:
    made = series(batch, "", Cardinality(100_000), use_tags=use_tags)
    return "".join(line for some in made for line in some.text.to_pylist())


@given(ROWS)
def test_any_process_name_stays_a_value_of_its_tag(rows: list[tuple[str | None, int | None, int]]) -> None:
    expected: Counter[tuple[str, Tags]] = Counter()
    for name, port, value in rows:
        shown = re.sub("[|,#@\x00-\x1f\x7f-\x9f\u2028\u2029]", "_", name or "")
        tags = tuple(
            (key, one) for key, one in (("process", shown), ("d_port", "" if port is None else str(port))) if one
        )
        expected["volume.out", tags] += value
        expected["volume.out.packets", tags] += 1
    found: Counter[tuple[str, Tags]] = Counter()
    for line in text_of(volumes(rows), use_tags=True).split("\n")[:-1]:
        measurement, tags, value, kind = read(line)
        assert kind == "c"
        found[measurement, tags] += value
    assert found == expected


@given(ROWS)
def test_any_process_name_stays_one_level_of_a_plain_name(rows: list[tuple[str | None, int | None, int]]) -> None:
    expected: Counter[str] = Counter()
    for name, port, value in rows:
        level = "none" if name is None else re.sub("[^0-9A-Za-z_-]", "_", name) or "_"
        expected[f"volume.out.{level}.{'none' if port is None else port}"] += value
        expected[f"volume.out.packets.{level}.{'none' if port is None else port}"] += 1
    found: Counter[str] = Counter()
    for line in text_of(volumes(rows), use_tags=False).split("\n")[:-1]:
        match = PLAIN.fullmatch(line)
        assert match, line
        found[match["name"]] += int(match["value"])
    assert found == expected


def test_more_series_than_are_put_together_at_a_time_all_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingrain.backends.series._SERIES", 7)
    lines = text_of(volumes([(f"p{n}", n, n) for n in range(100)]), use_tags=False).splitlines()
    assert [line for line in lines if "packets" not in line] == [f"volume.out.p{n}.{n}:{n}|c" for n in range(100)]


@given(st.lists(st.integers(1, 300), max_size=50), st.integers(100, 250))
def test_datagrams_hold_all_lines_in_order_and_as_many_as_fit(lengths: list[int], limit: int) -> None:
    bounds = [0]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    ranges = list(packed(bounds, limit))
    assert [one for first, last in ranges for one in range(first, last)] == list(range(len(lengths)))
    for number, (first, last) in enumerate(ranges):
        size = bounds[last] - bounds[first] - 1
        assert size <= limit or last == first + 1
        if number + 1 < len(ranges):
            assert bounds[last + 1] - bounds[first] - 1 > limit, "another line would have fitted"


def test_no_datagram_is_longer_than_its_limit_and_a_series_that_is_longer_is_lost(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with statsd(server.address, use_tags=True, datagram_bytes=256) as backend:
        names = [*(f"process-{n}" for n in range(50)), "n" * 300, "n" * 400]
        backend.deliver(volumes([(name, 1, 2) for name in names for _ in range(3)]))
    datagrams = server.datagrams()
    assert len(datagrams) > 10
    assert max(map(len, datagrams)) <= 256
    assert sum(read(line)[2] for one in datagrams for line in one.decode().split("\n") if "packets" not in line) == 300
    assert counted(backend) == (150, 6)
    assert backend.station.detail["too long"] == 6
    assert caplog.text.count("datagram_bytes is 256") == 1


def test_over_udp_a_datagram_fits_every_ethernet_path_and_on_a_unix_socket_it_may_be_longer(
    server: Server, tmp_path: Path
) -> None:
    local = Server(tmp_path / "socket")
    longest = []
    for one in (server, local):
        with statsd(one.address) as backend:
            backend.deliver(volumes([(f"process-{n}", n, 1) for n in range(400)]))
        assert counted(backend) == (400, 0)
        longest.append(max(map(len, one.datagrams())))
    local.socket.close()
    assert 1300 < longest[0] <= 1432
    assert 8000 < longest[1] <= 8192


def test_a_server_that_is_away_is_told_once_counted_to_the_record_and_found_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port(socket.SOCK_DGRAM)
    server = Server(port=port)
    with statsd(server.address) as backend:
        backend.deliver(volumes([("a", 1, 1)]))
        server.socket.close()
        for _ in range(3):
            backend.deliver(volumes([(f"process-{n}", n, 1) for n in range(200)]))
        assert counted(backend) == (1, 600)
        assert backend.station.detail["unreachable"] == 600
        again = Server(port=port)
        backend.deliver(volumes([("b", 1, 1)]))
        assert [line for line in again.lines() if "packets" not in line] == ["volume.out.b.1:1|c"]
        again.socket.close()
    assert counted(backend) == (2, 600)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert f"127.0.0.1:{port} failed: Connection refused" in caplog.messages[0]
    assert "works again" in caplog.messages[1]


def test_a_unix_socket_may_come_later_and_be_another_one_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "statsd.sock"
    with statsd(f"unix://{path}") as backend:
        backend.deliver(volumes([("a", 1, 1)]))
        assert counted(backend) == (0, 1)
        for delivered in (1, 2):
            server = Server(path)
            backend.deliver(volumes([("b", 1, delivered)]))
            assert server.lines()[0] == f"volume.out.b.1:{delivered}|c"
            assert counted(backend) == (delivered, 1)
            server.socket.close()
            path.unlink()
        backend.deliver(volumes([("c", 1, 1)]))
        assert counted(backend) == (2, 2)


def test_a_unix_server_that_does_not_read_costs_what_its_queue_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ingrain.backends.statsd.PATIENCE_S", 0.01)
    server = Server(tmp_path / "socket")
    with statsd(server.address, datagram_bytes=256) as backend:
        for _ in range(3):
            backend.deliver(volumes([(f"process-{n}", n, 1) for n in range(1000)]))
        delivered, lost = counted(backend)
        assert delivered + lost == 3000
        assert lost
        assert sum("packets" not in line for line in server.lines()) == delivered
        assert "its buffer stays full" in caplog.text
        backend.deliver(volumes([("after", 1, 1)]))
        assert counted(backend) == (delivered + 1, lost)
    server.socket.close()


def test_a_name_that_cannot_be_looked_up_is_told_and_costs_the_records(caplog: pytest.LogCaptureFixture) -> None:
    with statsd("statsd.invalid:8125") as backend:  # RFC 6761: never a host
        backend.deliver(volumes([("a", 1, 1)]))
    assert counted(backend) == (0, 1)
    assert "the name statsd.invalid" in caplog.text


def test_a_look_up_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    asked = threading.Event()

    def slow(host: str, port: int) -> list[Place]:
        asked.set()
        answer.wait()
        return []

    peer = Peer(Address("far", 1), slow)
    assert "still being looked up" in peer.send(memoryview(b"x"), 0.0)
    assert asked.wait(60)
    assert "still being looked up" in peer.send(memoryview(b"x"), 0.0)
    answer.set()


def test_a_name_that_no_thread_could_be_had_for_is_looked_up_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    place = (socket.AF_INET, server.socket.getsockname())
    peer = Peer(Address("statsd", place[1][1]), lambda *_: [place])
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        assert "cannot be looked up: can't start new thread" in peer.send(memoryview(b"x"), 0.0)
    assert peer.send(memoryview(b"x"), 0.0), "not at once"
    now += RETRY_S
    assert peer.send(memoryview(b"y"), now + 60) == ""
    assert server.datagrams() == [b"y"]
    peer.close()


def test_of_a_host_s_addresses_the_one_that_answers_is_used(server: Server) -> None:
    port = server.socket.getsockname()[1]
    with refusing(socket.SOCK_DGRAM) as nobody:
        places = [(socket.AF_INET, ("127.0.0.1", one)) for one in (nobody, port)]
        peer = Peer(Address("statsd", port), lambda *_: places)
        assert peer.send(memoryview(b"one"), time.monotonic() + 60) == ""
        assert peer.send(memoryview(b"two"), 0.0) == ""
    assert server.datagrams() == [b"one", b"two"]
    peer.close()


def test_a_datagram_that_the_kernel_does_not_take_is_told_with_its_reason(server: Server) -> None:
    peer = Peer(parse(server.address, 0))
    assert peer.send(memoryview(bytes(70_000)), 0.0) == os.strerror(errno.EMSGSIZE)
    assert peer.send(memoryview(b"next"), 0.0) == ""
    peer.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8126", Address("127.0.0.1", 8126)),
        ("statsd.example", Address("statsd.example", 8125)),
        ("[::1]:1", Address("::1", 1)),
        ("[fe80::1%lo]", Address("fe80::1%lo", 8125)),
        ("unix:///run/statsd.sock", Address(path="/run/statsd.sock")),
    ],
)
def test_an_address_says_where(text: str, expected: Address) -> None:
    assert parse(text, 8125) == expected
    assert parse(str(expected), 0) == expected


@pytest.mark.parametrize(
    "text",
    ["", ":8125", "a:", "a:0", "a:65536", "a:8125x", "a:٣", "::1", "[::1", "[::1]8125", "[a]:1", "a b:1", "a\n:1",
     "ä:1", "unix://", "unix://a", "unix:///" + "a" * 107, "unix:///a\0", "http://a:1", "a" * 64 + ":1", "a..b:1",
     ".:1", "a." * 127 + ":1",
     "a:9" + "9" * 5000],
)  # fmt: skip
def test_what_is_no_address_is_a_mistake_of_the_file(text: str) -> None:
    with pytest.raises(ValueError, match=r"^address: "):
        StatsDSettings(address=text)


@given(st.text(max_size=40) | st.from_regex(r"\A(unix://|\[)?[a-f0-9:.%/\]-]{1,20}\Z"))
@settings(max_examples=300)
def test_any_text_is_an_address_or_a_mistake(text: str) -> None:
    try:
        address = parse(text, 1)
    except ValueError:
        return
    assert parse(str(address), 1) == address


def test_a_prefix_that_statsd_would_change_is_a_mistake_of_the_file() -> None:
    with pytest.raises(ValueError, match=r"^prefix: "):
        StatsDSettings(prefix="web/1")


def test_the_environment_says_where_statsd_is_unless_the_file_does(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATSD_HOST", raising=False)
    monkeypatch.delenv("STATSD_PORT", raising=False)
    assert from_environment() == Address("127.0.0.1", 8125)
    monkeypatch.setenv("STATSD_HOST", "::1")
    assert from_environment() == Address("::1", 8125)
    monkeypatch.setenv("STATSD_PORT", "1")
    assert from_environment() == Address("::1", 1)
    with statsd(server.address) as backend:
        backend.deliver(volumes([("a", 1, 1)]))
    assert len(server.lines()) == 2
    host, port = server.address.split(":")
    monkeypatch.setenv("STATSD_HOST", host)
    monkeypatch.setenv("STATSD_PORT", port)
    backend = StatsD(StatsDSettings(), Station("statsd"))
    backend.deliver(volumes([("a", 1, 1)]))
    backend.close()
    assert len(server.lines()) == 2


def test_an_environment_that_says_no_address_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATSD_PORT", "statsd")
    with pytest.raises(ValueError, match="STATSD_PORT='statsd'"):
        StatsD(StatsDSettings(), Station("statsd"))


def test_names_of_tags_and_measurements_are_names_too() -> None:
    batch = batch_of(VOLUME, [{"process": "p", "d_port": 1, "value": 1, "packets": 1}])
    batch = batch.with_records(batch.records.rename_columns(["timestamp", "value", "packets", "a|b", "c:d"]))
    assert text_of(batch, use_tags=True).splitlines()[0] == "volume.out:1|c|#a_b:p,c_d:1"


def test_a_dictionary_with_a_null_in_it_is_a_tag_that_is_absent() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int32()), pa.array(["a", None]))
    lines = text_of(tagged("process", column.cast(TEXT)), use_tags=True).splitlines()
    assert lines == ["m:1|c|#process:a", "m:2|c"]

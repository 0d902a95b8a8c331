"""Who watches an agent gets what comes, in order; who does not read gets less, and is told; nobody waits for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from serving import until

from ingrain.batch import Batch
from ingrain.grains.network import VOLUME
from ingrain.live import feed as feeding
from ingrain.live.feed import WATCHERS, Feed, beside
from ingrain.live.frames import LENGTH, Frame, encode
from ingrain.live.source import Live
from ingrain.local import LocalError


def numbers(*values: int) -> Batch:
    rows = [{"timestamp": 0, "value": value, "packets": 1} for value in values]
    return Batch(VOLUME[0], pa.RecordBatch.from_pylist(rows, VOLUME[0].schema))


class Watching:
    """A watcher, and what it saw. `reads`: while it is clear it takes nothing."""

    def __init__(self, path: str) -> None:
        self.frames: list[Frame] = []
        self.ended: list[str] = []
        self.reads = threading.Event()
        self.reads.set()
        self.live = Live(path, self._seen, self.ended.append)

    def _seen(self, frame: Frame) -> None:
        self.reads.wait()
        self.frames.append(frame)

    @property
    def values(self) -> list[int]:
        return [value for frame in self.frames for value in frame.records.column("value").to_pylist()]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "status.sock")


@pytest.fixture
def feed(path: str) -> Iterator[Feed]:
    made = Feed(beside(path))
    yield made
    made.stop()


def test_all_who_watch_get_all_from_then_on_and_who_has_gone_is_forgotten(feed: Feed, path: str) -> None:
    feed.offer(numbers(0))
    assert not feed.watched
    one = Watching(path)
    until("the watcher", lambda: feed.watched)
    feed.offer(numbers(1, 2))
    other = Watching(path)
    until("both", lambda: len(feed._watchers) == 2)
    feed.offer(numbers(3))
    until("all", lambda: (one.values, other.values) == ([1, 2, 3], [3]))
    assert {frame.left_out for frame in one.frames} == {0}
    one.live.stop()
    until("one to be gone", lambda: len(feed._watchers) == 1)
    feed.offer(numbers(4))
    until("the rest", lambda: other.values == [3, 4])


def test_the_end_of_the_agent_is_told(path: str) -> None:
    feed = Feed(beside(path))
    watching = Watching(path)
    until("the watcher", lambda: feed.watched)
    feed.stop()
    until("the end", lambda: watching.ended)
    assert "the agent has ended" in watching.ended[0]


def test_one_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed(
    feed: Feed, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "_RECORDS", 1000)
    slow = Watching(path)
    until("the watcher", lambda: feed.watched)
    slow.reads.clear()
    sent = 400 * 500
    for first in range(0, sent, 500):
        feed.offer(numbers(*range(first, first + 500)))
    slow.reads.set()
    (watcher,) = feed._watchers
    until("what waited", lambda: not watcher._inbox.depth)
    feed.offer(numbers(sent))
    until("the last", lambda: slow.values[-1:] == [sent])
    missed = sum(frame.left_out for frame in slow.frames)
    assert missed > 0
    assert slow.values == sorted(slow.values)
    assert len(slow.values) + missed == sent + 1


def test_more_than_some_are_turned_away(feed: Feed, path: str) -> None:
    watching = [Watching(path) for _ in range(WATCHERS)]
    until("them", lambda: len(feed._watchers) == WATCHERS)
    late = Watching(path)
    until("it to be turned away", lambda: late.ended)
    assert not any(one.ended for one in watching)


def test_one_that_no_thread_can_be_had_for_is_turned_away_and_not_counted(
    feed: Feed, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(feeding._Watcher, "start", refuse)
        late = Watching(path)
        until("it to be turned away", lambda: late.ended)
    assert not feed.watched


def test_where_no_agent_is_that_is_said(path: str) -> None:
    with pytest.raises(LocalError, match="no agent answers"):
        Live(path, lambda _: None, lambda _: None)


@pytest.mark.parametrize("content", [b"\xff" * 100, LENGTH.pack(10) + b"x" * 10, encode(numbers(1), 0)[:-5]])
def test_an_agent_that_sends_what_is_no_record_ends_the_watching_with_a_word(path: str, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(beside(path))
        server.listen()
        ended: list[str] = []
        live = Live(path, lambda _: None, ended.append)
        connected, _ = server.accept()
        with connected:
            connected.sendall(content)
        until("the end", lambda: ended)
        live.stop()
    assert "no record" in ended[0] or "has ended" in ended[0]


ASKING = """
import socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect(sys.argv[1])
    print(len(asking.recv(1000)))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user: this is not root")
def test_nobody_else_may_watch(feed: Feed, path: str, caplog: pytest.LogCaptureFixture) -> None:
    door, other = Path(beside(path)), 65534
    for folder in door.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o011)

    def watch() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", ASKING, str(door)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, user=other, group=other, extra_groups=[]
        )

    assert "PermissionError" in watch().stderr
    door.chmod(0o666)  # even if the file lets them
    assert watch().stdout == "0\n"
    assert f"user {other} asked, and was told nothing" in caplog.text
    assert not feed.watched

"""`ingrain run` killed at random moments of its uploads to a real S3 server: what the spool took, the bucket has, once.

What the spool took is told by the kernel (inotify), not by the agent: an object is in it from its rename on.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from agents import agent
from bucket import environ, objects, rows_of
from conftest import Start, Talker
from faulty import faulty
from serving import until, versitygw

_MOVED_TO = 0x80  # linux/inotify.h
_EVENT = struct.Struct("=iIII")
_NAME = re.compile(r"\d+-(?P<rows>\d+)-\d+-(?P<key>.+\.parquet)")
_LIBC = ctypes.CDLL(None, use_errno=True)

TOML = """
[agent]
socket = "{socket}"
[[probe]]
pipelines = ["s3"]
[probe.config]
type = "Network"
cgroup = "{group}"
[pipeline.s3.config]
backend = "S3"
bucket = "logs"
region = "us-east-1"
endpoint_url = "{url}"
spool = "{spool}"
roll_s = 1
"""


class Renamed:
    """Names that came to be in a folder by a rename, since this was made."""

    def __init__(self, folder: Path) -> None:
        self._fd = int(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        assert _LIBC.inotify_add_watch(self._fd, os.fsencode(folder), _MOVED_TO) >= 0
        self._names: list[str] = []

    def names(self) -> list[str]:
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return self._names
            while data:
                _watch, mask, _cookie, size = _EVENT.unpack_from(data)
                assert mask & _MOVED_TO
                self._names.append(os.fsdecode(data[_EVENT.size : _EVENT.size + size].rstrip(b"\0")))
                data = data[_EVENT.size + size :]

    def more(self, than: int) -> bool:
        return len(self.names()) > than


@contextmanager
def talking(one: Talker, other: Talker) -> Iterator[None]:
    """New connections all the time, in another process; their ports and times tell them apart."""
    there = other("bind", "u", family=4, proto="udp")
    over = threading.Event()

    def talk() -> None:
        while not over.wait(0.1):
            one("storm", count=50, to=there)
            one("forget")

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    "kills", [3, pytest.param(100, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])], ids=str
)
def test_what_the_spool_took_is_in_the_bucket_once_however_often_the_agent_is_killed(
    start: Start, group: Path, tmp_path: Path, kills: int
) -> None:
    luck = random.Random(7)
    one, other = Talker(start, "one"), Talker(start, "other")
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    renamed = Renamed(spool)
    with versitygw(tmp_path) as server, faulty(int(server.url.rpartition(":")[2])) as between:
        toml = TOML.format(group=group.name, url=between.url, spool=spool, socket=tmp_path / "status.sock")
        running = partial(agent, toml, tmp_path, env={**os.environ, **environ(tmp_path)})
        between.rate = 40_000  # an object is under way for most of the time
        with talking(one, other):
            for _ in range(kills):
                before = len(renamed.names())
                with running(signal.SIGKILL, -signal.SIGKILL):
                    until("an object in the spool", partial(renamed.more, before))
                    threading.Event().wait(luck.uniform(0, 0.5))
        between.mend()
        with running() as last:
            until("the spool to be empty", lambda: not list(spool.glob("*.parquet")) or last.process.poll() is not None)
        stored = {key: rows_of(key, body) for key, body in objects(server).items()}
    took = {name["key"].replace(",", "/"): int(name["rows"]) for name in map(_NAME.fullmatch, renamed.names()) if name}
    assert len(took) == len(renamed.names()) >= kills
    assert {key: len(rows) for key, rows in stored.items()} == took
    seen = Counter(
        (key.partition("/")[0], row["timestamp"], row["s_port"], row["d_port"], row["process_id"])
        for key, rows in stored.items()
        for row in rows
        if "connection" in key
    )
    assert set(seen.values()) == {1}, "a connection is there twice"
    station = last.account["pipelines"]["s3"][-1]
    assert station["spooled"] == station["lost"] == 0
    assert station["received"] + station["resumed"] == station["delivered"]

"""A pipeline at work: its actors in a chain, its door, and what it did with what came in."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import pykka

from ingrain.account import Station
from ingrain.backends import BACKENDS
from ingrain.batch import Batch
from ingrain.config import Config, PipelineConfig
from ingrain.inbox import BETWEEN_BYTES, BETWEEN_RECORDS, INBOX_BYTES, INBOX_RECORDS, Inbox
from ingrain.post import Post
from ingrain.registry import find_class
from ingrain.room import Room
from ingrain.stage import Flush, Relieve, Stage
from ingrain.steps import STEPS

log = logging.getLogger(__name__)

DEATHS, DEATHS_S = 5, 60.0
"""A pipeline outlives so many deaths of its stages within so many seconds: what dies more often does not recover."""

_MEND_S = 0.2


class Outlet(Protocol):
    """Where a probe's batches go: a pipeline, or who watches."""

    wants: frozenset[str] | None
    """Tags that its batches have to have; None: all that there are."""

    def offer(self, batch: Batch) -> bool:
        """Let the batch in, or refuse it. Never waits."""


class Pipeline:
    """The chain of actors that a configuration describes. `stations` are in the order of the data.

    Its door is open at once; its stages are constructed by `fill` and work from `begin` on. A stage that dies is
    followed by another, with the same settings, when `mend` is called; what it held is counted as lost, what waited
    for it is kept. A pipeline whose stages die again and again is given up: `stopped` tells why. `door`: its first
    inbox, which may be one that another pipeline left. `room`: while that is full, the door lets in a batch at a time.
    """

    def __init__(self, config: PipelineConfig, door: Inbox | None = None, room: Room | None = None) -> None:
        self.name = config.name
        self.config = config
        self.stopped = ""
        self.wants: frozenset[str] | None = None
        """Tags that its batches have to have; None: all that there are."""
        self._posts: list[Post] = []
        self._room = room or Room()
        self._begun = False
        self._alive = 0  # the first post that works: those before it were given up
        self._deaths: deque[float] = deque()
        self._flush = Flush()
        label = f"pipeline {config.name}: "
        backend = find_class(BACKENDS[config.backend])
        self._add(label + config.backend, partial(backend, config.settings), None)
        names = _numbered([kind for kind, _ in config.steps])
        for (kind, settings), name in reversed(list(zip(config.steps, names, strict=True))):
            step = find_class(STEPS[kind])
            self.wants = step.wants(settings, self.wants)
            self._add(label + name, partial(step, settings), self._posts[0])
        self._posts[0].inbox = self.door = door or Inbox(INBOX_RECORDS, INBOX_BYTES)

    def _add(self, name: str, stage: Callable[..., Stage], onward: Post | None) -> None:
        station = Station(name)
        make = partial(stage, station) if onward is None else partial(stage, station, onward)
        self._posts.insert(0, Post(make, station, Inbox(BETWEEN_RECORDS, BETWEEN_BYTES)))

    def serves(self, config: PipelineConfig) -> bool:
        """Whether it works as this configuration says, wherever in the file that stands."""
        return not self.stopped and self.config == replace(config, line=self.config.line)

    @property
    def stations(self) -> list[Station]:
        """What each stage did with what came to it."""
        return [post.station for post in self._posts]

    @property
    def depth(self) -> int:
        """Records that wait in the pipeline's inboxes."""
        return sum(post.inbox.depth for post in self._posts)

    def account(self) -> list[Station]:
        """Its stations as they are at this moment."""
        return [post.station.now({"inbox.depth": post.inbox.depth}) for post in self._posts]

    def offer(self, batch: Batch) -> bool:
        """Let the batch in, or, where the pipeline is full, refuse and count it. Never waits."""
        head = self._posts[0]
        taken = head.inbox.offer(batch, tight=self._room.full)
        if not taken:
            head.station.refused += len(batch)
        return taken

    def put(self, batch: Batch) -> None:
        """Let the batch in, as soon as there is room."""
        try:
            self._posts[0].tell(batch)
        except pykka.ActorDeadError:
            self._posts[0].station.refused += len(batch)

    def fill(self) -> None:
        """Construct its stages. Raises ValueError where one lacks a setting; then there are none."""
        try:
            for post in reversed(self._posts):
                post.fill()
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Do without the stages that were constructed and not begun."""
        for post in self._posts:
            post.leave()

    def begin(self) -> None:
        """Let its stages work."""
        self._begun = True
        for post in reversed(self._posts):
            post.begin()

    def mend(self) -> None:
        """Put another stage where one has died."""
        for number, post in enumerate(self._posts):
            if self._begun and number >= self._alive and post.vacant:
                self._replace(number)

    @property
    def deaths(self) -> int:
        """Stages that died within the last minute."""
        while self._deaths and self._deaths[0] < time.monotonic() - DEATHS_S:
            self._deaths.popleft()
        return len(self._deaths)

    def flush(self) -> None:
        """Tell every stage, in the order of the data, to hand on what it holds; returns at once."""
        if self._alive < len(self._posts):
            self._posts[self._alive].tell(self._flush)
        else:
            self._flush.done.set()

    def flushed(self, seconds: float) -> bool:
        """Wait so long for the `flush` to end; whether it has."""
        return self._flush.done.wait(seconds)

    def relieve(self) -> None:
        """Tell every stage that works to hold less; returns at once."""
        for post in self._posts[self._alive :]:
            post.tell(Relieve())

    def finish(self, deadline: float) -> bool:
        """Wait for the `flush` to end, then stop every stage; false if that was not done by `deadline`.

        What a stage that hangs still holds stays counted as in flight. `deadline` is on `time.monotonic`.
        """
        while not self.flushed(max(0.0, min(deadline - time.monotonic(), _MEND_S))) and time.monotonic() < deadline:
            self.mend()
        done = self.flushed(0)
        if not done:
            log.error("pipeline %s did not finish in time: %d records are left in it", self.name, self.depth)
            for post in self._posts:
                post.close()
                post.station.received += post.inbox.depth  # by a stage that hangs, so nobody else writes it
        for post in self._posts:
            post.stop(block=done)
        return done

    def _replace(self, number: int) -> None:
        post = self._posts[number]
        held = post.bury()
        self._deaths.append(time.monotonic())
        if self.deaths > DEATHS:
            self._give_up(number)
            return
        log.error("%s has died, and another takes its place; %d records that it held are lost", post.station.name, held)
        try:
            post.fill()
            post.begin()
        except Exception:  # it is tried again, and that counts as a death
            post.leave()
            log.exception("%s: nobody can take its place now", post.station.name)

    def _give_up(self, number: int) -> None:
        """Let nothing in any more; what is behind the stage that died is delivered."""
        name = self._posts[number].station.name
        for post in self._posts[: number + 1]:
            post.close()
            post.stop(block=False)
        left = self._posts[number].abandon()
        self._alive = number + 1
        self.flush()
        self._flush = Flush()
        self.stopped = (
            f"{name} died {DEATHS + 1} times within a minute: the pipeline is stopped, and refuses everything"
        )
        log.critical("%s. %d records that waited for it are lost; other pipelines go on", self.stopped, left)


def _numbered(kinds: Sequence[str]) -> list[str]:
    """Names that tell steps of one type apart: `Regex`, `Regex 2`."""
    seen: Counter[str] = Counter()
    names = []
    for kind in kinds:
        seen[kind] += 1
        names.append(kind if seen[kind] == 1 else f"{kind} {seen[kind]}")
    return names


def build(config: Config, probes: Container[str]) -> dict[str, Pipeline]:
    """The pipelines that probes of these types feed, started. Raises ValueError where a backend lacks a setting."""
    fed = config.fed(probe for probe in config.probes if probe.type in probes)
    pipelines = {name: Pipeline(pipeline) for name, pipeline in fed.items()}
    for pipeline in pipelines.values():
        pipeline.fill()
    for pipeline in pipelines.values():
        pipeline.begin()
    return pipelines


def finish(pipelines: Mapping[str, Pipeline], seconds: float) -> None:
    """Flush all pipelines side by side, so that one that hangs takes no time from the others, and stop them."""
    deadline = time.monotonic() + seconds
    for pipeline in pipelines.values():
        pipeline.flush()
    for pipeline in pipelines.values():
        pipeline.finish(deadline)


def wanted(pipelines: Iterable[Outlet]) -> frozenset[str] | None:
    """The tags that any of these pipelines wants; None: all that there are."""
    found: set[str] = set()
    for pipeline in pipelines:
        if pipeline.wants is None:
            return None
        found |= pipeline.wants
    return frozenset(found)

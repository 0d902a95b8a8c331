"""A pipeline at work: its actors in a chain, its door, and what it did with what came in."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import pykka

from ingrain.account import Station
from ingrain.backends import BACKENDS
from ingrain.batch import Batch
from ingrain.config import Config, ConfigError, PipelineConfig
from ingrain.inbox import BETWEEN_BYTES, BETWEEN_RECORDS, INBOX_BYTES, INBOX_RECORDS, Inbox
from ingrain.post import Post
from ingrain.registry import find_class
from ingrain.room import Room
from ingrain.stage import Flush, Relieve, Stage, Step, Stop
from ingrain.steps import STEPS
from ingrain.tags import aside

log = logging.getLogger(__name__)

DEATHS, DEATHS_S = 5, 60.0
"""A pipeline outlives so many deaths of its stages within so many seconds: what dies more often does not recover."""

STOP_S = 8.0
"""How long stages may take to stop once they are flushed: an Exec step ends its commands, a backend closes files."""

_MEND_S = 0.2


class PipelineError(RuntimeError):
    """A pipeline cannot be built; the message says which stage of it, and why."""


class Outlet(Protocol):
    """Where a probe's batches go: a pipeline, or who watches."""

    wants: frozenset[str] | None
    """Tags that its batches have to have; None: all that there are."""

    def offer(self, batch: Batch) -> bool:
        """Let the batch in, or refuse it. Never waits."""


class Pipeline:
    """The chain of actors that a configuration describes, in the order of the data.

    Its door is open at once; its stages are constructed by `fill` and work from `begin` on. A stage that dies is
    replaced by another one with the same settings when `mend` is called; what it held is counted as lost, what waited
    for it is kept. One that cannot be constructed is tried again, less and less often. A pipeline whose stages keep
    dying is given up: `stopped` says why. `door`: its first inbox, which may be one that another pipeline left.
    `room`: while that is full, the door lets in a batch at a time.

    For one thread, but `offer` and `account`.
    """

    def __init__(self, config: PipelineConfig, door: Inbox | None = None, room: Room | None = None) -> None:
        self.name = config.name
        self.config = config
        self.stopped = ""
        self.wants: frozenset[str] | None = None
        """Tags that its batches have to have; None: all that there are."""
        self._posts: list[Post] = []
        self._room = room or Room()
        self._begun = self._finished = False
        self._alive = 0  # no stage before this post is replaced any more
        self._deaths: deque[float] = deque()
        self._flush, self._flushing = Flush(), False
        self._refusing = threading.Lock()  # several probes offer at a time
        label = f"pipeline {config.name}: "
        backend = find_class(BACKENDS[config.backend])
        self._add(label + config.backend, partial(backend, config.settings), None)
        names = _numbered([kind for kind, _ in config.steps])
        carried: frozenset[str] = frozenset()
        for (kind, settings), name in reversed(list(zip(config.steps, names, strict=True))):
            step = find_class(STEPS[kind])
            self._add(label + name, partial(_step, step, settings, carried), self._posts[0])
            carried |= step.needs(settings, self.wants)
            wants = step.wants(settings, self.wants)
            self.wants = None if wants is None else wants | carried
        self._posts[0].inbox = self.door = door or Inbox(INBOX_RECORDS, INBOX_BYTES)

    def _add(self, name: str, stage: Callable[..., Stage], onward: Post | None) -> None:
        station = Station(name)
        make = partial(stage, station) if onward is None else partial(stage, station, onward)
        self._posts.insert(0, Post(make, station, Inbox(BETWEEN_RECORDS, BETWEEN_BYTES)))

    def serves(self, config: PipelineConfig) -> bool:
        """Whether it works as this configuration says, wherever in the file that stands."""
        return not self.stopped and self.config == config

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
        return [post.account() for post in self._posts]

    def offer(self, batch: Batch) -> bool:
        """Let the batch in, or, where the pipeline is full, refuse and count it. Never waits."""
        taken = self._posts[0].inbox.offer(batch, tight=self._room.full)
        if not taken:
            self._refuse(batch)
        return taken

    def put(self, batch: Batch) -> None:
        """Let the batch in as soon as there is room; stages that die meanwhile are replaced."""
        inbox = self._posts[0].inbox
        try:
            while not inbox.put_within(batch, _MEND_S):
                self.mend()
        except pykka.ActorDeadError:
            self._refuse(batch)

    def fill(self) -> None:
        """Construct its stages. Raises PipelineError where one cannot be; then there are none."""
        for post in reversed(self._posts):
            try:
                post.fill()
            except KeyboardInterrupt:
                self.leave()
                raise
            except BaseException as error:  # what a library's panic raises is no Exception
                self.leave()
                raise PipelineError(f"{post.station.name}: {error}") from error

    def leave(self) -> None:
        """Do without the stages that were constructed and not begun."""
        for post in self._posts:
            post.leave()

    def begin(self) -> None:
        """Let its stages work. Those that cannot, or were not constructed, are tried again by `mend`."""
        self._begun = True
        for post in reversed(self._posts):
            try:
                post.begin()
            except RuntimeError as error:  # the limit of threads
                post.postpone(error)

    def mend(self) -> None:
        """Replace stages that have died, and start those that could not be started before."""
        for number, post in enumerate(self._posts):
            if number < self._alive:
                self._settle(number)
            elif self._begun and post.vacant:
                self._replace(number)

    @property
    def deaths(self) -> int:
        """Stages that died within the last minute."""
        while self._deaths and self._deaths[0] < time.monotonic() - DEATHS_S:
            self._deaths.popleft()
        return len(self._deaths)

    @property
    def ended(self) -> bool:
        """Whether it was finished, and no stage of it works any more: its account is final."""
        return self._finished and all(post.vacant for post in self._posts)

    @property
    def hangs(self) -> bool:
        """Whether it was finished, and a stage of it works nevertheless."""
        return self._finished and not self.ended

    def flush(self) -> None:
        """Tell every stage, in the order of the data, to hand on what it holds; returns at once."""
        self._flushing = True
        self._tell(self._flush)

    def flushed(self, seconds: float) -> bool:
        """Wait so long for the `flush` to end; whether it has."""
        return self._flush.done.wait(seconds)

    def relieve(self) -> None:
        """Tell every stage that works to hold less; returns at once."""
        for post in self._posts[self._alive :]:
            post.tell(Relieve())

    def finish(self, deadline: float) -> bool:
        """Wait for the `flush` to end, until `deadline` (`time.monotonic`), then have each stage stop; whether all did.

        A stage that hangs goes on, stops behind what waits for it, and is not replaced any more; `ended` and the
        account follow it. `abandon` is for when there is no time for that.
        """
        while not self.flushed(max(0.0, min(deadline - time.monotonic(), _MEND_S))) and time.monotonic() < deadline:
            self.mend()
        if not self._finished:
            self._finished = True
            if self._alive < len(self._posts):
                self._posts[self._alive].tell(Stop())
            self._alive = len(self._posts)
        until = min(deadline, time.monotonic()) + STOP_S
        for number, post in enumerate(self._posts):
            if self.flushed(0):
                post.wait(until)
            self._settle(number)
        if not self.ended:
            log.error("pipeline %s did not finish in time: %d records wait in it", self.name, self.depth)
        return self.ended

    def abandon(self) -> None:
        """Count what waits for stages that hang as lost: there is no more time for them."""
        for post in self._posts:
            if not post.vacant:
                post.abandon()

    def _refuse(self, batch: Batch) -> None:
        with self._refusing:
            self._posts[0].station.refused += len(batch)

    def _replace(self, number: int) -> None:
        post = self._posts[number]
        if post.died:
            held = post.bury()
            self._deaths.append(time.monotonic())
            if self.deaths > DEATHS:
                self._give_up(number)
                return
            what = "%s has died, and another takes its place; %d records that it held are lost"
            log.error(what, post.station.name, held)
        post.refill()

    def _give_up(self, number: int) -> None:
        """Let nothing in any more; what is behind the stage that died is delivered."""
        name = self._posts[number].station.name
        for post in self._posts[: number + 1]:
            post.close()
        left = self._posts[number].inbox.depth
        self._posts[self._alive].tell(Stop())
        self._alive = number + 1
        for before in range(self._alive):
            self._settle(before)
        self._tell(self._flush if self._flushing else Flush())
        self.stopped = (
            f"{name} died {DEATHS + 1} times within a minute: the pipeline is stopped, and refuses everything"
        )
        log.critical("%s. %d records that waited for it are lost; other pipelines go on", self.stopped, left)

    def _tell(self, flush: Flush) -> None:
        """Have it pass through all stages that work."""
        if self._alive < len(self._posts):
            self._posts[self._alive].tell(flush)
        else:
            flush.done.set()

    def _settle(self, number: int) -> None:
        """Close the account of a post where nobody works any more, and pass on the stop that waits there."""
        if self._posts[number].settle() and number + 1 < self._alive:
            self._posts[number + 1].tell(Stop())


def _step(kind: type[Any], settings: Any, carried: frozenset[str], station: Station, onward: Post) -> Step:
    made: Step = kind(settings, station, onward)
    made.carried = frozenset(map(aside, carried))
    return made


def _numbered(kinds: Sequence[str]) -> list[str]:
    """Names that tell steps of one type apart: `Regex`, `Regex 2`."""
    seen: Counter[str] = Counter()
    names = []
    for kind in kinds:
        seen[kind] += 1
        names.append(kind if seen[kind] == 1 else f"{kind} {seen[kind]}")
    return names


def build(config: Config, probes: Container[str]) -> dict[str, Pipeline]:
    """The pipelines that probes of these types feed, started. Raises ConfigError and PipelineError where one cannot be.

    Nothing is opened or started where the host lacks what one of them needs.
    """
    fed = config.fed(probe for probe in config.probes if probe.type in probes)
    check(fed.values())
    pipelines = {name: Pipeline(pipeline) for name, pipeline in fed.items()}
    try:
        for pipeline in pipelines.values():
            pipeline.fill()
    except BaseException:
        for pipeline in pipelines.values():
            pipeline.leave()
        raise
    for pipeline in pipelines.values():
        pipeline.begin()
    return pipelines


def check(configs: Iterable[PipelineConfig]) -> None:
    """Raise ConfigError for what pipelines of these configurations need of this host and do not find."""
    lacking = [problem for config in configs for problem in config.lacking()]
    if lacking:
        raise ConfigError(lacking)


def finish(pipelines: Iterable[Pipeline], seconds: float) -> None:
    """Flush all pipelines side by side, so that one that hangs takes no time from the others, and stop them."""
    pipelines = list(pipelines)
    deadline = time.monotonic() + seconds
    for pipeline in pipelines:
        pipeline.flush()
    for pipeline in pipelines:
        pipeline.finish(deadline)
    for pipeline in pipelines:
        pipeline.abandon()


def wanted(pipelines: Iterable[Outlet]) -> frozenset[str] | None:
    """The tags that any of these pipelines wants; None: all that there are."""
    found: set[str] = set()
    for pipeline in pipelines:
        if pipeline.wants is None:
            return None
        found |= pipeline.wants
    return frozenset(found)

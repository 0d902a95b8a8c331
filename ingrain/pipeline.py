"""A pipeline at work: its actors in a chain, its door, and what it did with what came in."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterable, Mapping
from typing import Any

import pykka

from ingrain.account import Station
from ingrain.backends import BACKENDS
from ingrain.batch import Batch
from ingrain.config import Config, PipelineConfig
from ingrain.registry import find_class
from ingrain.stage import BETWEEN_BYTES, BETWEEN_RECORDS, Flush, Inbox
from ingrain.steps import STEPS

log = logging.getLogger(__name__)


class Pipeline:
    """The chain of actors that a configuration describes, started. `stations` are in the order of the data."""

    def __init__(self, config: PipelineConfig) -> None:
        self.name = config.name
        label = f"pipeline {config.name}"
        end = Station(f"{label}: {config.backend}")
        backend = find_class(BACKENDS[config.backend])
        self._refs: list[pykka.ActorRef[Any]] = [backend.start(config.settings, end)]
        self.stations = [end]
        self.wants: frozenset[str] | None = None
        """Tags that its batches have to have; None: all that there are."""
        for kind, settings in reversed(config.steps):
            station, step = Station(f"{label}: {kind}"), find_class(STEPS[kind])
            self.wants = step.wants(settings, self.wants)
            self._refs.insert(0, step.start(settings, station, self._refs[0]))
            self.stations.insert(0, station)
        self._flush = Flush()
        self._inboxes: list[Inbox] = [ref.actor_inbox for ref in self._refs]  # type: ignore[misc] # Stage's is an Inbox
        for inbox in self._inboxes[1:]:
            inbox.capacity, inbox.capacity_bytes = BETWEEN_RECORDS, BETWEEN_BYTES

    @property
    def depth(self) -> int:
        """Records that wait in the pipeline's inboxes."""
        return sum(inbox.depth for inbox in self._inboxes)

    def account(self) -> list[Station]:
        """Its stations as they are at this moment."""
        return [
            station.now({"inbox.depth": inbox.depth})
            for station, inbox in zip(self.stations, self._inboxes, strict=True)
        ]

    def offer(self, batch: Batch) -> bool:
        """Let the batch in, or, where the pipeline is full, refuse and count it. Never waits."""
        taken = self._inboxes[0].offer(batch)
        if not taken:
            self.stations[0].refused += len(batch)
        return taken

    def put(self, batch: Batch) -> None:
        """Let the batch in, as soon as there is room."""
        try:
            self._refs[0].tell(batch)
        except pykka.ActorDeadError:
            self.stations[0].refused += len(batch)

    def flush(self) -> None:
        """Tell every stage, in the order of the data, to hand on what it holds; returns at once."""
        self._refs[0].tell(self._flush)

    def finish(self, deadline: float) -> bool:
        """Wait for the `flush` to end, then stop every stage; false if that was not done by `deadline`.

        What a stage that hangs still holds stays counted as in flight. `deadline` is on `time.monotonic`.
        """
        done = self._flush.done.wait(max(0.0, deadline - time.monotonic()))
        if not done:
            log.error("pipeline %s did not finish in time: %d records are left in it", self.name, self.depth)
            for inbox, station in zip(self._inboxes, self.stations, strict=True):
                inbox.close()
                station.received += inbox.depth  # by a stage that hangs, so nobody else writes it
        for ref in self._refs:
            ref.stop(block=done)
        return done


def build(config: Config, probes: Container[str]) -> dict[str, Pipeline]:
    """The pipelines that probes of these types feed, started. Raises ValueError where a backend lacks a setting."""
    fed = {name for probe in config.probes if probe.type in probes for name in probe.pipelines}
    return {name: Pipeline(pipeline) for name, pipeline in config.pipelines.items() if name in fed}


def finish(pipelines: Mapping[str, Pipeline], seconds: float) -> None:
    """Flush all pipelines side by side, so that one that hangs takes no time from the others, and stop them."""
    deadline = time.monotonic() + seconds
    for pipeline in pipelines.values():
        pipeline.flush()
    for pipeline in pipelines.values():
        pipeline.finish(deadline)


def wanted(pipelines: Iterable[Pipeline]) -> frozenset[str] | None:
    """The tags that any of these pipelines wants; None: all that there are."""
    found: set[str] = set()
    for pipeline in pipelines:
        if pipeline.wants is None:
            return None
        found |= pipeline.wants
    return frozenset(found)

"""The pipelines at work, by name, and what those did that are gone.

In: what a configuration says of pipelines, once at the start and again whenever it changes. Where one is replaced, its
successor's door is open before its own is shut: what comes meanwhile waits there until all that is in it is delivered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

from ingrain.account import Station, together
from ingrain.config import PipelineConfig
from ingrain.pipeline import Pipeline, finish
from ingrain.room import Room

log = logging.getLogger(__name__)

FINISH_SECONDS = 15.0
"""How long backends may take for what is left; a service manager kills what stops for 30 s or more."""

Instead = Mapping[Pipeline, Pipeline]
"""A pipeline -> the one that is fed instead."""

_BEAT_S = 0.2


class Pipelines:
    """For one thread, but `account`. `by_name`: those that are fed. `room`: what all of them share."""

    def __init__(self, room: Room | None = None) -> None:
        self._room = room or Room()
        self.by_name: dict[str, Pipeline] = {}
        self._leaving: list[Pipeline] = []
        self._ended: defaultdict[str, list[Station]] = defaultdict(list)
        self._lock = threading.Lock()

    def change(
        self, configs: Mapping[str, PipelineConfig], feed: Callable[[Instead], None], beat: Callable[[], None]
    ) -> None:
        """Have pipelines of these configurations. Those of other names stay until `drop`.

        feed: has one pipeline fed instead of another. beat: called again and again while it takes time. Raises
        ValueError where one lacks a setting; then all is as it was.
        """
        added = [Pipeline(config, room=self._room) for name, config in configs.items() if name not in self.by_name]
        changed = {
            old: Pipeline(config, room=self._room)
            for name, config in configs.items()
            if (old := self.by_name.get(name)) and not old.serves(config)
        }
        try:
            for pipeline in added:
                pipeline.fill()
            if changed:
                self._replace(changed, feed, beat)
        except BaseException:
            for pipeline in added:
                pipeline.leave()
            raise
        for pipeline in added:
            pipeline.begin()
        with self._lock:
            self.by_name |= {pipeline.name: pipeline for pipeline in added}

    def drop(self, names: Collection[str], beat: Callable[[], None]) -> None:
        """Deliver what is in these, and do without them. Nothing feeds them any more."""
        leaving = [self.by_name[name] for name in names]
        with self._lock:
            self._leaving += leaving
            for name in names:
                del self.by_name[name]
        self._end(leaving, beat)

    def mend(self) -> None:
        """Put another stage where one has died."""
        for pipeline in (*self.by_name.values(), *self._leaving):
            pipeline.mend()

    def relieve(self) -> None:
        """Have all of them hold less."""
        for pipeline in (*self.by_name.values(), *self._leaving):
            pipeline.relieve()

    def finish(self) -> None:
        """Deliver what is in them, and stop them."""
        finish(self.by_name, FINISH_SECONDS)

    def account(self) -> dict[str, list[Station]]:
        """What the stages of each did; any thread may ask. Those that are gone are told with one of the same name."""
        with self._lock:
            told = {name: pipeline.account() for name, pipeline in self.by_name.items()}
            gone = {name: stations.copy() for name, stations in self._ended.items()}
            for pipeline in self._leaving:
                gone[pipeline.name] = together(gone.get(pipeline.name, []), pipeline.account())
            return told | {name: together(told.get(name, []), stations) for name, stations in gone.items()}

    def problems(self) -> list[str]:
        """What is wrong that no count tells: stages that died."""
        problems = []
        for name, pipeline in self.by_name.items():
            if pipeline.stopped:
                problems.append(pipeline.stopped)
            elif pipeline.deaths:
                problems.append(f"pipeline {name}: stages died and were replaced within a minute: {pipeline.deaths}")
        return problems

    def _replace(self, changed: Instead, feed: Callable[[Instead], None], beat: Callable[[], None]) -> None:
        self._switch(changed, feed)
        self._end(changed, beat)
        try:
            for pipeline in changed.values():
                pipeline.fill()
        except BaseException:
            for pipeline in changed.values():
                pipeline.leave()
            back = {new: Pipeline(old.config, new.door, self._room) for old, new in changed.items()}
            self._switch(back, feed)
            self._gone(back)
            for pipeline in back.values():
                pipeline.begin()
                pipeline.mend()  # what cannot be constructed now is tried again
            raise
        for pipeline in changed.values():
            pipeline.begin()

    def _switch(self, instead: Instead, feed: Callable[[Instead], None]) -> None:
        feed(instead)
        with self._lock:
            self._leaving += instead
            self.by_name |= {new.name: new for new in instead.values()}

    def _end(self, pipelines: Iterable[Pipeline], beat: Callable[[], None]) -> None:
        deadline = time.monotonic() + FINISH_SECONDS
        for pipeline in pipelines:
            pipeline.flush()
        for pipeline in pipelines:
            while not pipeline.flushed(_BEAT_S) and time.monotonic() < deadline:
                beat()
            pipeline.finish(time.monotonic())
        self._gone(pipelines)

    def _gone(self, pipelines: Iterable[Pipeline]) -> None:
        with self._lock:
            for pipeline in pipelines:
                self._leaving.remove(pipeline)
                self._ended[pipeline.name] = together(
                    self._ended[pipeline.name], (station.past() for station in pipeline.account())
                )

"""The pipelines at work, by name, and the counts of those that are gone.

In: what a configuration says of pipelines, once at the start and again whenever it changes. Where one is replaced, its
successor's door is open before its own is shut: what comes meanwhile waits there until all that is in it is delivered.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from ingrain.account import Station, together
from ingrain.config import PipelineConfig
from ingrain.pipeline import Pipeline, PipelineError, check, finish
from ingrain.room import Room

FINISH_SECONDS = 15.0
"""How long backends may take for what is left; a service manager kills what stops for 30 s or more."""

Instead = Mapping[Pipeline, Pipeline]
"""A pipeline -> the one that is fed instead."""

Feed = Callable[[Instead], None]

_BEAT_S = 0.2


class Pipelines:
    """For one thread, but `account`. `by_name`: those that are fed. `room`: what all of them share."""

    def __init__(self, room: Room | None = None) -> None:
        self._room = room or Room()
        self.by_name: dict[str, Pipeline] = {}
        self._leaving: list[Pipeline] = []
        self._ended: defaultdict[str, list[Station]] = defaultdict(list)
        self._lock = threading.Lock()

    def change(self, configs: Mapping[str, PipelineConfig], feed: Feed, beat: Callable[[], None]) -> None:
        """Have pipelines of these configurations. Those of other names stay until `drop`.

        feed: has one pipeline fed instead of another. beat: called again and again while it takes time. Raises
        ConfigError where the host lacks what one of them needs, and PipelineError where one cannot be built; then all
        is as it was.
        """
        changed = {name: one for name, one in configs.items() if not self._stays(name, one)}
        check(changed.values())
        new = {name: Pipeline(config, room=self._room) for name, config in changed.items()}
        heirs = self._heirs(configs, new)
        leaving = [*heirs, *self._in_the_way(configs, new, heirs)]
        owned = {old.config.spool for old in leaving} - {None}
        later = [one for one in new.values() if one in heirs.values() or one.config.spool in owned]
        try:
            for pipeline in new.values():
                if pipeline not in later:
                    pipeline.fill()
            if leaving:
                self._replace(leaving, heirs, later, feed, beat)
        except BaseException:
            for pipeline in new.values():
                pipeline.leave()
            raise
        for pipeline in new.values():
            pipeline.begin()
        with self._lock:
            self.by_name |= new

    def drop(self, names: Collection[str], beat: Callable[[], None]) -> None:
        """Deliver what is in these, and do without them. Nothing feeds them any more."""
        leaving = [self.by_name[name] for name in names]
        with self._lock:
            self._leaving += leaving
            for name in names:
                del self.by_name[name]
        self._end(leaving, beat)
        self._forget()

    def mend(self) -> None:
        """Replace stages that have died, and close the account of pipelines that have ended at last."""
        self._forget()
        for pipeline in self._everyone:
            pipeline.mend()

    def relieve(self) -> None:
        """Have all of them hold less."""
        for pipeline in self._everyone:
            pipeline.relieve()

    def finish(self) -> None:
        """Deliver what is in them, and stop them."""
        finish(self._everyone, FINISH_SECONDS)

    def account(self) -> dict[str, list[Station]]:
        """What the stages of each did; any thread may ask. Those that are gone are told with one of the same name."""
        with self._lock:
            told = {name: pipeline.account() for name, pipeline in self.by_name.items()}
            gone = {name: stations.copy() for name, stations in self._ended.items()}
            for pipeline in self._leaving:
                gone[pipeline.name] = together(gone.get(pipeline.name, []), pipeline.account())
            return told | {name: together(told.get(name, []), stations) for name, stations in gone.items()}

    def problems(self) -> list[str]:
        """What is wrong that no count tells: stages that died, and what a reload replaced and does not end."""
        problems = []
        for name, pipeline in self.by_name.items():
            if pipeline.stopped:
                problems.append(pipeline.stopped)
            elif pipeline.deaths:
                problems.append(f"pipeline {name}: stages died and were replaced within a minute: {pipeline.deaths}")
        hanging = (one.name for one in self._leaving if one.hangs)
        return problems + [
            f"pipeline {name}: a reload replaced it, and it hangs with what is in it" for name in hanging
        ]

    @property
    def _everyone(self) -> list[Pipeline]:
        return [*self.by_name.values(), *self._leaving]

    def _stays(self, name: str, config: PipelineConfig) -> bool:
        old = self.by_name.get(name)
        return old is not None and old.serves(config)

    def _heirs(self, configs: Mapping[str, PipelineConfig], new: Mapping[str, Pipeline]) -> dict[Pipeline, Pipeline]:
        """Each pipeline that is replaced, with its successor: of the same name, or, if renamed, of the same spool."""
        renamed = {one.config.spool: one for name, one in new.items() if name not in self.by_name}
        heirs = {}
        for name, old in self.by_name.items():
            if name in new:
                heirs[old] = new[name]
            elif name not in configs and old.config.spool is not None and old.config.spool in renamed:
                heirs[old] = renamed[old.config.spool]
        return heirs

    def _in_the_way(
        self, configs: Mapping[str, PipelineConfig], new: Mapping[str, Pipeline], heirs: Collection[Pipeline]
    ) -> list[Pipeline]:
        """Those that will be dropped, and have a spool that another one is to have: they end before it begins."""
        wanted = {one.config.spool for one in new.values()} - {None}
        dropped = (old for name, old in self.by_name.items() if name not in configs and old not in heirs)
        return [old for old in dropped if old.config.spool in wanted]

    def _replace(
        self,
        leaving: Sequence[Pipeline],
        heirs: Instead,
        later: Sequence[Pipeline],
        feed: Feed,
        beat: Callable[[], None],
    ) -> None:
        """End those that leave, then construct those that could not be constructed beside them."""
        feed(heirs)
        with self._lock:
            self._leaving += heirs
            for old, heir in heirs.items():
                del self.by_name[old.name]
                self.by_name[heir.name] = heir
        self._end(leaving, beat)
        self._forget()
        try:
            for pipeline in later:
                pipeline.fill()
        except BaseException:
            for pipeline in later:
                pipeline.leave()
            self._restore(leaving, heirs, feed)
            raise

    def _restore(self, leaving: Sequence[Pipeline], heirs: Instead, feed: Feed) -> None:
        """Have pipelines as those that left. What came meanwhile waits at the doors of their heirs, and is theirs."""
        back = {}
        for old in leaving:
            heir = heirs.get(old)
            back[heir or old] = Pipeline(old.config, heir.door if heir else None, self._room)
        with self._lock:
            for instead in back:
                del self.by_name[instead.name]
            self._leaving += [one for one in back if one not in self._leaving]
            self.by_name |= {pipeline.name: pipeline for pipeline in back.values()}
        for pipeline in back.values():
            with suppress(PipelineError):  # it is tried again, stage by stage
                pipeline.fill()
            pipeline.begin()
        feed(back)
        self._remember(heirs.values())

    def _end(self, pipelines: Iterable[Pipeline], beat: Callable[[], None]) -> None:
        """Deliver what is in them within a time, and stop them. What hangs then goes on until it has ended."""
        deadline = time.monotonic() + FINISH_SECONDS
        for pipeline in pipelines:
            pipeline.flush()
        for pipeline in pipelines:
            while not pipeline.flushed(_BEAT_S) and time.monotonic() < deadline:
                beat()
            pipeline.finish(deadline)

    def _forget(self) -> None:
        """Do without those that have ended."""
        self._remember([one for one in self._leaving if one.ended])

    def _remember(self, pipelines: Iterable[Pipeline]) -> None:
        """Keep the counts of these, which are gone."""
        with self._lock:
            for pipeline in pipelines:
                self._leaving.remove(pipeline)
                self._ended[pipeline.name] = together(
                    self._ended[pipeline.name], (station.past() for station in pipeline.account())
                )

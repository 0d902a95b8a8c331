"""The probes without a kernel half that are at work. In: what a configuration says of them, again when it changes.

One that cannot run is reported, and the others do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ingrain.account import Account, ProbeAccount, together
from ingrain.attempt import attempt
from ingrain.config import ProbeConfig
from ingrain.grains import OWN
from ingrain.own.probe import OwnProbe
from ingrain.pipeline import Outlet, Pipeline
from ingrain.probe import ProbeError
from ingrain.registry import find_class

log = logging.getLogger(__name__)


class OwnProbes:
    """For one thread, but `account`. agent: gives the account of the whole agent."""

    def __init__(self, agent: Callable[[], Account]) -> None:
        self.at_work: list[OwnProbe] = []
        self._agent = agent
        self._absent: dict[str, str] = {}
        self._ended: list[ProbeAccount] = []
        self._lock = threading.Lock()
        self._watching: list[Outlet] = []

    def change(self, configs: Sequence[ProbeConfig], pipelines: Mapping[str, Pipeline]) -> None:
        """Have these at work, and no others. Those that stay go on."""
        leaving, coming = list(self.at_work), []
        for config in configs:
            into = [pipelines[name] for name in config.pipelines]
            same = next((one for one in leaving if (one.kind, one.settings) == (config.type, config.settings)), None)
            if same is None:
                coming.append(find_class(OWN[config.type])(config.settings, into, self._agent))
            else:
                leaving.remove(same)
                same.feed([*into, *self._watchers(same)])
        self._end(leaving)  # first: who comes may need its address
        self._absent.clear()
        for probe in coming:
            try:
                probe.start()
            except ProbeError as error:
                self._absent[probe.kind] = str(error)
                log.error("probe %s cannot run: %s", probe.kind, error)  # noqa: TRY400 - its message says it all
                continue
            with self._lock:
                self.at_work.append(probe)
            probe.feed([*probe.pipelines, *self._watchers(probe)])

    def feed(self, instead: Mapping[Any, Outlet]) -> None:
        """Have what goes into the one pipeline go into the other from now on."""
        for probe in self.at_work:
            probe.feed([instead.get(one, one) for one in probe.pipelines])

    def watch(self, watching: Sequence[Outlet]) -> None:
        """Have these get all that the pipelines get, too, from now on, and no others; the agent's own account apart."""
        before, self._watching = self._watching, list(watching)
        for probe in self.at_work:
            probe.feed([*(one for one in probe.pipelines if one not in before), *self._watchers(probe)])

    def finish(self) -> None:
        """Tell what is left, and end."""
        self._end(list(self.at_work))

    @property
    def receiving(self) -> bool:
        """Whether one is at work that takes something in."""
        return any(probe.account() for probe in self.at_work)

    def account(self) -> list[ProbeAccount]:
        """What each did; any thread may ask. Those that are gone are told with one of the same type."""
        with self._lock:
            return together([told for probe in self.at_work if (told := probe.account())], self._ended)

    def problems(self) -> list[str]:
        """What is wrong that no count tells."""
        absent = [f"probe {kind}: it cannot run: {why}" for kind, why in self._absent.items()]
        return absent + [f"probe {one.kind}: {problem}" for one in self.at_work for problem in one.problems()]

    def _watchers(self, probe: OwnProbe) -> list[Outlet]:
        return self._watching if probe.account() else []

    def _end(self, probes: Sequence[OwnProbe]) -> None:
        for probe in sorted(probes, key=lambda one: one.account() is None):  # who tells of the others comes last
            attempt(f"ending probe {probe.kind}", probe.finish)
            told = probe.account()
            with self._lock:
                self.at_work.remove(probe)
                self._ended = together(self._ended, [told] if told else [])

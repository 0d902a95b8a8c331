"""The probes at work, and what they have in common: the thread that reads, owners of sockets, containers, look-ups.

In: what a configuration says of probes, once at the start and again whenever it changes. A probe that stays is not
detached, and loses nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ingrain import tracing
from ingrain.account import ProbeAccount, together
from ingrain.attempt import attempt
from ingrain.config import ProbeConfig
from ingrain.containers import Containers
from ingrain.grains import GRAINS, OLDER
from ingrain.grains.common import TracingSettings
from ingrain.grains.grain import Grain
from ingrain.grains.lookups import Lookups
from ingrain.health import RECENT_S
from ingrain.kernel import cgroup
from ingrain.kernel.cgroup import CgroupError
from ingrain.kernel.loaders import Loader, by_trial
from ingrain.kernel.reader import Reader, Source
from ingrain.network import Inheritance, NetworkProbe
from ingrain.owners import Owners
from ingrain.pipeline import Outlet, Pipeline
from ingrain.probe import LiveProbe, ProbeError
from ingrain.registry import find_class

log = logging.getLogger(__name__)


class Probes:
    """For one thread, but `account`. `at_work`: those that run."""

    def __init__(self) -> None:
        self.at_work: list[LiveProbe] = []
        self.containers: Containers | None = None
        self._absent: dict[str, str] = {}
        self._failures: dict[str, tuple[float, str]] = {}
        self._ended: list[ProbeAccount] = []
        self._lock = threading.Lock()  # held where `at_work` changes: none is asked for its account when it is closed
        self._reader = Reader(self._failed)
        self._sources: dict[LiveProbe, Source] = {}
        self._loaders: dict[LiveProbe, Loader] = {}
        """As the configuration says it, so it may be `auto`."""
        self._owners: Owners | None = None
        self._waiting: list[ProbeConfig] = []
        """Those whose cgroup is not there."""
        self._pipelines: Mapping[str, Pipeline] = {}
        self._loader: Loader = "auto"
        self._lookups: Lookups | None = None
        self._watching: list[Outlet] = []

    def change(self, configs: Sequence[ProbeConfig], pipelines: Mapping[str, Pipeline], loader: Loader) -> None:
        """Have these at work, and no others. One that cannot run is reported, and the others do.

        loader: of those that do not say it themselves.
        """
        leaving, coming = list(self.at_work), []
        stay: list[tuple[LiveProbe, list[Outlet]]] = []
        for config in configs:
            same = next((probe for probe in leaving if self._serves(probe, config, loader)), None)
            if same is None:
                coming.append(config)
            else:
                leaving.remove(same)
                stay.append((same, self._outlets(config, pipelines)))
        if not {"DNS", "TLS"} <= {config.type for config in configs}:
            self._lookups = None
        elif self._lookups is None:
            self._lookups = Lookups()
        self._reader.between(lambda: self._switch(leaving, stay))
        self._absent.clear()
        self._waiting.clear()
        self._pipelines, self._loader = pipelines, loader
        if coming and self.containers is None:
            self._find_containers()
        with Inheritance(leaving) as inheritance:
            self._close(leaving)
            for config in coming:
                self._try(config, inheritance)
        if self._owners:
            self._owners.keep(self.at_work)

    def mend(self) -> None:
        """Begin with the probes whose cgroup is there by now. Raises TimeoutError where the thread that reads hangs."""
        for config in [*self._waiting]:
            try:
                cgroup.find(config.settings.cgroup)
            except CgroupError:
                continue
            self._waiting.remove(config)
            self._try(config, Inheritance())

    def feed(self, instead: Mapping[Any, Outlet]) -> None:
        """Have what goes into the one pipeline go into the other from now on."""

        def switch() -> None:
            for probe in self.at_work:
                probe.feed([instead.get(one, one) for one in probe.pipelines])

        self._reader.between(switch)

    def watch(self, watching: Sequence[Outlet]) -> None:
        """Have these get all that the pipelines get, too, from now on, and no others."""
        before, self._watching = self._watching, list(watching)

        def switch() -> None:
            for probe in self.at_work:
                probe.feed([*(one for one in probe.pipelines if one not in before), *watching])

        self._reader.between(switch)

    def read(self) -> None:
        """Begin to read them."""
        self._reader.start()

    def stop(self) -> bool:
        """Detach and read what is left; false where that cannot be, because the thread that reads hangs."""
        for probe in self.at_work:
            attempt(f"detaching probe {probe.name}", probe.program.detach)
        if self._owners:
            attempt("detaching the program that notes owners", self._owners.detach)
        read = self._reader.stop()
        if read:
            for probe in self.at_work:
                probe.finish()
        if self.containers:
            attempt("ending the look-out for containers", self.containers.stop)
        return read

    def close(self) -> None:
        """Unload all."""
        self._close(list(self.at_work))
        if self._owners:
            self._owners.close()
            self._owners = None

    def account(self) -> list[ProbeAccount]:
        """What each did; any thread may ask. Those that are gone are told with one of the same type."""
        with self._lock:
            return together([probe.account() for probe in self.at_work], self._ended)

    def problems(self) -> list[str]:
        """What is wrong that no count tells: probes that are not there, or cannot be read."""
        problems = [f"probe {kind}: it cannot run: {why}" for kind, why in self._absent.items()]
        since = time.monotonic() - RECENT_S
        for name, (at, why) in self._failures.copy().items():
            if at > since:
                problems.append(f"probe {name}: it could not be read within a minute: {why}")
        stalled = self.stalled()
        return [*problems, f"no probe is read: {stalled}"] if stalled else problems

    def stalled(self) -> str:
        """Why nothing is read any more; empty where all is well. This does not mend itself."""
        return self._reader.stalled()

    def _serves(self, probe: LiveProbe, config: ProbeConfig, loader: Loader) -> bool:
        same = probe.serves(config.type, config.settings)
        return same and self._loaders[probe] == (config.settings.loader or loader)

    def _switch(self, leaving: Iterable[LiveProbe], stay: Iterable[tuple[LiveProbe, list[Outlet]]]) -> None:
        """Called between two rounds of the thread that reads."""
        for probe in leaving:
            probe.program.detach()
            self._reader.remove(self._sources.pop(probe))
            probe.finish()
        for probe, pipelines in stay:
            probe.feed(pipelines)
            probe.grain.lookups = self._lookups

    def _close(self, probes: Sequence[LiveProbe]) -> None:
        with self._lock:
            self._ended = together(self._ended, [probe.account() for probe in probes])
            self.at_work = [probe for probe in self.at_work if probe not in probes]
        for probe in probes:
            del self._loaders[probe]
            probe.close()

    def _find_containers(self) -> None:
        """Know containers before their first records come.

        HOST_ROOT is the folder where an agent that is in a container itself has the host's root file system.
        """
        try:
            containers = Containers(cgroup.mount(), Path(os.environ.get("HOST_ROOT") or "/"))
            containers.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: the limit of threads
            log.warning("records will not tell containers: %s", error)
            return
        self.containers = containers

    def _try(self, config: ProbeConfig, inheritance: Inheritance) -> None:
        kind = config.type
        try:
            probe = self._start(config, self._outlets(config, self._pipelines), inheritance)
        except (OSError, ProbeError) as error:
            self._absent[kind] = str(error)
            if isinstance(error, CgroupError | FileNotFoundError):
                self._waiting.append(config)
            log.error("probe %s cannot run: %s; `ingrain doctor` says what would mend it", kind, error)  # noqa: TRY400 - its message says it all
            log.debug("%s", getattr(error, "log", ""))
            return
        self._absent.pop(kind, None)
        self._loaders[probe] = config.settings.loader or self._loader
        # What DNS tells is known to TLS: the reader drains DNS last, and decodes it first.
        source = self._sources[probe] = probe.source(last=kind == "DNS")
        with self._lock:
            self.at_work.append(probe)
        self._reader.between(lambda: self._reader.add(source))
        hooks = ", ".join(sorted(set(probe.program.hooks.values())))
        log.info("probe %s sees %s by %s (loader %s)", kind, probe.cgroup, hooks, probe.program.loader)

    def _outlets(self, config: ProbeConfig, pipelines: Mapping[str, Pipeline]) -> list[Outlet]:
        return [*(pipelines[name] for name in config.pipelines), *self._watching]

    def _start(self, config: ProbeConfig, into: list[Outlet], inheritance: Inheritance) -> LiveProbe:
        kind, settings = config.type, config.settings
        loader = settings.loader or self._loader
        if isinstance(settings, TracingSettings):
            return tracing.start(lambda: self._grain(kind), settings, into, loader)
        owners = self._owners = self._owners or Owners(loader)
        inherited = inheritance.of(kind, settings)
        probe = by_trial(
            loader, lambda chosen: NetworkProbe(self._grain(kind), settings, owners, into, inherited, loader=chosen)
        )
        try:
            probe.attach()
        except BaseException:
            owners.forget(probe)
            probe.close()
            raise
        return probe

    def _grain(self, kind: str) -> Grain:
        grain: Grain = find_class((GRAINS | OLDER)[kind])()
        grain.lookups, grain.containers = self._lookups, self.containers
        return grain

    def _failed(self, source: Source, error: BaseException) -> None:
        said = source.name in self._failures
        self._failures[source.name] = time.monotonic(), str(error) or type(error).__name__
        if not said:
            log.error("probe %s could not be read; its further errors are not shown", source.name, exc_info=error)

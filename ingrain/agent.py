"""The agent: builds what a configuration describes, runs it, and takes it down in the direction of the data.

Up: pipelines, kernel programs, owners, probes, reader. Down: detach, drain, flush each pipeline, give the account.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ingrain import memory, tracing
from ingrain.account import Account
from ingrain.config import Config
from ingrain.containers import Containers
from ingrain.grains import GRAINS
from ingrain.grains.common import NetworkSettings, TracingSettings
from ingrain.grains.grain import Grain
from ingrain.grains.lookups import Lookups
from ingrain.kernel import cgroup
from ingrain.kernel.cgroup import CgroupError
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.loaders import by_trial
from ingrain.kernel.reader import Reader, Source
from ingrain.pipeline import Pipeline, build, finish
from ingrain.probe import LiveProbe, NetworkProbe, Owners, ProbeError
from ingrain.registry import find_class

log = logging.getLogger(__name__)

FINISH_SECONDS = 15.0
"""How long stopping waits for backends to take what is left; a service manager kills after 30 s or more."""


class AgentError(RuntimeError):
    """The agent cannot run; the message says why."""


class Agent:
    """One agent. `start`, then `stop`, once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._failing: set[str] = set()
        self._reader = Reader(self._failed)
        self._owners: Owners | None = None
        self.pipelines: dict[str, Pipeline] = {}
        self._lookups = Lookups() if any(probe.type == "DNS" for probe in config.probes) else None
        self._containers: Containers | None = None
        self.probes: list[LiveProbe] = []

    def start(self) -> None:
        """Build and attach everything. A probe that cannot run is reported, and the others do.

        Raises AgentError where no probe can run, ValueError where a backend lacks a setting that its environment should
        have given.
        """
        memory.frugal()
        self.pipelines = build(self._config, GRAINS)
        self._find_containers()
        # What DNS tells is known to TLS: the reader drains DNS last, and decodes it first.
        for probe in sorted(self._config.probes, key=lambda probe: probe.type == "DNS"):
            try:
                self._start_probe(probe.type, probe.settings, probe.pipelines)
            except (KernelError, CgroupError, ProbeError) as error:
                log.error("probe %s cannot run: %s; `ingrain doctor` says what would mend it", probe.type, error)  # noqa: TRY400 - its message says it all
                log.debug("%s", getattr(error, "log", ""))
        if not self.probes:
            self.stop()
            raise AgentError("no probe of the configuration can run here; `ingrain doctor` says why")
        self._reader.start()

    def stop(self) -> Account:
        """Detach, drain, flush; what became of everything. The kernel half is gone when this returns."""
        for probe in self.probes:
            probe.program.detach()
        if self._owners:
            self._owners.detach()
        if self.probes:
            self._reader.stop()
        for probe in self.probes:
            probe.finish()
        if self._containers:
            self._containers.stop()
        finish(self.pipelines, FINISH_SECONDS)
        account = self.account()
        for probe in self.probes:
            probe.close()
        if self._owners:
            self._owners.close()
        return account

    def account(self) -> Account:
        """The account at this moment."""
        return Account(
            [probe.account() for probe in self.probes],
            {name: pipeline.stations for name, pipeline in self.pipelines.items()},
        )

    def _find_containers(self) -> None:
        """Know containers before their first records come.

        HOST_ROOT is the folder where an agent that is in a container itself has the host's root file system.
        """
        try:
            containers = Containers(cgroup.mount(), Path(os.environ.get("HOST_ROOT") or "/"))
        except OSError as error:
            log.warning("records will not tell containers: %s", error)
            return
        containers.start()
        self._containers = containers

    def _start_probe(self, kind: str, settings: object, pipelines: list[str]) -> None:
        if kind not in GRAINS:
            raise ProbeError(f"this build has no {kind} probe")
        into = [self.pipelines[name] for name in pipelines]
        probe = (
            tracing.start(lambda: self._grain(kind), settings, into, settings.loader or self._config.agent.loader)
            if isinstance(settings, TracingSettings)
            else self._network(kind, settings, into)  # type: ignore[arg-type] # its Settings
        )
        self.probes.append(probe)
        self._reader.add(probe.source())
        hooks = ", ".join(sorted(set(probe.program.hooks.values())))
        log.info("probe %s sees %s by %s (loader %s)", kind, probe.cgroup, hooks, probe.program.loader)

    def _grain(self, kind: str) -> Grain:
        grain: Grain = find_class(GRAINS[kind])()
        grain.lookups, grain.containers = self._lookups, self._containers
        return grain

    def _network(self, kind: str, settings: NetworkSettings, pipelines: list[Pipeline]) -> NetworkProbe:
        if self._owners is None:
            self._owners = Owners(self._config.agent.loader)
        owners = self._owners
        probe = by_trial(
            settings.loader or self._config.agent.loader,
            lambda loader: NetworkProbe(self._grain(kind), settings, owners, pipelines, loader),
        )
        try:
            probe.attach()
        except BaseException:
            probe.close()
            raise
        return probe

    def _failed(self, source: Source, error: Exception) -> None:
        if source.name not in self._failing:
            self._failing.add(source.name)
            log.error("probe %s could not be read; its further errors are not shown", source.name, exc_info=error)

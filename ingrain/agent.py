"""The agent: builds what a configuration describes, runs it, and takes it down in the direction of the data.

Up: pipelines, kernel programs, owners, probes, reader. Down: detach, drain, flush each pipeline, give the account.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from ingrain import memory, tracing
from ingrain.account import Account
from ingrain.config import Config
from ingrain.containers import Containers
from ingrain.grains import GRAINS, OWN
from ingrain.grains.common import NetworkSettings, TracingSettings
from ingrain.grains.grain import Grain
from ingrain.grains.lookups import Lookups
from ingrain.health import RECENT_S
from ingrain.kernel import cgroup
from ingrain.kernel.cgroup import CgroupError
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.reader import Reader, Source
from ingrain.pipeline import Pipeline, build, finish
from ingrain.probe import LiveProbe, NetworkProbe, Owners, ProbeError
from ingrain.registry import find_class
from ingrain.telemetry import Telemetry

log = logging.getLogger(__name__)

FINISH_SECONDS = 15.0
"""How long stopping waits for backends to take what is left; a service manager kills after 30 s or more."""


class AgentError(RuntimeError):
    """The agent cannot run; the message says why."""


class Agent:
    """One agent. `start`, then `stop`, once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()  # held where `probes` changes, so that none is asked for its account when closed
        self.absent: dict[str, str] = {}
        """Probes of the configuration that cannot run here, and why."""
        self.failures: dict[str, tuple[float, str]] = {}
        """Probes that could not be read, when that was last (`time.monotonic`), and what went wrong."""
        self._reader = Reader(self._failed)
        self._owners: Owners | None = None
        self.pipelines: dict[str, Pipeline] = {}
        self._lookups = Lookups() if any(probe.type == "DNS" for probe in config.probes) else None
        self._containers: Containers | None = None
        self.probes: list[LiveProbe] = []
        self._telemetry: list[Telemetry] = []

    def start(self) -> None:
        """Build and attach everything. A probe that cannot run is reported, and the others do.

        Raises AgentError where no probe can run, ValueError where a backend lacks a setting that its environment should
        have given.
        """
        memory.frugal()
        self.pipelines = build(self._config, {*GRAINS, *OWN})
        probes = [probe for probe in self._config.probes if probe.type not in OWN]
        if probes:
            self._find_containers()
        # What DNS tells is known to TLS: the reader drains DNS last, and decodes it first.
        for probe in sorted(probes, key=lambda probe: probe.type == "DNS"):
            try:
                self._start_probe(probe.type, probe.settings, probe.pipelines)
            except (KernelError, CgroupError, ProbeError) as error:
                self.absent[probe.type] = str(error)
                log.error("probe %s cannot run: %s; `ingrain doctor` says what would mend it", probe.type, error)  # noqa: TRY400 - its message says it all
                log.debug("%s", getattr(error, "log", ""))
        if probes and not self.probes:
            self.stop()
            raise AgentError("no probe of the configuration can run here; `ingrain doctor` says why")
        for own in self._config.probes:
            if own.type in OWN:
                self._start_own(own.type, own.settings, own.pipelines)
        self._reader.start()

    def stop(self) -> Account:
        """Detach, drain, flush; what became of everything. The kernel half is gone when this returns."""
        for probe in self.probes:
            probe.program.detach()
        if self._owners:
            self._owners.detach()
        read = self._reader.stop()
        for probe in self.probes:
            if read:
                probe.finish()
        if self._containers:
            self._containers.stop()
        for telemetry in self._telemetry:
            telemetry.finish()
        finish(self.pipelines, FINISH_SECONDS)
        account = self.account()
        with self._lock:
            probes, self.probes = self.probes, []
        if not read:
            return account  # the kernel takes them when the process ends
        for probe in probes:
            probe.close()
        if self._owners:
            self._owners.close()
        return account

    def account(self) -> Account:
        """The account at this moment; any thread may ask."""
        with self._lock:
            return Account(
                [probe.account() for probe in self.probes],
                {name: pipeline.account() for name, pipeline in self.pipelines.items()},
            )

    def mend(self) -> None:
        """Put another stage where one has died."""
        for pipeline in self.pipelines.values():
            pipeline.mend()

    def problems(self) -> list[str]:
        """What is wrong that no count tells: probes that are not there, or cannot be read."""
        problems = [f"probe {kind}: it cannot run: {why}" for kind, why in self.absent.items()]
        since = time.monotonic() - RECENT_S
        for name, (at, why) in self.failures.copy().items():
            if at > since:
                problems.append(f"probe {name}: it could not be read within a minute: {why}")
        for name, pipeline in self.pipelines.items():
            if pipeline.stopped:
                problems.append(pipeline.stopped)
            elif pipeline.deaths:
                problems.append(f"pipeline {name}: stages died and were replaced within a minute: {pipeline.deaths}")
        stalled = self.stalled()
        if stalled:
            problems.append(f"no probe is read: {stalled}")
        return problems

    def stalled(self) -> str:
        """Why nothing is read any more; empty where all is well. An agent that is so does not recover."""
        return self._reader.stalled()

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
            tracing.start(lambda: self._grain(kind), settings, into)
            if isinstance(settings, TracingSettings)
            else self._network(kind, settings, into)  # type: ignore[arg-type] # its Settings
        )
        with self._lock:
            self.probes.append(probe)
        self._reader.add(probe.source())
        hooks = ", ".join(sorted(set(probe.program.hooks.values())))
        log.info("probe %s sees %s by %s", kind, probe.cgroup, hooks)

    def _start_own(self, kind: str, settings: Any, pipelines: list[str]) -> None:
        telemetry = find_class(OWN[kind])(settings, [self.pipelines[name] for name in pipelines], self.account)
        self._telemetry.append(telemetry)
        telemetry.start()
        log.info("probe %s tells the account every %d s", kind, settings.interval_s)

    def _grain(self, kind: str) -> Grain:
        grain: Grain = find_class(GRAINS[kind])()
        grain.lookups, grain.containers = self._lookups, self._containers
        return grain

    def _network(self, kind: str, settings: NetworkSettings, pipelines: list[Pipeline]) -> NetworkProbe:
        if self._owners is None:
            self._owners = Owners()
        probe = NetworkProbe(self._grain(kind), settings, self._owners, pipelines)
        try:
            probe.attach()
        except BaseException:
            probe.close()
            raise
        return probe

    def _failed(self, source: Source, error: BaseException) -> None:
        said = source.name in self.failures
        self.failures[source.name] = time.monotonic(), str(error) or type(error).__name__
        if not said:
            log.error("probe %s could not be read; its further errors are not shown", source.name, exc_info=error)

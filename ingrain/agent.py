"""The agent: builds what a configuration describes, runs it, and takes it down in the direction of the data.

Up: pipelines, kernel programs, owners, probes, reader. Down: detach, drain, flush each pipeline, give the account.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa

from ingrain import memory
from ingrain.account import Station
from ingrain.config import Config
from ingrain.grains import GRAINS
from ingrain.kernel.cgroup import CgroupError
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.reader import Reader, Source
from ingrain.pipeline import Pipeline
from ingrain.probe import Owners, Probe, ProbeAccount, ProbeError
from ingrain.registry import find_class

log = logging.getLogger(__name__)

FINISH_SECONDS = 15.0
"""How long stopping waits for backends to take what is left; a service manager kills after 30 s or more."""


class AgentError(RuntimeError):
    """The agent cannot run; the message says why."""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of everything: a line a probe, and a line a stage of each pipeline."""

    probes: list[ProbeAccount]
    pipelines: dict[str, list[Station]]

    def document(self) -> dict[str, Any]:
        """The same as plain lists and dictionaries, for JSON."""
        stages = {
            name: [
                {one.name: getattr(station, one.name) for one in fields(station)} | {"detail": dict(station.detail)}
                for station in stations
            ]
            for name, stations in self.pipelines.items()
        }
        return {"probes": [asdict(probe) for probe in self.probes], "pipelines": stages}


class Agent:
    """One agent. `start`, then `stop`, once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._failing: set[str] = set()
        self._reader = Reader(self._failed)
        self._owners: Owners | None = None
        self.pipelines: dict[str, Pipeline] = {}
        self.probes: list[Probe] = []

    def start(self) -> None:
        """Build and attach everything. A probe that cannot run is reported, and the others do.

        Raises AgentError where no probe can run, ValueError where a backend lacks a setting that its environment should
        have given.
        """
        # One thread a stage is all that two cores are for; Arrow's own pool would cost memory and gain nothing.
        pa.set_cpu_count(1)
        memory.frugal()
        fed = {name for probe in self._config.probes if probe.type in GRAINS for name in probe.pipelines}
        for name, pipeline in self._config.pipelines.items():
            if name in fed:
                self.pipelines[name] = Pipeline(pipeline)
        for probe in self._config.probes:
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
        deadline = time.monotonic() + FINISH_SECONDS
        for pipeline in self.pipelines.values():
            pipeline.flush()
        for pipeline in self.pipelines.values():  # one that hangs takes no time from the others: all are flushing
            pipeline.finish(deadline)
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

    def _start_probe(self, kind: str, settings: object, pipelines: list[str]) -> None:
        if kind not in GRAINS:
            raise ProbeError(f"this build has no {kind} probe")
        if self._owners is None:
            self._owners = Owners()
        grain = find_class(GRAINS[kind])()
        probe = Probe(grain, settings, self._owners, [self.pipelines[name] for name in pipelines])  # type: ignore[arg-type]
        try:
            self._owners.watch(probe.cgroup)
            probe.attach()
        except BaseException:
            probe.close()
            raise
        self.probes.append(probe)
        self._reader.add(probe.source())
        hooks = ", ".join(sorted(set(probe.program.hooks.values())))
        log.info("probe %s sees %s by %s", kind, probe.cgroup, hooks)

    def _failed(self, source: Source, error: Exception) -> None:
        if source.name not in self._failing:
            self._failing.add(source.name)
            log.error("probe %s could not be read; its further errors are not shown", source.name, exc_info=error)

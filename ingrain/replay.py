"""A capture's packets through the very programs, grains, pipelines that see live traffic; nothing is attached.

In: a capture and a configuration. Out: records with the capture's own times, in the configuration's backends. A packet
of a capture belongs to no socket, so its process, cgroup and direction are unknown.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ingrain import memory
from ingrain.account import Account
from ingrain.agent import AgentError
from ingrain.capture import Capture, CaptureError
from ingrain.config import Config
from ingrain.grains import GRAINS
from ingrain.grains.lookups import Lookups
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.loaders import Loader, by_trial
from ingrain.kernel.testrun import TestRun
from ingrain.pipeline import Pipeline, build, finish
from ingrain.probe import Probe
from ingrain.registry import find_class

log = logging.getLogger(__name__)

REPLAYED = ("DNS", "TLS")
"""Probes that see packets by what they hold. Network counts at sockets, which a capture has none of.

In the order in which they are decoded: what DNS tells is known to TLS.
"""

BATCH = 1024
"""Packets between two drains: each takes less than 4 KiB of a buffer, of which there are 4 MiB at the least."""

FINISH_SECONDS = 600.0
"""How long the backends may take for what is left: there is no service manager that waits."""

_BUFFER_KB = 4096


class Replay:
    """One replay. Raises AgentError where the configuration has no probe that can be replayed here."""

    def __init__(self, config: Config) -> None:
        kinds = {probe.type for probe in config.probes}
        for kind in sorted(kinds.difference(REPLAYED)):
            log.warning("probe %s is left out: it does not see packets by what they hold", kind)
        memory.frugal()
        self._lookups = Lookups() if {"DNS", "TLS"} <= kinds else None
        self._pipelines = build(config, REPLAYED)
        self._probes: list[Probe] = []
        self._runs: list[Callable[[bytes, int], bool]] = []
        for probe in sorted(config.probes, key=lambda one: one.type != "DNS"):
            if probe.type in REPLAYED:
                self._load(
                    probe.type,
                    probe.settings,
                    probe.settings.loader or config.agent.loader,
                    [self._pipelines[name] for name in probe.pipelines],
                )
        if not self._probes:
            finish(self._pipelines, 1.0)
            raise AgentError(f"the configuration has no probe that can be replayed; {' and '.join(REPLAYED)} can")
        self._not_taken = 0

    def run(self, capture: Capture) -> tuple[Account, CaptureError | None]:
        """All packets of the capture, delivered; and why it could not be read to its end, where that is so."""
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # so that one buffer has all packets in their order
        error = None
        try:
            for number, (time, packet) in enumerate(capture, 1):
                for run in self._runs:
                    self._not_taken += not run(packet, time)
                if number % BATCH == 0:
                    self._drain()
        except CaptureError as raised:
            error = raised
        self._drain()
        for probe in self._probes:
            probe.finish()
        finish(self._pipelines, FINISH_SECONDS)
        told = capture.counts.document() | {"not_taken": self._not_taken}
        account = Account(
            [probe.account() for probe in self._probes],
            {name: pipeline.account() for name, pipeline in self._pipelines.items()},
            told,
        )
        for probe in self._probes:
            probe.close()
        return account, error

    def _load(self, kind: str, settings: object, loader: Loader, pipelines: list[Pipeline]) -> None:
        settings = type(settings)(buffer_kb=max(settings.buffer_kb, _BUFFER_KB))  # type: ignore[attr-defined, call-arg] # NetworkSettings
        try:
            probe = by_trial(loader, lambda chosen: self._probe(kind, settings, chosen, pipelines))
        except KernelError as error:
            log.error("probe %s cannot be loaded: %s; `ingrain doctor` says what would mend it", kind, error)  # noqa: TRY400 - its message says it all
            return
        self._probes.append(probe)
        program = next(name for name, hook in probe.program.hooks.items() if hook.endswith("ingress"))
        self._runs.append(TestRun(probe.program.fd(program)).run)

    def _probe(self, kind: str, settings: object, loader: Loader, pipelines: list[Pipeline]) -> Probe:
        grain = find_class(GRAINS[kind])()
        grain.lookups, grain.clock = self._lookups, _as_it_is
        return Probe(grain, settings, pipelines, {"replay": 1}, {}, loader=loader, offer=Pipeline.put)  # type: ignore[arg-type]

    def _drain(self) -> None:
        for probe in self._probes:
            drained = probe.buffers.drain()
            if drained is not None:
                probe.drained(drained)


def _as_it_is(times: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return times.astype(np.int64)

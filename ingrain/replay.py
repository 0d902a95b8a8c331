"""A capture's packets through the very programs, grains, pipelines that see live traffic; nothing is attached.

In: a capture and a configuration. Out: records with the capture's own times, in the configuration's backends. A packet
of a capture belongs to no socket, so its process, cgroup and direction are unknown.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from ingrain import memory, signals
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
from ingrain.progress import bar
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

ENDED_SECONDS = 15.0
"""The same once a signal has ended the replay: who sent it waits."""

_LOOK_S = 0.2

_BUFFER_KB = 4096


@contextmanager
def _one_processor() -> Iterator[None]:
    """Keep this thread on one, so that one buffer has all packets in their order."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


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
            finish(self._pipelines.values(), 1.0)
            raise AgentError(f"the configuration has no probe that can be replayed; {' and '.join(REPLAYED)} can")
        self._failures: set[str] = set()
        self._not_taken = 0
        self._ended = ""

    def run(self, capture: Capture) -> tuple[Account, str]:
        """Send all packets of the capture through, and deliver what comes of them.

        Returns the account, whatever happens, and why the capture was not read to its end; empty where it was. SIGINT,
        SIGTERM and SIGHUP end it: what was read until then is delivered, within ENDED_SECONDS.
        """

        def end(by: signal.Signals) -> None:
            self._ended = by.name
            capture.end()

        with signals.ended_by(end), _one_processor():
            try:
                why = self._read(capture)
            except Exception as error:
                log.exception("the replay ends by a fault of its own")
                why = f"a fault of the agent's own ended the replay: {error!r}"
            self._finish()
        told = capture.counts.document() | {"not_taken": self._not_taken}
        account = Account(
            [probe.account() for probe in self._probes],
            {name: pipeline.account() for name, pipeline in self._pipelines.items()},
            told,
        )
        for probe in self._probes:
            probe.close()
        return account, why

    def _read(self, capture: Capture) -> str:
        """Why it was not read to its end."""
        try:
            for number, (time_ns, packet) in enumerate(capture, 1):
                for run in self._runs:
                    self._not_taken += not run(packet, time_ns)
                if number % BATCH == 0:
                    self._drain()
                if self._ended:
                    break
        except CaptureError as error:
            if not self._ended:
                return str(error)
        if self._ended:
            return f"ended by {self._ended} after {capture.counts.read:,} packets; what came of them is delivered"
        return ""

    def _finish(self) -> None:
        """Deliver what is left. A signal cuts that short."""
        self._drain()
        for probe in self._probes:
            probe.finish()
        left = max(1, self._left())
        with bar(lambda: 1 - self._left() / left, "delivering"):
            self._flush()
            finish(self._pipelines.values(), ENDED_SECONDS)

    def _flush(self) -> None:
        """Wait until all pipelines are flushed, or a signal has come, or FINISH_SECONDS are over."""
        waiting = list(self._pipelines.values())
        for pipeline in waiting:
            pipeline.flush()
        deadline = time.monotonic() + FINISH_SECONDS
        while waiting and not self._ended and time.monotonic() < deadline:
            if waiting[0].flushed(_LOOK_S):
                waiting.pop(0)
            for pipeline in waiting:
                pipeline.mend()

    def _left(self) -> int:
        """Records that are not delivered yet."""
        stations = [one for pipeline in self._pipelines.values() for one in pipeline.account()]
        return sum(one.in_flight + one.gauges["inbox.depth"] for one in stations)

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
            if drained is None:
                continue
            try:
                probe.drained(drained)
            except Exception:  # its account has what could not be decoded
                if probe.name not in self._failures:
                    self._failures.add(probe.name)
                    log.exception("probe %s could not decode events; its further errors are not shown", probe.name)


def _as_it_is(times: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return times.astype(np.int64)

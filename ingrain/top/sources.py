"""Where top's records come from: the running agent, or, where none answers, probes of its own."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ingrain import __version__
from ingrain.agent import Agent
from ingrain.batch import Batch
from ingrain.config.model import AgentConfig, Config, LogConfig, ProbeConfig
from ingrain.grains import GRAINS
from ingrain.health import Health
from ingrain.live.frames import Frame
from ingrain.registry import find_class
from ingrain.status import Status

Seen = Callable[[Frame], None]


class Source(Protocol):
    """What is watched."""

    def status(self) -> Status:
        """How it is. Raises StatusError where it does not say."""

    def stop(self) -> None:
        """Watch no more."""


class Own:
    """Probes of its own, without pipelines. Raises AgentError where none can run.

    kinds: their types. cgroup: whose processes they see; None: all.
    """

    wants: frozenset[str] | None = None

    def __init__(self, kinds: Sequence[str], cgroup: str | None, seen: Seen) -> None:
        self._seen = seen
        self._health = Health()
        self._started = time.time()
        self.said = _Said()
        logging.getLogger("ingrain").addHandler(self.said)
        probes = [ProbeConfig(kind, find_class(GRAINS[kind]).Settings(cgroup=cgroup), []) for kind in kinds]
        self._agent = Agent(Config(probes, {}, LogConfig(), AgentConfig()))
        self._agent.start()
        self._agent.watch([self])

    def offer(self, batch: Batch) -> bool:
        """As a pipeline has it."""
        self._seen(Frame(batch.measurement.name, batch.records, 0))
        return True

    def status(self) -> Status:
        """How its probes are."""
        account = self._agent.account()
        problems = [*self._agent.problems(), *self._health.look(account), *self.said.lines]
        return Status(__version__, os.getpid(), "", self._started, time.time(), problems, account)

    def stop(self) -> None:
        """Detach."""
        self._agent.stop()
        logging.getLogger("ingrain").removeHandler(self.said)


class _Said(logging.Handler):
    """What would have gone to the log, which is the terminal that the table is on."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines = [*self.lines[-9:], record.getMessage()]

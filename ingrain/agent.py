"""The agent: builds what a configuration describes, runs it, and takes it down in the direction of the data.

Up: pipelines, kernel programs, owners, probes, reader. Down: detach, drain, flush each pipeline, give the account. In
between the configuration may become another: what is the same in both stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from ingrain import memory
from ingrain.account import Account
from ingrain.attempt import attempt
from ingrain.config import Config, PipelineConfig
from ingrain.grains import OWN
from ingrain.health import RECENT_S
from ingrain.own.probes import OwnProbes
from ingrain.pipeline import Outlet
from ingrain.pipelines import Instead, Pipelines
from ingrain.probe import LiveProbe
from ingrain.probes import Probes
from ingrain.room import Room, resident

log = logging.getLogger(__name__)


class AgentError(RuntimeError):
    """The agent cannot run; the message says why."""


class Agent:
    """One agent. `start`, then `stop`, once. For one thread, but `account`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._room = Room(config.agent.memory)
        self._pipelines = Pipelines(self._room)
        self._probes = Probes()
        self._own = OwnProbes(self.account)

    @property
    def probes(self) -> list[LiveProbe]:
        """Those at work that have a kernel half."""
        return self._probes.at_work

    def start(self) -> None:
        """Build and attach everything. A probe that cannot run is reported, and the others do.

        Raises AgentError where no probe can run, or be read, ConfigError where the host lacks what a pipeline needs,
        PipelineError where one cannot be built nevertheless. Nothing is attached then.
        """
        memory.frugal()
        self._pipelines.change(_fed(self._config), self._feed, _nothing)
        if not self._change(self._config):
            self.stop()
            raise AgentError("no probe of the configuration can run here; `ingrain doctor` says why")
        try:
            self._probes.read()
        except RuntimeError as error:  # the limit of threads
            self.stop()
            raise AgentError(f"the probes cannot be read: {error}") from error

    def reload(self, config: Config, beat: Callable[[], None]) -> None:
        """Become what this configuration describes. beat: called again and again while that takes time.

        Probes and pipelines that are the same in both stay. A pipeline that is another delivers what is in it, while
        its successor's inbox takes what comes. Raises ConfigError and PipelineError as `start` does, TimeoutError where
        the thread that reads hangs: then all is as it was.
        """
        fed = _fed(config)
        self._pipelines.change(fed, self._feed, beat)
        self._room.limit = config.agent.memory
        if not self._change(config):
            log.error("no probe of the configuration can run here; `ingrain doctor` says why")
        self._pipelines.drop(self._pipelines.by_name.keys() - fed.keys(), beat)
        self._config = config

    def stop(self) -> Account:
        """Detach, drain, flush; what became of everything. The kernel half is gone when this returns.

        Whatever goes wrong in one part, the others are taken down, too, and what is in the pipelines is delivered.
        """
        read = attempt("ending the probes", self._probes.stop)
        attempt("ending the probes without a kernel half", self._own.finish)
        attempt("delivering what is in the pipelines", self._pipelines.finish)
        account = self.account()
        if read:  # else the kernel takes them when the process ends
            attempt("unloading the probes", self._probes.close)
        return account

    def account(self) -> Account:
        """The account at this moment; any thread may ask."""
        return Account(self._probes.account() + self._own.account(), self._pipelines.account())

    def watch(self, watching: Sequence[Outlet]) -> None:
        """Have these get all records of the probes, too, and no others. Raises TimeoutError as `reload` does."""
        self._probes.watch(watching)
        self._own.watch(watching)

    def mend(self) -> None:
        """Replace stages that died, start probes whose cgroup has come, make room where memory is tight."""
        self._pipelines.mend()
        with suppress(TimeoutError):  # the thread that reads hangs: the watchdog is what helps
            self._probes.mend()
        if self._room.make():
            self._pipelines.relieve()

    def problems(self) -> list[str]:
        """What is wrong that no count tells."""
        return self._probes.problems() + self._own.problems() + self._pipelines.problems() + self._tight()

    def stalled(self) -> str:
        """Why nothing is read any more; empty where all is well. An agent that is so does not recover."""
        return self._probes.stalled()

    def _tight(self) -> list[str]:
        if self._room.limit is None or not self._room.full_within(RECENT_S):
            return []
        limit, now = self._room.limit >> 20, resident() >> 20
        return [
            f"memory is tight: {now:,} MiB of memory_limit ({limit:,} MiB): pipelines take little, and refuse the rest"
        ]

    def _feed(self, instead: Instead) -> None:
        self._probes.feed(instead)
        self._own.feed(instead)

    def _change(self, config: Config) -> bool:
        """Have the probes of this configuration at work; false where some of them see anything, and none can run."""
        own = [probe for probe in config.probes if probe.type in OWN]
        seeing = [probe for probe in config.probes if probe.type not in OWN]
        self._probes.change(seeing, self._pipelines.by_name, config.agent.loader)
        self._own.change(own, self._pipelines.by_name)
        return bool(self.probes) or self._own.receiving or all(probe.type == "Agent" for probe in config.probes)


def _fed(config: Config) -> dict[str, PipelineConfig]:
    """The pipelines that something feeds, by name."""
    return config.fed(config.probes)


def _nothing() -> None:
    """Nothing is due."""

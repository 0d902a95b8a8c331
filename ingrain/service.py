"""An agent as those around it meet it: signals, the service manager and its watchdog, and whoever asks for its state.

The main thread is here, and everything that changes the agent is done in it: it looks at the agent every second.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import signal
import time
from pathlib import Path

from ingrain.__main__ import ENDING
from ingrain.account import Account
from ingrain.agent import Agent
from ingrain.config import Config
from ingrain.health import Health
from ingrain.notify import ServiceManager
from ingrain.status import Status, StatusServer

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the agent is looked at."""

HEALTH_S = 5.0
"""How often its account is: that costs a millisecond a probe."""


class Service:
    """One agent, from its start to a signal that ends it."""

    def __init__(self, file: Path, config: Config) -> None:
        self._file = file
        self._config = config
        self._version = importlib.metadata.version("ingrain")
        self._agent = Agent(config)
        self._health = Health()
        self._manager = ServiceManager()
        self._server: StatusServer | None = None
        self._started = time.time()
        self._looked = self._started
        self._due = 0.0
        self._problems: list[str] = []

    def run(self) -> Account:
        """Run until SIGINT or SIGTERM; what became of everything. Raises what `Agent.start` does."""
        self._agent.start()
        self._look()
        self._serve()
        self._manager.ready()
        log.info("running; SIGINT or SIGTERM ends it")
        watched_s = self._manager.watchdog_s
        pause = LOOK_S if watched_s is None else min(LOOK_S, watched_s / 3)
        while signal.sigtimedwait(ENDING, pause) is None:
            self._look()
        self._manager.stopping()
        if self._server:
            self._server.stop()
        return self._agent.stop()

    def status(self) -> Status:
        """How the agent is; any thread may ask."""
        return Status(
            self._version,
            os.getpid(),
            str(self._file.absolute()),
            self._started,
            self._looked,
            self._problems,
            self._agent.account(),
        )

    def _look(self) -> None:
        """What is due every second."""
        self._looked = time.time()
        self._agent.mend()
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + HEALTH_S
            self._problems = self._agent.problems() + self._health.look(self._agent.account())
            self._manager.status(self._problems[0] if self._problems else "healthy")
        if not self._agent.stalled():  # else the watchdog is what helps
            self._manager.alive()

    def _serve(self) -> None:
        path = self._config.agent.socket
        try:
            self._server = StatusServer(path, self.status)
        except OSError as error:
            log.warning("`ingrain status` has nobody to ask: %s: %s", path, error.strerror)

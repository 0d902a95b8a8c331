"""An agent as those around it meet it: signals, the service manager and its watchdog, and whoever asks for its state.

The main thread is here, and everything that changes the agent is done in it: it looks at the agent every second.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ingrain import __version__, config, privileges
from ingrain.account import Account
from ingrain.agent import Agent
from ingrain.config import Config, ConfigError, LogConfig
from ingrain.health import Health
from ingrain.live.feed import Feed, beside
from ingrain.notify import ServiceManager
from ingrain.pipeline import PipelineError
from ingrain.signals import ENDING, RELOADING
from ingrain.status import Status, StatusServer
from ingrain.text import harmless

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the agent is looked at."""

HEALTH_S = 5.0
"""How often its account is: that costs a millisecond a probe."""


class Service:
    """One agent, from its start to a signal that ends it. `log_to`: has it log as the configuration says."""

    def __init__(self, file: Path, config: Config, log_to: Callable[[LogConfig], None]) -> None:
        self._file = file
        # Now, as the working directory may go; in the protocols that it is told in there is only UTF-8.
        self._told_file = harmless(str(file.absolute()))
        self._config = config
        self._log_to = log_to
        self._refused = ""
        self._agent = Agent(config)
        self._health = Health()
        self._manager = ServiceManager()
        self._server: StatusServer | None = None
        self._feed: Feed | None = None
        self._unasked = False
        self._watched = False
        self._started = time.time()
        self._looked = self._started
        self._due = 0.0
        self._problems: list[str] = []

    def run(self) -> Account:
        """Run until SIGINT or SIGTERM; what became of everything.

        Raises what `Agent.start` does. Whatever else goes wrong, what is in the pipelines is delivered.
        """
        if privileges.withheld():
            log.warning(
                "CAP_SYS_ADMIN is kept: kernel.perf_event_paranoid is above 2, where this kernel lets nobody else open "
                "perf buffers; sysctl kernel.perf_event_paranoid=2 lets the agent do without it"
            )
        self._agent.start()
        try:
            self._work()
            self._manager.stopping()
            self._hush()
        finally:
            account = self._agent.stop()
        return account

    def status(self) -> Status:
        """How the agent is; any thread may ask."""
        return Status(
            __version__,
            os.getpid(),
            self._told_file,
            self._started,
            self._looked,
            self._problems,
            self._agent.account(),
            self._agent.stalled(),
        )

    def _work(self) -> None:
        """Do what is due, until a signal ends it."""
        self._look()
        self._serve()
        self._manager.ready()
        log.info("running; SIGINT or SIGTERM ends it, SIGHUP reads %s again", self._file)
        watched_s = self._manager.watchdog_s
        pause = LOOK_S if watched_s is None else min(LOOK_S, watched_s / 3)
        while (told := signal.sigtimedwait((*ENDING, RELOADING), pause)) is None or told.si_signo == RELOADING:
            if told:
                self._manager.reloading()
                self._reload()
                self._manager.ready()
            self._look()

    def _look(self) -> None:
        """Do what is due every second. What fails is tried again; if it keeps failing, the watchdog helps."""
        self._looked = time.time()
        try:
            self._tend()
        except Exception as error:  # a reload looks, too: it must not end halfway for this
            problems = [f"the agent cannot look after itself: {error!r}"]
            if self._problems != problems:
                log.exception("the agent cannot look after itself; it is tried every second, and not logged again")
            self._problems, self._due = problems, 0.0

    def _tend(self) -> None:
        self._agent.mend()
        self._show()
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + HEALTH_S
            problems = self._agent.problems() + self._health.look(self._agent.account())
            self._problems = [harmless(problem) for problem in (*problems, self._refused) if problem]
            self._manager.status(self._problems[0] if self._problems else "healthy")
            if self._feed is None:
                self._serve()
        if not self._agent.stalled():  # else the watchdog is what helps
            self._manager.alive()

    def _reload(self) -> None:
        """Become what the file says now; where it has a mistake, stay as it is, and say so until it is mended."""
        try:
            loaded = config.load(self._file)
            for warning in loaded.warnings:
                log.warning("%s:%s", self._file, warning)
            self._agent.reload(loaded, self._look)
        except (ConfigError, PipelineError, TimeoutError) as error:
            mistakes = error.problems if isinstance(error, ConfigError) else [f" {error}"]
            for mistake in mistakes:
                log.error("%s:%s", self._file, mistake)  # noqa: TRY400 - its message says it all
            log.error("the configuration is refused; the one before stays in force")  # noqa: TRY400 - as above
            self._refused = f"configuration refused at {time.strftime('%F %T')}: {self._file}:{mistakes[0]}"
        except Exception as error:
            log.exception("the configuration could not be taken whole; a restart mends that")
            self._refused = f"configuration in force in part: {error!r}"
        else:
            self._refused = ""
            self._log_to(loaded.log)
            before, self._config = self._config, loaded
            if before.agent.socket != loaded.agent.socket or self._server is None:
                self._hush()
                self._serve()
            log.info("the configuration was read again, and is in force")
        self._due = 0.0

    def _show(self) -> None:
        """Have the probes feed those who watch, while there are any."""
        watched = self._feed is not None and self._feed.watched
        if watched != self._watched:
            self._watched = watched
            with suppress(TimeoutError):  # the thread that reads hangs: the watchdog is what helps
                self._agent.watch([self._feed] if watched and self._feed else [])

    def _hush(self) -> None:
        for server in (self._server, self._feed):
            if server:
                server.stop()
        self._server = self._feed = None
        self._unasked = False

    def _serve(self) -> None:
        """Answer those who ask, and let in those who watch; what cannot be is tried again when health is looked at."""
        path = self._config.agent.socket
        try:
            self._server = self._server or StatusServer(path, self.status)
            self._feed = self._feed or Feed(beside(path))
        except OSError as error:
            if not self._unasked:
                asking = "`ingrain top` has" if self._server else "`ingrain status` and `ingrain top` have"
                log.warning("%s nobody to ask: %s: %s; it is tried again", asking, path, error.strerror or error)
            self._unasked = True
        else:
            if self._unasked:
                log.warning("`ingrain status` and `ingrain top` are answered now")
            self._unasked = False

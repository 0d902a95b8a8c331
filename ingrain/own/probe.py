"""What every probe without a kernel half is: a thread of its own, which makes records and offers them to its pipelines.

A probe names its settings and what it measures, gets what it needs in `open`, and works in `run` until it is stopped.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ingrain.account import Account, ProbeAccount
from ingrain.batch import Batch, Measurement
from ingrain.pipeline import Outlet
from ingrain.probe import ProbeError
from ingrain.settings import Settings

log = logging.getLogger(__name__)

END_S = 10.0
"""How long a probe may take to end."""


class OwnProbe(ABC):
    """One `[[probe]]` at work, from `start` to `finish`, each called once.

    agent: gives the account of the whole agent, to a probe that tells of it.
    """

    kind: ClassVar[str]
    """Its `type` in the file."""
    Settings: ClassVar[type[Settings]]
    measurements: ClassVar[tuple[Measurement, ...]]
    """Those whose names are known before its settings are."""
    more_tags: ClassVar[bool] = False
    """Whether its records have tags, text all of them, that others name."""

    def __init__(self, settings: Any, pipelines: Sequence[Outlet], agent: Callable[[], Account]) -> None:
        self.settings = settings
        self.agent = agent
        self.pipelines: Sequence[Outlet] = ()
        self.offering = threading.Lock()  # held while records are offered: none goes where nothing may go any more
        self.stopping = threading.Event()
        self._died = ""
        self._thread = threading.Thread(target=self._run, name=f"probe {self.kind}", daemon=True)
        self.feed(pipelines)

    def open(self) -> str:
        """Get what it needs; what it does, in words. Raises ProbeError where it cannot run here."""
        return "runs"

    @abstractmethod
    def run(self) -> None:
        """Work until `stopping` is set, then tell what is left. In its own thread."""

    def close(self) -> None:  # noqa: B027 - only a probe that holds something open needs it
        """Let go of what `open` got; `run` has ended."""

    def account(self) -> ProbeAccount | None:
        """What it did; None for one that takes nothing in. Any thread may ask."""
        return None

    def problems(self) -> list[str]:
        """What is wrong now that no count tells. Any thread may ask."""
        return [self._died] if self._died else []

    def start(self) -> None:
        """Begin. Raises ProbeError where it cannot run here."""
        told = self.open()
        try:
            self._thread.start()
        except RuntimeError as error:  # the limit of threads
            self.close()
            raise ProbeError(str(error)) from error
        log.info("probe %s %s", self.kind, told)

    def feed(self, pipelines: Sequence[Outlet]) -> None:
        """Have its records go into these pipelines from now on, and no others."""
        with self.offering:
            self.pipelines = pipelines

    def offer(self, batches: Sequence[Batch]) -> int:
        """Offer records to every pipeline; how many they are. What one has no room for, it counts as refused."""
        with self.offering:
            for batch in batches:
                for pipeline in self.pipelines:
                    pipeline.offer(batch)
        return sum(map(len, batches))

    def finish(self) -> None:
        """Tell what is left, and end. A thread that hangs is left behind: nobody else's records wait for it."""
        self.stopping.set()
        if self._thread.ident is not None:
            self._thread.join(END_S)
        if self._thread.is_alive():
            log.error("probe %s does not end; what it has not offered yet is lost", self.kind)
        else:
            self.close()

    def _run(self) -> None:
        try:
            self.run()
        except Exception as error:  # the thread's edge
            self._died = f"it has died, and a restart of the agent mends that: {error!r}"
            log.exception("probe %s has died; a restart of the agent mends that", self.kind)

"""A probe at work: its kernel half loaded, its grain decoding, its records offered to its pipelines."""

from __future__ import annotations

import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ingrain.account import ProbeAccount
from ingrain.attempt import attempt
from ingrain.batch import Batch
from ingrain.containers import NAMES, Waiting
from ingrain.grains.common import ProbeSettings
from ingrain.grains.grain import Grain
from ingrain.kernel import cgroup, host
from ingrain.kernel.buffers import Buffers
from ingrain.kernel.loaders import Loader
from ingrain.kernel.program import Program
from ingrain.kernel.reader import Source
from ingrain.kernel.records import Drained
from ingrain.pipeline import Outlet, wanted

log = logging.getLogger(__name__)


_swaps = ThreadPoolExecutor(1, "swaps")
"""Where the kernel is waited for."""

LAST_WAIT_S = 0.5
"""How long the last records wait for the name of a new container when the agent ends."""


class ProbeError(RuntimeError):
    """A probe cannot run here; the message says why and what would mend it."""


LOOK_S = 1.0
"""How often a probe looks whether its cgroup is still the same, and which CPUs are online."""


def _offer(outlet: Outlet, batch: Batch) -> object:
    return outlet.offer(batch)


class Probe:
    """A probe whose kernel half is loaded: what it hands over is decoded and offered to its pipelines.

    constants: of its programs. shared: maps that it has in common with others. skip: kinds of hooks that it does
    without. loader: which object is loaded. offer: gives a batch to a pipeline. Raises KernelError where it cannot be.
    """

    def __init__(
        self,
        grain: Grain,
        settings: ProbeSettings,
        pipelines: Sequence[Outlet],
        constants: Mapping[str, int],
        shared: Mapping[str, int],
        *,
        skip: Collection[str] = (),
        loader: Loader = "core",
        offer: Callable[[Any, Batch], object] = _offer,
    ) -> None:
        self.grain = grain
        self.name = type(grain).__name__
        self.settings = settings
        self.pipelines: Sequence[Outlet] = ()
        self._give = offer
        grain.settings = settings
        self.feed(pipelines)
        self.program = Program(grain.program, {**constants, **grain.constants()}, shared, skip, loader)
        try:
            grain.open(self.program)
            self.buffers = Buffers(self.program, grain.event, settings.buffer_kb, packets=grain.packets)
        except BaseException:
            self.program.close()
            raise
        self._account = ProbeAccount(self.name)
        self._waiting = Waiting(grain.containers) if grain.containers else None

    def serves(self, kind: str, settings: object) -> bool:
        """Whether it is a probe of this type, with these settings."""
        return (self.name, self.settings) == (kind, settings)

    def feed(self, pipelines: Sequence[Outlet]) -> None:
        """Have its records go into these pipelines from now on. Only for the thread that reads, once there is one."""
        self.pipelines = pipelines
        self.grain.want(_wanted(pipelines))

    def account(self) -> ProbeAccount:
        """The account so far, the kernel's counts included: those are read last, so nothing was received before."""
        account, grain = replace(self._account), self.grain
        counts = self.buffers.counts()
        account.handed_over, account.lost, account.missed = counts.handed_over, counts.refused, self.program.missed()
        account.uncounted, account.uncounted_bytes = counts.uncounted, counts.uncounted_bytes
        account.malformed, account.cut, account.unfinished = grain.malformed, grain.cut, grain.unfinished
        account.parts, account.further = grain.parts, grain.further
        return account

    def close(self) -> None:
        """Unload."""
        self.buffers.close()
        self.program.close()

    def drained(self, drained: Drained) -> None:
        """Decode what was drained, and offer the records."""
        self._account.received += len(drained.events)
        self._account.corrupt += drained.corrupt
        self.grain.seen_until = self.buffers.begun
        for batch in self._decoded(drained):
            self._offer(batch)

    def poll(self) -> None:
        """Offer the records of what was counted in the kernel."""
        self.grain.seen_until = self.buffers.begun
        self._poll()

    def release(self) -> None:
        """Offer the records that waited for the name of their container, and need not any more."""
        if self._waiting:
            self._give_all(self._waiting.release())

    def finish(self) -> None:
        """Offer all that waits: no more records will come. What goes wrong is logged, and keeps nobody else."""
        attempt(f"completing what probe {self.name} has begun", self.grain.finish)
        attempt(f"the last reading of probe {self.name}", self._poll)
        attempt(f"releasing what waits in probe {self.name}", self._release_all)

    def _release_all(self) -> None:
        if self._waiting and self.grain.containers:
            self.grain.containers.wait(LAST_WAIT_S)
            self._give_all(self._waiting.release_all())

    def _decoded(self, drained: Drained) -> Iterator[Batch]:
        """The records, one batch at a time: all those of full buffers at once may be much."""
        try:
            for batch in self.grain.decode(drained):
                self._account.told += len(batch)
                yield batch
        except BaseException:
            account, grain = self._account, self.grain
            read = account.told + grain.malformed + grain.cut + grain.parts
            account.failed = account.received + grain.further - read  # all of which nothing else became
            raise

    def _poll(self) -> None:
        try:
            self._collect()
        except BaseException:
            self._account.failed_polls += 1
            raise

    def _collect(self) -> None:
        for batch in self.grain.poll():
            self._offer(batch)

    def _offer(self, *batches: Batch) -> None:
        """Batches of which the last was made just now."""
        self._give_all(self._waiting.pass_on(*batches) if self._waiting else batches)

    def _give_all(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._account.records += len(batch)
            for pipeline in self.pipelines:
                self._give(pipeline, batch)


def _wanted(pipelines: Sequence[Outlet]) -> frozenset[str] | None:
    """What they want of its tags; and the cgroup, where they want what it is found by."""
    tags = wanted(pipelines)
    if tags is None or tags.isdisjoint(NAMES):
        return tags
    return tags | {"cgroup_id"}


class LiveProbe(Probe, ABC):
    """One `[[probe]]` at work on what the processes of a cgroup do, now."""

    def __init__(
        self,
        grain: Grain,
        settings: ProbeSettings,
        pipelines: Sequence[Outlet],
        constants: Mapping[str, int],
        shared: Mapping[str, int],
        *,
        skip: Collection[str] = (),
        loader: Loader = "core",
    ) -> None:
        self.cgroup = cgroup.find(settings.cgroup)
        constants = {**constants, "self": own_id()}
        super().__init__(grain, settings, pipelines, constants, shared, skip=skip, loader=loader)
        self._interval = getattr(settings, "interval_ms", 1000) / 1000
        self._seen = 0
        self._due = 0.0
        self._swap: Future[None] | None = None

    @abstractmethod
    def aim(self) -> None:
        """See what the processes of the cgroup do that now has the name, and of no other.

        Raises KernelError, or FileNotFoundError where none has it (any more).
        """

    def lost(self) -> None:
        """The cgroup is gone: let go of what of it there is. Called again and again, until there is another."""

    def attach(self) -> None:
        """Begin to see. Raises what `aim` does."""
        # Where `aim` finds another one than this, the next look finds that out.
        identifier = cgroup.identifier(self.cgroup)
        self.aim()
        self._seen = identifier

    def poll(self) -> None:
        """Offer the records of what was counted in the kernel; where it has to let go of that first, at a later tick.

        It waits for all programs that run anywhere then, which the thread that reads must not.
        """
        if not self.program.swaps:
            super().poll()
        elif self._swap is None:
            self._swap = _swaps.submit(self._swap_all)

    def tick(self) -> None:
        """Do what is due between two polls."""
        if self._swap and self._swap.done():
            super().poll()
        self.release()
        now = time.monotonic()
        if now >= self._due:
            self._due = now + LOOK_S
            self.buffers.follow()
            self._look()

    def finish(self) -> None:
        """Offer all that waits: no more records will come."""
        if self._swap:  # what was swapped out, and then what was counted since
            attempt(f"the reading before the last of probe {self.name}", self._poll)
        super().finish()

    def source(self, *, last: bool) -> Source:
        """What the reader reads; `last`: behind all others."""
        return Source(
            self.name, self.buffers, self.drained, self.poll, self._interval, tick=self.tick, last=last,
            patience=self.grain.patience,
        )  # fmt: skip

    def _collect(self) -> None:
        if self._swap:
            swap, self._swap = self._swap, None
            swap.result()
        super()._collect()

    def _swap_all(self) -> None:
        for swap in self.program.swaps:
            swap()

    def _look(self) -> None:
        """See the cgroup again, where another one has taken its place."""
        try:
            if cgroup.identifier(self.cgroup) != self._seen:
                self.attach()
                log.warning("probe %s: %s is another cgroup now, and is seen", self.name, self.cgroup)
        except FileNotFoundError:
            if self._seen:
                log.warning("probe %s: %s is gone; it is seen again when it comes back", self.name, self.cgroup)
                self._seen = 0
            self.lost()


def own_id() -> int:
    """The id of this process as the kernel's programs see it; 0 in a pid namespace, where it is not known.

    Its id there may be another process's in the programs' eyes, which must not be left out.
    """
    return os.getpid() if host.is_first_pid_namespace() else 0

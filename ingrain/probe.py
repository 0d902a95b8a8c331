"""A probe at work: its kernel half loaded, its grain decoding, its records offered to its pipelines."""

from __future__ import annotations

import logging
import os
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingrain.account import ProbeAccount
from ingrain.batch import Batch
from ingrain.containers import NAMES, Waiting
from ingrain.grains.common import NetworkSettings, ProbeSettings
from ingrain.grains.grain import Grain
from ingrain.kernel import cgroup, host, sockets
from ingrain.kernel.buffers import Buffers
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.loaders import Loader, by_trial
from ingrain.kernel.packages import NotInstalledError
from ingrain.kernel.program import Program
from ingrain.kernel.reader import Source
from ingrain.kernel.records import Drained
from ingrain.pipeline import Outlet, wanted

log = logging.getLogger(__name__)


LAST_WAIT_S = 0.5
"""How long the last records wait for the name of a new container when the agent ends."""


class ProbeError(RuntimeError):
    """A probe cannot run here; the message says why and what would mend it."""


class Owners:
    """Who owns which socket: one kernel program for all network probes, attached to each of their cgroups once."""

    def __init__(self, loader: Loader) -> None:
        self._program = by_trial(loader, load_owners)
        self._cgroups: dict[Path, int] = {}
        self._lock = threading.Lock()  # a probe begins in one thread, and looks for its cgroup in another

    @property
    def shared(self) -> dict[str, int]:
        """The map that the probes read."""
        return {"owners": self._program.maps["owners"]}

    def watch(self, folder: Path) -> None:
        """Note owners in this cgroup from now on, and those of the sockets that are there already.

        A folder that was made anew since is another cgroup.
        """
        identifier = cgroup.identifier(folder)
        with self._lock:
            if self._cgroups.get(folder) == identifier:
                return
            attach(self._program, folder)
            self._cgroups[folder] = identifier
        if not host.is_first_pid_namespace():
            log.warning(
                "owners: this is a pid namespace, where process ids are not the kernel's: the agent sees itself, and "
                "older sockets have no process; run it in the host's (docker run --pid host, hostPID: true)"
            )
            return
        found = sockets.seed(folder, self.shared["owners"], self._program.dtype("owner"))
        log.info("owners: %d sockets older than the agent have their process", found.noted)
        if found.unreachable:
            log.warning(
                "owners: %d processes or sockets could not be looked at; what they send is told without its process "
                "until they make a new socket (CAP_SYS_PTRACE lets the agent look)",
                found.unreachable,
            )

    def detach(self) -> None:
        """Note nothing any more."""
        self._program.detach()

    def close(self) -> None:
        """Unload."""
        self._program.close()


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
        try:
            self._poll()
        except BaseException:
            self._account.failed_polls += 1
            raise

    def release(self) -> None:
        """Offer the records that waited for the name of their container, and need not any more."""
        if self._waiting:
            self._give_all(self._waiting.release())

    def finish(self) -> None:
        """Offer all that waits: no more records will come."""
        self.grain.finish()
        try:
            self._poll()
        except Exception:
            self._account.failed_polls += 1
            log.exception("probe %s: what was left of it could not be told", self.name)
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

    @abstractmethod
    def aim(self) -> None:
        """See what the processes of the cgroup do that now has the name, and of no other. Raises KernelError."""

    def attach(self) -> None:
        """Begin to see."""
        self.aim()
        self._seen = cgroup.identifier(self.cgroup)

    def poll(self) -> None:
        """Offer the records of what was counted; and see the cgroup again, where another one has taken its place."""
        super().poll()
        try:
            identifier = cgroup.identifier(self.cgroup)
        except FileNotFoundError:
            if self._seen:
                log.warning("probe %s: %s is gone; it is seen again when it comes back", self.name, self.cgroup)
                self._seen = 0
            return
        if identifier != self._seen:
            self.attach()
            log.warning("probe %s: %s is another cgroup now, and is seen", self.name, self.cgroup)

    def source(self, *, last: bool) -> Source:
        """What the reader reads; `last`: behind all others."""
        return Source(
            self.name, self.buffers, self.drained, self.poll, self._interval, tick=self.release, last=last,
            patience=self.grain.patience,
        )  # fmt: skip


class NetworkProbe(LiveProbe):
    """Its programs hang on the cgroup. Raises CgroupError, KernelError or ProbeError where it cannot be."""

    def __init__(
        self,
        grain: Grain,
        settings: NetworkSettings,
        owners: Owners,
        pipelines: Sequence[Outlet],
        loader: Loader = "core",
    ) -> None:
        constants = {"interface": _interface(settings.interface)}
        super().__init__(grain, settings, pipelines, constants, owners.shared, loader=loader)
        self._owners = owners

    def aim(self) -> None:
        """Hang the programs on the cgroup."""
        self.program.detach()
        self._owners.watch(self.cgroup)
        attach(self.program, self.cgroup)


def own_id() -> int:
    """The id of this process as the kernel's programs see it; 0 in a pid namespace, where it is not known.

    Its id there may be another process's in the programs' eyes, which must not be left out.
    """
    return os.getpid() if host.is_first_pid_namespace() else 0


def load_owners(loader: Loader = "core") -> Program:
    """The owners' program: by the process's name where this kernel lets it be read, else by the thread's."""
    try:
        return Program("owner", {"by_process": 1}, loader=loader)
    except NotInstalledError:
        raise
    except KernelError as error:
        log.info("owners are told by the thread's name: this kernel does not let the process's be read (%s)", error)
        return Program("owner", {"by_process": 0}, loader=loader)


def attach(program: Program, folder: Path) -> None:
    """Attach a program to a cgroup by its folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        program.attach(descriptor)
    finally:
        os.close(descriptor)


def _interface(name: str | None) -> int:
    if name is None:
        return 0
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        known = ", ".join(device for _index, device in socket.if_nameindex())
        raise ProbeError(f"there is no interface {name} here; there are: {known}") from error

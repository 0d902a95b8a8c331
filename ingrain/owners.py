"""Who owns which socket: one kernel program for all network probes, attached once to each of their cgroups."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from pathlib import Path

from ingrain.kernel import cgroup, host, sockets
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.loaders import Loader, by_trial
from ingrain.kernel.packages import NotInstalledError
from ingrain.kernel.program import Program
from ingrain.kernel.symbols import has_btf

log = logging.getLogger(__name__)


class Owners:
    """The program, the map of owners that it fills, and the cgroups that it is attached to."""

    def __init__(self, loader: Loader) -> None:
        self._program = by_trial(loader, load_owners)
        self._accepts = trace_accepts(self._program)
        self._watched: dict[object, int] = {}  # by who needs it: the id of a cgroup
        self._lock = threading.Lock()  # a probe begins in one thread, and looks for its cgroup in another

    @property
    def shared(self) -> dict[str, int]:
        """The map that the probes read."""
        return {"owners": self._program.maps["owners"]}

    def watch(self, probe: object, folder: Path) -> None:
        """Note owners in this cgroup for the probe from now on, and those of the sockets that are there already.

        Instead of the cgroup that it needed before: a folder that was made anew is another one. Raises KernelError, or
        FileNotFoundError where there is no such folder (any more).
        """
        identifier = cgroup.identifier(folder)
        with self._lock:
            new = identifier not in self._watched.values()
            if new:
                self._program.attach(folder)
            before = self._watched.get(probe)
            self._watched[probe] = identifier
            self._drop(before)
        if new:
            self._seed(folder)

    def keep(self, probes: Collection[object]) -> None:
        """Let go of the cgroups that none of these probes needs."""
        with self._lock:
            for gone in self._watched.keys() - probes:
                self._drop(self._watched.pop(gone))

    def forget(self, probe: object) -> None:
        """The cgroup that the probe needs is gone."""
        with self._lock:
            self._drop(self._watched.pop(probe, None))

    def _drop(self, identifier: int | None) -> None:
        if identifier is not None and identifier not in self._watched.values():
            self._program.detach_from(identifier)

    def _seed(self, folder: Path) -> None:
        if not host.is_first_pid_namespace():
            log.warning(
                "owners: this is a pid namespace, where process ids are not the kernel's: the agent sees itself, and "
                "older sockets have no process; run it in the host's (docker run --pid host, hostPID: true)"
            )
            return
        found = sockets.seed(folder, self._program)
        log.info("owners: %d sockets older than the agent have their process", found.noted)
        if found.unreachable:
            log.warning(
                "owners: %d processes or sockets could not be looked at; what they send is told without its process "
                "until they make a new socket (CAP_SYS_PTRACE lets the agent look, but not at processes that have a "
                "class of their own by net_cls or net_prio)",
                found.unreachable,
            )

    def detach(self) -> None:
        """Note nothing any more."""
        for program in self._programs:
            program.detach()

    def close(self) -> None:
        """Unload."""
        for program in self._programs:
            program.close()

    @property
    def _programs(self) -> list[Program]:
        return [self._program, *([self._accepts] if self._accepts else [])]


def trace_accepts(owners: Program) -> Program | None:
    """The program that notes who accepts a connection, attached; None where this kernel does not let it be traced.

    Then it is known only of who asks for the peer's address, as nearly all do. owners: the owners' program.
    """
    if not has_btf():  # what BCC would make of it in some seconds could not be loaded
        return None
    program = None
    try:
        program = Program("accept", {}, {"owners": owners.maps["owners"]}, loader=owners.loader)
        program.attach()
    except KernelError as error:
        log.info("accept(2) is not traced: who does not ask for the peer's address is not known to accept (%s)", error)
        if program:
            program.close()
        return None
    return program


def load_owners(loader: Loader = "core") -> Program:
    """The owners' program: by the process's name where this kernel lets it be read, else by the thread's."""
    constants = {"own_netns": host.netns_cookie()}
    try:
        return Program("owner", {**constants, "by_process": 1}, loader=loader)
    except NotInstalledError:
        raise
    except KernelError as error:
        log.info("owners are told by the thread's name: this kernel does not let the process's be read (%s)", error)
        return Program("owner", {**constants, "by_process": 0}, loader=loader)

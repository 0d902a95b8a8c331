"""The probes of the network at work: their programs hang on the cgroup, and see packets at its sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

from ingrain.grains.common import NetworkSettings, ProbeSettings
from ingrain.grains.grain import Grain
from ingrain.kernel.loaders import Loader
from ingrain.owners import Owners
from ingrain.pipeline import Outlet
from ingrain.probe import LiveProbe, ProbeError

_INHERITED = ("traffic", "peers")
"""Maps that tell what is known of sockets (probes/network.bpf.c)."""


class NetworkProbe(LiveProbe):
    """Its programs hang on the cgroup. Raises CgroupError, KernelError or ProbeError where it cannot be.

    inherited: maps of the one whose place it takes, that say what is known of sockets.
    """

    def __init__(
        self,
        grain: Grain,
        settings: NetworkSettings,
        owners: Owners,
        pipelines: Sequence[Outlet],
        inherited: Mapping[str, int],
        *,
        loader: Loader = "core",
    ) -> None:
        constants = {"interface": _interface(settings.interface)}
        super().__init__(grain, settings, pipelines, constants, {**owners.shared, **inherited}, loader=loader)
        self._owners = owners

    def aim(self) -> None:
        """Hang the programs on the cgroup."""
        self.program.detach()
        self._owners.watch(self, self.cgroup)
        self.program.attach(self.cgroup)

    def lost(self) -> None:
        """Let go of it: its links do not go by themselves."""
        self.program.detach()
        self._owners.forget(self)


class Inheritance:
    """What probes that go know of sockets, for those that take their places. Until the `with` ends.

    The successor of a probe is one of the same type that sees the same cgroup: a connection that the other knew is not
    new to it, and what that one counted is not counted again.
    """

    def __init__(self, leaving: Collection[LiveProbe] = ()) -> None:
        self._maps = {(probe.name, probe.settings.cgroup): probe.program.keep(_INHERITED) for probe in leaving}

    def of(self, kind: str, settings: ProbeSettings) -> Mapping[str, int]:
        """What a probe of this type with these settings inherits: map name -> descriptor."""
        return self._maps.get((kind, settings.cgroup), {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for maps in self._maps.values():
            for descriptor in maps.values():
                os.close(descriptor)


def _interface(name: str | None) -> int:
    if name is None:
        return 0
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        known = ", ".join(device for _index, device in socket.if_nameindex())
        raise ProbeError(f"there is no interface {name} here; there are: {known}") from error

"""The probes of the network at work: their programs hang on the cgroup, and see packets at its sockets."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

from ingrain.grains.common import NetworkSettings, ProbeSettings
from ingrain.grains.grain import Grain
from ingrain.kernel import host, maps
from ingrain.kernel.loaders import Loader
from ingrain.owners import Owners
from ingrain.pipeline import Outlet
from ingrain.probe import LiveProbe, ProbeError

log = logging.getLogger(__name__)

_INHERITED = ("traffic", "peers")
"""Maps of what is known of sockets (probes/traffic.h, udp.h)."""


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
        self._device_name = settings.interface
        number = _number(self._device_name)
        constants = {"by_device": int(self._device_name is not None)}
        super().__init__(grain, settings, pipelines, constants, {**owners.shared, **inherited}, loader=loader)
        self._owners = owners
        self._see_device(number)

    def aim(self) -> None:
        """Hang the programs on the cgroup."""
        self.program.detach()
        self._owners.watch(self, self.cgroup)
        self.program.attach(self.cgroup)

    def _look(self) -> None:
        """See the cgroup again, and the device, where others have taken their places."""
        super()._look()
        number = _find(self._device_name)
        if number != self._device:
            self._see_device(number)
            what = "is another device now, and is seen" if number else "is gone; it is seen again when it comes back"
            log.warning("probe %s: %s %s", self.name, self._device_name, what)

    def _see_device(self, number: int) -> None:
        maps.put(self.program.maps["device"], bytes(4), number.to_bytes(4, sys.byteorder))
        self._device = number

    def lost(self) -> None:
        """Its links do not go by themselves."""
        self.program.detach()
        self._owners.forget(self)


class Inheritance:
    """What probes that go know of sockets, for those that take their places. Until the `with` ends.

    The successor of a probe is one of the same type that sees the same cgroup: a connection that the other knew is not
    new to it, and what that one counted is not counted again.
    """

    def __init__(self, leaving: Collection[LiveProbe] = ()) -> None:
        self._maps: dict[tuple[str, str | None], dict[str, int]] = {}
        for probe in leaving:
            if (key := (probe.name, probe.settings.cgroup)) not in self._maps:
                self._maps[key] = probe.program.keep(_INHERITED)

    def of(self, kind: str, settings: ProbeSettings) -> Mapping[str, int]:
        """What a probe of this type with these settings inherits: map name -> descriptor."""
        return self._maps.get((kind, settings.cgroup), {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for kept in self._maps.values():
            for descriptor in kept.values():
                os.close(descriptor)


def _find(device: str | None) -> int:
    """The number of the device in this network namespace; 0 where there is none."""
    try:
        return socket.if_nametoindex(device) if device else 0
    except OSError:
        return 0


def _number(device: str | None) -> int:
    """The same. Raises ProbeError where there is none, or its number alone would not tell it from others."""
    number = _find(device)
    if device and not number:
        known = ", ".join(name for _index, name in socket.if_nameindex())
        raise ProbeError(f"there is no interface {device} here; there are: {known}")
    if device and not host.netns_cookie() and not host.is_first_netns():
        raise ProbeError(
            f"{device} is an interface of this network namespace, which the kernel does not tell from others before "
            "Linux 5.14: run the agent in the host's (docker run --network host, hostNetwork: true)"
        )
    return number

"""Network: connections as they are opened, and bytes and packets per socket and peer, over TCP and UDP.

In: `struct flow` for each connection, and the volumes that probes/network.bpf.c counts, read every `interval_ms`. Out:
`connection.out`, `connection.in`, `volume.out`, `volume.in`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec
import numpy as np
import pyarrow as pa

from ingrain.batch import TIMESTAMP, Batch, Column, Measurement
from ingrain.grains.common import COMMON, NetworkSettings, common, ones, timestamps
from ingrain.grains.grain import Grain
from ingrain.kernel.places import Places
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained, Events, select

_TCP, _UDP = 6, 17  # protocol numbers of IANA
_AT_A_TIME = 1 << 15  # events decoded: what that takes beside them stays within some megabytes

_VALUES = (
    Column("value", pa.int64(), "payload bytes as the application sees them, without TCP retransmissions"),
    Column(
        "packets", pa.int64(), "packets, with acknowledgements and retransmissions, without a listener's handshakes"
    ),
)

CONNECTION = (
    Measurement(
        "connection.out", "a process opened a TCP connection, or sent the first UDP datagram to a peer", COMMON
    ),
    Measurement(
        "connection.in", "a process was connected to over TCP, or received the first UDP datagram from a peer", COMMON
    ),
)
VOLUME = (
    Measurement("volume.out", "bytes a socket sent to a peer in the interval", COMMON, unit="bytes", values=_VALUES),
    Measurement(
        "volume.in",
        "bytes a socket received from a peer in the interval; also datagrams dropped because its queue was full",
        COMMON,
        unit="bytes",
        values=_VALUES,
    ),
)


class VolumeSettings(NetworkSettings, frozen=True):
    """How often volumes are read.

    interval_ms: how often volumes are read from the kernel
    """

    interval_ms: Annotated[int, msgspec.Meta(ge=10, le=3_600_000)] = 1000


class Network(Grain):
    """Connections and volumes. A volume's timestamp is when it was read; an interval without a packet has none."""

    Settings = VolumeSettings
    measurements = CONNECTION + VOLUME
    program = "network"
    event = "flow"

    def open(self, program: Program) -> None:
        """The volumes are the programs'."""
        self._volumes = Places(program, "volumes", "volume")

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """Connection events, by the side that began them."""
        for start in range(0, len(drained.events), _AT_A_TIME):
            flows = drained.events[start : start + _AT_A_TIME]
            self.malformed += int(np.count_nonzero(flows["direction"] >= len(CONNECTION)))
            for direction, measurement in enumerate(CONNECTION):
                begun = select(flows, flows["direction"] == direction)
                if len(begun):
                    fixed = {"timestamp": timestamps(begun, self.clock), "value": ones(len(begun))}
                    yield self.batch(measurement, fixed | common(begun, self.containers))

    def poll(self) -> Iterator[Batch]:
        """What was counted since the last reading."""
        volumes = self._volumes.take()
        now = time.time_ns()
        for direction, measurement in enumerate(VOLUME):
            moved = volumes[(volumes["packets"][:, direction] > 0) | (volumes["bytes"][:, direction] > 0)]
            if len(moved):
                fixed = {
                    "timestamp": pa.array(np.full(len(moved), now), TIMESTAMP),
                    "value": pa.array(moved["bytes"][:, direction].astype(np.int64)),
                    "packets": pa.array(moved["packets"][:, direction].astype(np.int64)),
                }
                yield self.batch(measurement, fixed | common(_seen_as(moved["flow"], direction), self.containers))


class TCP4(Network):
    """ingraind's older probe of TCP over IPv4, before it had Network: here Network, narrowed to that."""

    def constants(self) -> Mapping[str, int]:
        """What is seen."""
        return {"only_proto": _TCP, "only_ipv4": 1}


class UDP(Network):
    """ingraind's older probe of UDP, before it had Network: here Network, narrowed to that, over IPv6 too."""

    def constants(self) -> Mapping[str, int]:
        """What is seen."""
        return {"only_proto": _UDP}


def _seen_as(flows: Events, direction: int) -> Events:
    """The flows with source and destination as they are for packets of this direction."""
    seen = flows.copy()
    turned = seen["direction"] != direction
    for source, destination in (("s_ip", "d_ip"), ("s_port", "d_port")):
        seen[source][turned], seen[destination][turned] = flows[destination][turned], flows[source][turned]
    seen["direction"] = direction
    return seen

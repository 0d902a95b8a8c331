"""The packets of a drain one by one, for grains that decode messages: `struct packet` of probes/flow.h, its payload.

What tells connections and their ends apart is made of the struct's bytes as they are; nothing is decoded for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ingrain.kernel.records import Drained

TCP = 6
_OUT, _IN, _UNKNOWN = 0, 1, 2
_TURNED = (bytes([_IN]), bytes([_OUT]), bytes([_UNKNOWN]))


class Packet(NamedTuple):
    """One packet that was handed over.

    row: its struct's bytes. payload: what was captured of its payload. whole: whether that is all of it. offset: TCP:
    where in its stream, or in the message that it is part of, the payload begins; -1 for UDP. datagram: UDP: length of
    each datagram but the last, where the payload is that of several (segmentation offload); else 0. time: the kernel's,
    in nanoseconds.
    """

    row: bytes
    payload: bytes
    whole: bool
    offset: int
    datagram: int
    time: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a row the parts are that tell whose packet it is, and from where to where it goes."""

    process: slice
    group: slice
    addresses: tuple[slice, slice]
    ports: tuple[slice, slice]
    direction: int
    begin: slice

    def connection(self, row: bytes) -> bytes:
        """The same bytes for all packets of a socket that go one way.

        A packet over loopback is seen at both of its sockets: those are different connections here.
        """
        return row[self.group] + row[self.addresses[0].start : self.direction + 1]

    def turned(self, row: bytes) -> bytes:
        """The `connection` of the packets that go the other way."""
        (source, destination), (port, to_port) = self.addresses, self.ports
        protocol, direction = row[self.ports[1].stop : self.direction], row[self.direction]
        ends = row[destination] + row[source] + row[to_port] + row[port]
        return row[self.group] + ends + protocol + _TURNED[direction]

    def ends(self, row: bytes) -> tuple[bytes, bytes]:
        """Where the packet comes from, and where it goes to; each says also whether it is the end that was watched."""
        (source, destination), (port, to_port) = self.addresses, self.ports
        group, direction = row[self.group], row[self.direction]
        near = (group + row[source] + row[port], group + row[destination] + row[to_port])
        return near[0] + bytes([direction == _OUT]), near[1] + bytes([direction == _IN])

    def destination(self, row: bytes) -> bytes:
        """Address that the packet goes to: 16 bytes."""
        return row[self.addresses[1]]

    def of_client(self, row: bytes, *, receives: bool) -> bool:
        """Whether the packet was seen at the client, which sends or receives it, or is a capture's."""
        return row[self.direction] != (_OUT if receives else _IN)

    def client(self, row: bytes, *, receives: bool) -> bytes:
        """Who asks: the process, or where that is not known, its address."""
        process = row[self.process]
        return process if any(process) else row[self.addresses[receives]]


def packets(drained: Drained) -> Iterator[Packet]:
    """All packets of a drain, in their order."""
    events = drained.events
    flow = events["flow"]
    captured = np.fromiter(map(len, drained.payloads), np.int64, len(events))
    offsets = np.where(flow["proto"] == TCP, (events["seq"] - events["begin"]).astype(np.int64), -1)
    columns = (
        events.view(np.dtype((np.void, events.dtype.itemsize))).tolist(),
        drained.payloads,
        (captured >= events["payload_len"]).tolist(),
        offsets.tolist(),
        events["datagram"].tolist(),
        flow["time"].tolist(),
    )
    return map(Packet._make, zip(*columns, strict=True))


def in_time_order(drained: Drained) -> Drained:
    """The same, in the order of the packets' time: the buffers are per CPU."""
    times = drained.events["flow"]["time"]
    if (times[1:] >= times[:-1]).all():
        return drained
    order = np.argsort(times, kind="stable")
    return replace(drained, events=drained.events[order], payloads=[drained.payloads[row] for row in order.tolist()])


@lru_cache(maxsize=8)
def layout(dtype: np.dtype[np.void]) -> Layout:
    """The layout of `struct packet`, whose addresses, ports, protocol and direction stand in this order in its flow."""
    begin, flow = _field(dtype, "flow")

    def part(name: str) -> slice:
        at, kind = _field(flow, name)
        return slice(begin + at, begin + at + kind.itemsize)

    begins, sequence = _field(dtype, "begin")
    return Layout(
        process=part("pid"),
        group=part("cgroup_id"),
        addresses=(part("s_ip"), part("d_ip")),
        ports=(part("s_port"), part("d_port")),
        direction=part("direction").start,
        begin=slice(begins, begins + sequence.itemsize),
    )


def _field(dtype: np.dtype[np.void], name: str) -> tuple[int, np.dtype[np.void]]:
    kind, at = dict(dtype.fields or {})[name][:2]
    return at, kind

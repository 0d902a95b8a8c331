"""The packets of a drain one by one, for grains that decode messages: `struct packet` of probes/flow.h, its payload.

What tells connections and their ends apart is made of the struct's bytes as they are; nothing is decoded for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ingrain.kernel.records import Drained

TCP = 6
_OUT, _IN = 0, 1


class Packet(NamedTuple):
    """One packet that was handed over.

    row: its struct's bytes. payload: what was captured of its payload. whole: whether that is all of it. offset: TCP:
    where in its stream, or in the message that it is part of, the payload begins; -1 for UDP. time: the kernel's, in
    nanoseconds.
    """

    row: bytes
    payload: bytes
    whole: bool
    offset: int
    time: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a row the parts are that tell whose packet it is, and from where to where it goes."""

    flow: slice
    process: slice
    group: slice
    addresses: tuple[slice, slice]
    ports: tuple[slice, slice]
    direction: int
    begin: slice

    def connection(self, row: bytes, *, turned: bool = False) -> bytes:
        """The same bytes for all packets of a socket that go one way; `turned`: for those that go the other way.

        A packet over loopback is seen at both of its sockets: those are different connections here.
        """
        source, destination = self.ends(row)
        return destination + source if turned else source + destination

    def ends(self, row: bytes) -> tuple[bytes, bytes]:
        """Where the packet comes from, and where it goes to; each says also whether it is the end that was watched."""
        group, direction = row[self.group], row[self.direction]
        (from_, to), (from_port, to_port) = self.addresses, self.ports
        return (
            b"%b%b%b%d" % (group, row[from_], row[from_port], direction == _OUT),
            b"%b%b%b%d" % (group, row[to], row[to_port], direction == _IN),
        )

    def destination(self, row: bytes) -> bytes:
        """Address that the packet goes to: 16 bytes."""
        return row[self.addresses[1]]

    def client(self, row: bytes, *, receives: bool) -> bytes:
        """Who asks: the process, or where that is not known, its address."""
        process = row[self.process]
        return process if any(process) else row[self.addresses[receives]]


def packets(drained: Drained) -> Iterator[tuple[int, Packet]]:
    """All packets of a drain, in the order of their time, each with its row: the buffers are per CPU."""
    events = drained.events
    flow = events["flow"]
    rows = events.view(np.dtype((np.void, events.dtype.itemsize))).tolist()
    offsets = np.where(flow["proto"] == TCP, (events["seq"] - events["begin"]).astype(np.int64), -1).tolist()
    lengths, times = events["payload_len"].tolist(), flow["time"].tolist()
    order = np.argsort(flow["time"], kind="stable").tolist()
    for row in order:
        payload = drained.payloads[row]
        yield row, Packet(rows[row], payload, len(payload) >= lengths[row], offsets[row], times[row])


@lru_cache(maxsize=8)
def layout(dtype: np.dtype[np.void]) -> Layout:
    """The layout of `struct packet`."""
    begin, flow = _field(dtype, "flow")

    def part(name: str) -> slice:
        at, kind = _field(flow, name)
        return slice(begin + at, begin + at + kind.itemsize)

    return Layout(
        flow=slice(begin, begin + flow.itemsize),
        process=part("pid"),
        group=part("cgroup_id"),
        addresses=(part("s_ip"), part("d_ip")),
        ports=(part("s_port"), part("d_port")),
        direction=part("direction").start,
        begin=slice(_field(dtype, "begin")[0], _field(dtype, "begin")[0] + 4),
    )


def _field(dtype: np.dtype[np.void], name: str) -> tuple[int, np.dtype[np.void]]:
    kind, at = dict(dtype.fields or {})[name][:2]
    return at, kind

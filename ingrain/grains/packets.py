"""The packets of a drain one by one, for grains that decode messages: `struct packet` of probes/flow.h, its payload.

What tells connections and their ends apart is made of the struct's bytes as they are; nothing is decoded for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from typing import NamedTuple, cast

import numpy as np

from ingrain.kernel.records import Drained, Events, select

TCP = 6
_OUT, _IN = 0, 1
_NOBODY = bytes(4)
_AT_A_TIME = 1 << 12  # packets; as objects each takes some 600 bytes beside its payload
_END = np.dtype([("group", "u8"), ("address", "u1", 16), ("port", "u2"), ("watched", "u1")])


class Packet(NamedTuple):
    """One packet that was handed over.

    row: its struct's bytes. payload: what was captured of its payload. length: of the payload on the wire. whole:
    whether all of it was captured. offset: TCP: where in its stream, or in the message that it is part of, the payload
    begins; -1 for UDP. datagram: UDP: length of each datagram but the last, where the payload is that of several
    (segmentation offload); else 0. time: the kernel's, in nanoseconds.

    source, destination: what tells its ends apart. They say also which end was watched: a packet over loopback is seen
    at both of its sockets, and those are different connections here.
    """

    row: bytes
    payload: bytes
    length: int
    whole: bool
    offset: int
    datagram: int
    time: int
    source: bytes
    destination: bytes

    def datagrams(self) -> tuple[list[tuple[bytes, bool]], int]:
        """The datagrams of which something was captured, and whether each is whole; and the number of the others."""
        if not self.datagram:
            return [(self.payload, self.whole)], 0
        size = self.datagram
        captured = [self.payload[start : start + size] for start in range(0, len(self.payload), size)]
        absent = -(-max(self.length, len(self.payload)) // size) - len(captured)
        whole = [True] * len(captured)
        if captured and not self.whole:
            whole[-1] = len(captured[-1]) == size
        return list(zip(captured, whole, strict=True)), absent


# Packet._make without its check, and in C.
_packet = cast(Callable[[tuple[object, ...]], Packet], partial(tuple.__new__, Packet))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a row the parts are that tell whose packet it is."""

    process: slice
    process_id: slice
    addresses: tuple[slice, slice]
    direction: int
    begin: slice

    def destination(self, row: bytes) -> bytes:
        """Address that the packet goes to: 16 bytes."""
        return row[self.addresses[1]]

    def of_client(self, row: bytes, *, receives: bool) -> bool:
        """Whether the packet was seen at the client, which sends or receives it, or is a capture's."""
        return row[self.direction] != (_OUT if receives else _IN)

    def client(self, row: bytes, *, receives: bool) -> bytes:
        """Who asks, as `Lookups` tells clients apart: the process, or where that is not known, its address."""
        return row[self.addresses[receives]] if row[self.process_id] == _NOBODY else row[self.process]


def packets(drained: Drained) -> Iterator[Packet]:
    """All packets of a drain, in their order."""
    events, payloads = drained.events, drained.payloads
    starts = range(0, len(events), _AT_A_TIME)
    return chain.from_iterable(
        _packets(events[start : start + _AT_A_TIME], payloads[start : start + _AT_A_TIME]) for start in starts
    )


def _packets(events: Events, payloads: list[bytes]) -> Iterator[Packet]:
    flow = events["flow"]
    captured = np.fromiter(map(len, payloads), np.int64, len(payloads))
    offsets = np.where(flow["proto"] == TCP, (events["seq"] - events["begin"]).astype(np.int64), -1)
    columns = (
        events.view(np.dtype((np.void, events.dtype.itemsize))).tolist(),
        payloads,
        events["payload_len"].tolist(),
        (captured >= events["payload_len"]).tolist(),
        offsets.tolist(),
        events["datagram"].tolist(),
        flow["time"].tolist(),
        _ends(flow, "s_ip", "s_port", _OUT),
        _ends(flow, "d_ip", "d_port", _IN),
    )
    return map(_packet, zip(*columns, strict=True))


def _ends(flow: Events, address: str, port: str, watched: int) -> list[bytes]:
    ends = np.zeros(len(flow), _END)
    ends["group"], ends["address"], ends["port"] = flow["cgroup_id"], flow[address], flow[port]
    ends["watched"] = flow["direction"] == watched
    return ends.view((np.void, _END.itemsize)).tolist()


def in_time_order(drained: Drained) -> Drained:
    """The same, in the order of the packets' time: the buffers are per CPU."""
    times = drained.events["flow"]["time"]
    if (times[1:] >= times[:-1]).all():
        return drained
    order = np.argsort(times, kind="stable")
    payloads = [drained.payloads[row] for row in order.tolist()]
    return replace(drained, events=select(drained.events, order), payloads=payloads)


@lru_cache(maxsize=8)
def layout(dtype: np.dtype[np.void]) -> Layout:
    """The layout of `struct packet`."""
    begin, flow = _field(dtype, "flow")

    def part(name: str) -> slice:
        at, kind = _field(flow, name)
        return slice(begin + at, begin + at + kind.itemsize)

    begins, sequence = _field(dtype, "begin")
    start, process_id = part("start"), part("pid")
    if start.stop != process_id.start:
        raise ValueError("struct flow: a process's id does not follow its start any more, so they cannot be one key")
    return Layout(
        process=slice(start.start, process_id.stop),
        process_id=process_id,
        addresses=(part("s_ip"), part("d_ip")),
        direction=part("direction").start,
        begin=slice(begins, begins + sequence.itemsize),
    )


def _field(dtype: np.dtype[np.void], name: str) -> tuple[int, np.dtype[np.void]]:
    kind, at = dict(dtype.fields or {})[name][:2]
    return at, kind

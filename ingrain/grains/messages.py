"""A grain whose events carry packets (`struct packet` of probes/flow.h), which hold messages, whole or in part.

Messages are decoded one by one. The decoders give the same object for messages that say the same, so columns are made
of the distinct messages of a drain, and its rows look them up.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from ingrain.batch import Batch, Measurement
from ingrain.grains.common import common, ones, timestamps
from ingrain.grains.grain import Grain, Made
from ingrain.grains.packets import Layout, Packet, in_time_order, layout, packets
from ingrain.kernel.records import Drained

Message = TypeVar("Message")
Beside = TypeVar("Beside")

BATCH_BYTES = 4 << 20
"""Payloads and text that become batches at a time: what that takes stays bounded, however much was drained at once."""

_FOREVER = 1 << 63

Told = tuple[Message, Beside, Packet]
"""A message, what is told beside it, and the packet that completed it."""


class MessageGrain(Grain, Generic[Message, Beside]):
    """Received + further = records + malformed + cut + parts, to the event; records of `poll` come on top.

    `Beside` is what a record tells that does not stand in its message, but follows from what came before it.
    """

    event = "packet"
    packets = True

    def __init__(self) -> None:
        super().__init__()
        self._layout: np.dtype[np.void] = np.dtype(np.void)  # of `struct packet`, once there was one
        self._last: list[Told[Message, Beside]] = []

    @abstractmethod
    def told(self, packet: Packet, at: Layout) -> Sequence[Told[Message, Beside]]:
        """The messages that this packet completes. What cannot be read is counted as malformed or cut."""

    @abstractmethod
    def expire(self, now: int) -> Sequence[Told[Message, Beside]]:
        """Let go of what began so long before `now` (nanoseconds, the packets' clock) that no more of it will come.

        The messages that waited for it, and need not any more.
        """

    @abstractmethod
    def kind(self, message: Message) -> int:
        """Which of the grain's measurements it is."""

    @abstractmethod
    def size(self, message: Message) -> int:
        """About how many bytes its text takes."""

    @abstractmethod
    def columns(self, messages: Sequence[Message], rows: pa.Array) -> Mapping[str, Callable[[], pa.Array]]:
        """What makes the columns that messages of one kind tell, by their names. rows: each one's message (int64)."""

    @abstractmethod
    def beside(self, kind: int, values: Sequence[Beside]) -> Mapping[str, Made]:
        """The columns beside those: a value a record."""

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """A batch for each kind of message that there is; several where they are large."""
        if not len(drained.events):
            return
        drained = in_time_order(drained)
        self._layout = drained.events.dtype
        at = layout(self._layout)
        found = self._found()
        late = self._expired(int(drained.events["flow"]["time"][0]))
        self.further += len(late)
        found.add(late)
        for packet in packets(drained):
            unread = self.malformed + self.cut
            told = self.told(packet, at)
            unread = self.malformed + self.cut - unread
            if unread or len(told) != 1:
                self._count(len(told) + unread)
            found.add(told)
            found.bytes += len(packet.payload)
            if found.bytes > BATCH_BYTES:
                yield from self._batches(found)
                found = self._found()
        yield from self._batches(found)

    def poll(self) -> Iterator[Batch]:
        """Messages that waited for what will not come."""
        found = self._found()
        found.add(self._last)
        self._last = []
        found.add(self._expired(time.monotonic_ns()))
        return self._batches(found)

    def finish(self) -> None:
        """Let go of all that is not whole; messages that waited for it come with the last `poll`."""
        self._last += self._expired(_FOREVER)

    def _count(self, outcomes: int) -> None:
        """Of one event: messages that were told, malformed or cut."""
        if outcomes:
            self.further += outcomes - 1
        else:
            self.parts += 1

    def _expired(self, now: int) -> Sequence[Told[Message, Beside]]:
        """As `expire`; the events in which it all came were counted when they came."""
        unread = self.malformed + self.cut
        told = self.expire(now)
        self.further += self.malformed + self.cut - unread
        return told

    def _found(self) -> _Found[Message, Beside]:
        return _Found(self.kind, self.size, [_Records() for _ in self.measurements])

    def _batches(self, found: _Found[Message, Beside]) -> Iterator[Batch]:
        for kind, measurement in enumerate(self.measurements):
            if found.records[kind].rows:
                yield self._batch(measurement, kind, found.records[kind])

    def _batch(self, measurement: Measurement, kind: int, records: _Records[Message, Beside]) -> Batch:
        flows = np.frombuffer(b"".join(records.rows), self._layout)["flow"]
        columns: dict[str, Made] = {
            "timestamp": timestamps(flows, self.clock),
            "value": ones(len(flows)),
            **common(flows, self.containers),
        }
        columns |= self.columns(records.messages, pa.array(records.numbers, pa.int64()))
        columns |= self.beside(kind, records.values)
        return self.batch(measurement, columns)


@dataclass(slots=True)
class _Records(Generic[Message, Beside]):
    """Of one kind: their packets' rows, their messages' numbers, and what they tell beside those."""

    messages: list[Message] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    values: list[Beside] = field(default_factory=list)


class _Found(Generic[Message, Beside]):
    """What a drain told so far. records: by kind. bytes: about what it takes, payloads and distinct messages."""

    __slots__ = ("_kind", "_places", "_size", "bytes", "records")

    def __init__(
        self, kind: Callable[[Message], int], size: Callable[[Message], int], records: list[_Records[Message, Beside]]
    ) -> None:
        self.records = records
        self.bytes = 0
        self._kind = kind
        self._size = size
        self._places: dict[int, tuple[int, _Records[Message, Beside]]] = {}

    def add(self, told: Sequence[Told[Message, Beside]]) -> None:
        """These too."""
        for message, value, packet in told:
            place = self._places.get(id(message))
            if place is None:
                mine = self.records[self._kind(message)]
                place = self._places[id(message)] = len(mine.messages), mine
                mine.messages.append(message)
                self.bytes += self._size(message)
            number, mine = place
            mine.numbers.append(number)
            mine.rows.append(packet.row)
            mine.values.append(value)

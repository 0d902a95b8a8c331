"""A grain whose events carry packets (`struct packet` of probes/flow.h), which hold messages, whole or in part.

Messages are decoded one by one. The decoders give the same object for messages that say the same, so columns are made
of the distinct messages of a drain, and its rows look them up.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from ingrain.batch import Batch
from ingrain.grains.common import common, ones, timestamps
from ingrain.grains.grain import Grain, Made
from ingrain.grains.packets import Layout, Packet, in_time_order, layout, packets
from ingrain.kernel.records import Drained, select

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
    def told(self, packet: Packet, at: Layout) -> Sequence[Told[Message, Beside]] | None:
        """The messages that this packet completes. What cannot be read is counted as malformed or cut.

        None where it completes nothing, and nothing is counted: it is a part of what a later packet completes.
        """

    @abstractmethod
    def expire(self, now: int) -> Sequence[Told[Message, Beside]]:
        """Drop what began so long before `now` (nanoseconds, the packets' clock) that no more of it will come.

        Returns the messages that waited for it, and need not wait any longer.
        """

    @abstractmethod
    def kind(self, message: Message) -> int:
        """Which of the grain's measurements it is."""

    @abstractmethod
    def size(self, message: Message) -> int:
        """About how many bytes its text takes."""

    @abstractmethod
    def columns(self, messages: Sequence[Message], rows: pa.Array) -> Mapping[str, Callable[[], pa.Array]]:
        """What makes the columns of messages of one kind, by name. rows: number of each record's message (int64)."""

    @abstractmethod
    def beside(self, kind: int, values: Sequence[Beside]) -> Mapping[str, Made]:
        """The columns beside those: a value a record."""

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """A batch for each kind of message that there is; several where they are large."""
        if not len(drained.events):
            return
        drained = in_time_order(drained)
        self._layout = drained.events.dtype
        late = self._expired(int(drained.events["flow"]["time"][0]))
        self.further += len(late)
        found = self._found(late)
        rest = packets(drained)
        while not self._fill(found, rest, layout(self._layout)):
            yield from self._batches(found)
            found = self._found()
        yield from self._batches(found)

    def poll(self) -> Iterator[Batch]:
        """Messages that waited for what will not come."""
        last, self._last = self._last, []
        return self._batches(self._found([*last, *self._expired(time.monotonic_ns())]))

    def finish(self) -> None:
        """Drop all that is not whole; messages that waited for it come with the last `poll`."""
        self._last += self._expired(_FOREVER)

    def _fill(self, found: _Found[Message, Beside], packets: Iterator[Packet], at: Layout) -> bool:
        """Decode packets until there is enough for batches; whether these were all."""
        unread, before, events, parts = self.malformed + self.cut, len(found.rows), 0, 0
        room = BATCH_BYTES
        done = True
        for packet in packets:
            events += 1
            told = self.told(packet, at)
            if told is None:
                parts += 1
                continue
            found.add(told)
            room -= len(packet.payload)
            if found.bytes > room:
                done = False
                break
        self.parts += parts
        self.further += len(found.rows) - before + self.malformed + self.cut - unread - (events - parts)
        return done

    def _expired(self, now: int) -> Sequence[Told[Message, Beside]]:
        """As `expire`; the events in which it all came were counted when they came."""
        unread = self.malformed + self.cut
        told = self.expire(now)
        self.further += self.malformed + self.cut - unread
        return told

    def _found(self, told: Sequence[Told[Message, Beside]] = ()) -> _Found[Message, Beside]:
        found: _Found[Message, Beside] = _Found(self.size)
        found.add(told)
        return found

    def _batches(self, found: _Found[Message, Beside]) -> Iterator[Batch]:
        """One for each kind."""
        if not found.rows:
            return
        rows, numbers = np.frombuffer(b"".join(found.rows), self._layout), np.array(found.numbers)
        kinds = np.array([self.kind(message) for message in found.messages])
        for kind, measurement in enumerate(self.measurements):
            mine = kinds == kind
            chosen = mine[numbers]
            if chosen.any():
                messages = list(compress(found.messages, mine))
                places = pa.array((np.cumsum(mine) - 1)[numbers[chosen]])
                columns: dict[str, Made] = {**self.columns(messages, places)}
                columns |= self.beside(kind, list(compress(found.values, chosen)))
                flows = select(rows, chosen)["flow"]
                fixed = {"timestamp": timestamps(flows, self.clock), "value": ones(len(flows))}
                yield self.batch(measurement, fixed | common(flows, self.containers) | columns)


class _Found(Generic[Message, Beside]):
    """What was decoded of a drain so far.

    messages: the distinct ones, which take about so many `bytes`. Of each record: the number of its message among them,
    the row of its packet, and what it tells beside its message.
    """

    __slots__ = ("_places", "_size", "bytes", "messages", "numbers", "rows", "values")

    def __init__(self, size: Callable[[Message], int]) -> None:
        self.messages: list[Message] = []
        self.bytes = 0
        self.numbers: list[int] = []
        self.rows: list[bytes] = []
        self.values: list[Beside] = []
        self._size = size
        self._places: dict[int, int] = {}

    def add(self, told: Sequence[Told[Message, Beside]]) -> None:
        """These too."""
        for message, value, packet in told:
            number = self._places.get(id(message))
            if number is None:
                number = self._places[id(message)] = len(self.messages)
                self.messages.append(message)
                self.bytes += self._size(message)
            self.numbers.append(number)
            self.rows.append(packet.row)
            self.values.append(value)

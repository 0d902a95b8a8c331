"""A grain whose events carry packets (`struct packet` of probes/flow.h), which hold messages, whole or in part.

Messages are decoded one by one. The decoders give the same object for messages that say the same, so columns are made
of the distinct messages of a drain, and its rows look them up.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import pyarrow as pa

from ingrain.batch import Batch, Measurement
from ingrain.grains.common import common, ones, timestamps
from ingrain.grains.grain import Grain, Made
from ingrain.grains.packets import Layout, Packet, in_time_order, layout, packets
from ingrain.kernel.records import Drained

Message = TypeVar("Message")
Beside = TypeVar("Beside")
_FOREVER = 1 << 63


class MessageGrain(Grain, Generic[Message, Beside]):
    """Received + further = records + malformed + cut + parts, to the event.

    `Beside` is what a record tells that does not stand in its message, but follows from what came before it.
    """

    event = "packet"
    packets = True

    @abstractmethod
    def told(self, packet: Packet, at: Layout) -> Sequence[tuple[Message, Beside]]:
        """The messages that this packet completes. What cannot be read is counted as malformed or cut."""

    @abstractmethod
    def expire(self, now: int) -> None:
        """Let go of what began so long before `now` (nanoseconds, the packets' clock) that no more of it will come."""

    @abstractmethod
    def kind(self, message: Message) -> int:
        """Which of the grain's measurements it is."""

    @abstractmethod
    def columns(self, messages: Sequence[Message]) -> dict[str, pa.Array]:
        """The columns that messages of one kind tell, by their names."""

    @abstractmethod
    def beside(self, kind: int, values: Sequence[Beside]) -> dict[str, pa.Array]:
        """The columns beside those: a value a record."""

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """A batch for each kind of message that there is."""
        found: list[_Found[Message, Beside]] = [_Found() for _ in self.measurements]
        known: dict[int, tuple[int, _Found[Message, Beside]]] = {}
        at = layout(drained.events.dtype)
        drained = in_time_order(drained)
        for row, packet in enumerate(packets(drained)):
            unread = self.malformed + self.cut
            told = self.told(packet, at)
            for message, value in told:
                place = known.get(id(message))
                if place is None:
                    mine = found[self.kind(message)]
                    place = known[id(message)] = len(mine.messages), mine
                    mine.messages.append(message)
                number, mine = place
                mine.numbers.append(number)
                mine.rows.append(row)
                mine.values.append(value)
            unread = self.malformed + self.cut - unread
            if unread or len(told) != 1:
                self._count(len(told) + unread)
        for kind, measurement in enumerate(self.measurements):
            if found[kind].rows:
                yield self._batch(measurement, kind, found[kind], drained)

    def _count(self, outcomes: int) -> None:
        """Of one event: messages that were told, malformed or cut."""
        if outcomes:
            self.further += outcomes - 1
        else:
            self.parts += 1

    def poll(self) -> Iterator[Batch]:
        """No records, but memory."""
        self.expire(time.monotonic_ns())
        return iter(())

    def finish(self) -> None:
        """Let go of all that is not whole."""
        self.expire(_FOREVER)

    def _batch(self, measurement: Measurement, kind: int, found: _Found[Message, Beside], drained: Drained) -> Batch:
        flows = drained.events["flow"][found.rows]
        columns: dict[str, Made] = {
            "timestamp": timestamps(flows, self.clock),
            "value": ones(len(flows)),
            **common(flows, self.containers),
        }
        numbers = pa.array(found.numbers, pa.int64())
        for name, column in self.columns(found.messages).items():
            columns[name] = partial(column.take, numbers)
        columns |= self.beside(kind, found.values)
        return self.batch(measurement, columns)


@dataclass(slots=True)
class _Found(Generic[Message, Beside]):
    """Records of one kind: their packets' rows, their messages' numbers, and what they tell beside those."""

    messages: list[Message] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    values: list[Beside] = field(default_factory=list)

"""A grain whose events carry packets (`struct packet` of probes/flow.h), which hold messages, whole or in part.

Messages are decoded one by one. The decoders give the same object for messages that say the same, so columns are made
of the distinct messages of a drain, and its rows look them up.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa

from ingrain.batch import Batch
from ingrain.grains.common import common, ones, timestamps
from ingrain.grains.grain import Grain
from ingrain.grains.packets import Layout, Packet, layout, packets
from ingrain.kernel.records import Drained
from ingrain.wire.malformed import Cut, Malformed

Message = TypeVar("Message")
Beside = TypeVar("Beside")
_Arguments = ParamSpec("_Arguments")
_FOREVER = 1 << 63


class MessageGrain(Grain, Generic[Message, Beside]):
    """Received + further = records + malformed + cut + parts, to the event.

    `Beside` is what a record tells that does not stand in its message, but follows from what came before it.
    """

    event = "packet"
    packets = True

    @abstractmethod
    def told(self, packet: Packet, at: Layout) -> Iterable[tuple[Message, Beside]]:
        """The messages that this packet completes; `attempt` counts those that cannot be read."""

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

    def attempt(
        self, decode: Callable[_Arguments, Message], *arguments: _Arguments.args, **options: _Arguments.kwargs
    ) -> Message | None:
        """What this decoder gives; None, and counted, where it is malformed or cut."""
        try:
            return decode(*arguments, **options)
        except Malformed:
            self.malformed += 1
        except Cut:
            self.cut += 1
        return None

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """A batch for each kind of message that there is."""
        messages: list[Message] = []  # the distinct ones
        known: dict[int, int] = {}
        records: list[tuple[int, int]] = []  # row of the packet, number of the message
        values: list[Beside] = []
        at = layout(drained.events.dtype)
        for row, packet in packets(drained):
            outcomes = -len(records) - self.malformed - self.cut
            for message, value in self.told(packet, at):
                number = known.setdefault(id(message), len(messages))
                if number == len(messages):
                    messages.append(message)
                records.append((row, number))
                values.append(value)
            outcomes += len(records) + self.malformed + self.cut
            self.parts += not outcomes
            self.further += max(0, outcomes - 1)
        if records:
            yield from self._batches(drained, messages, np.array(records), values)

    def poll(self) -> Iterator[Batch]:
        """No records, but memory."""
        self.expire(time.monotonic_ns())
        return iter(())

    def finish(self) -> None:
        """Let go of all that is not whole."""
        self.expire(_FOREVER)

    def _batches(
        self,
        drained: Drained,
        messages: list[Message],
        records: np.ndarray[Any, np.dtype[np.int64]],
        values: list[Beside],
    ) -> Iterator[Batch]:
        rows, numbers = records.T
        kinds = np.array([self.kind(message) for message in messages])
        for kind, measurement in enumerate(self.measurements):
            chosen = np.flatnonzero(kinds == kind)
            if not len(chosen):
                continue
            mine = np.flatnonzero(kinds[numbers] == kind)
            place = np.zeros(len(messages), np.int64)
            place[chosen] = np.arange(len(chosen))
            indices = pa.array(place[numbers[mine]])
            flows = drained.events["flow"][rows[mine]]
            columns = {"timestamp": timestamps(flows, self.clock), "value": ones(len(flows)), **common(flows)}
            for name, column in self.columns([messages[one] for one in chosen]).items():
                columns[name] = column.take(indices)
            columns |= self.beside(kind, [values[one] for one in mine])
            arrays = [columns[name] for name in measurement.schema.names]
            yield Batch(measurement, pa.RecordBatch.from_arrays(arrays, schema=measurement.schema))

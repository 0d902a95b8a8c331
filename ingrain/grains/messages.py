"""A grain whose events carry a packet (`struct packet` of probes/flow.h): each is one message, and one record or none.

Messages are decoded one by one. The decoders give the same object for messages that say the same, so columns are made
of the distinct messages of a drain, and its rows look them up.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.batch import Batch
from ingrain.grains.common import common, ones, timestamps
from ingrain.grains.grain import Grain
from ingrain.kernel.records import Drained
from ingrain.wire.malformed import Cut, Malformed

Message = TypeVar("Message")


class MessageGrain(Grain, Generic[Message]):
    """Received = records + malformed + cut, to the event."""

    event = "packet"
    packets = True

    @abstractmethod
    def read(self, payload: bytes, *, whole: bool) -> Message:
        """The message in a payload, which is `whole` unless more was sent than captured. Raises Malformed or Cut."""

    @abstractmethod
    def kind(self, message: Message) -> int:
        """Which of the grain's measurements it is."""

    @abstractmethod
    def columns(self, messages: Sequence[Message]) -> list[pa.Array]:
        """The measurement's own columns, behind the common ones, for messages of one kind."""

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """A batch for each kind of message that there is."""
        messages, number = self._messages(drained)
        kinds = np.array([self.kind(message) for message in messages], dtype=np.int64)
        for kind, measurement in enumerate(self.measurements):
            chosen = np.flatnonzero(kinds == kind)
            if not len(chosen):
                continue
            place = np.full(len(messages) + 1, -1)  # the last is that of rows without a message, whose number is -1
            place[chosen] = np.arange(len(chosen))
            lookup = place[number]
            rows = lookup >= 0
            flows = drained.events["flow"][rows]
            indices = pa.array(lookup[rows])
            own = [column.take(indices) for column in self.columns([messages[one] for one in chosen])]
            arrays = [timestamps(flows), ones(len(flows)), *common(flows).values(), *own]
            yield Batch(measurement, pa.RecordBatch.from_arrays(arrays, schema=measurement.schema))

    def _messages(self, drained: Drained) -> tuple[list[Message], npt.NDArray[np.int64]]:
        """The distinct messages, and each event's message by its number; -1 for one that has none, which is counted."""
        messages: list[Message] = []
        known: dict[int, int] = {}
        numbers = []
        for payload, length in zip(drained.payloads, drained.events["payload_len"].tolist(), strict=True):
            number = -1
            try:
                message = self.read(payload, whole=len(payload) >= length)
            except Malformed:
                self.malformed += 1
            except Cut:
                self.cut += 1
            else:
                number = known.setdefault(id(message), len(messages))
                if number == len(messages):
                    messages.append(message)
            numbers.append(number)
        return messages, np.array(numbers, dtype=np.int64)

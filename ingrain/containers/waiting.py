"""Records that wait for the name of their container, so that nothing else has to.

Nearly all containers are known before their first record is read, and nothing is kept here then. Where one is not, its
records, and no others, are kept until it is, for as long and as many as the bounds allow.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ingrain.batch import Batch
from ingrain.containers.identity import NAMES
from ingrain.containers.thread import Containers

HOLD_S = 2.0
"""How long records wait at the most; a name that takes longer to find comes too late for them."""

HOLD_BYTES = 8 << 20
"""How much of a probe's waits at the most; beyond it the oldest are told as they are."""


@dataclass(frozen=True, slots=True)
class _Held:
    since: float
    size: int
    cgroup_id: int
    batch: Batch


class Waiting:
    """Records of one probe that wait. Those of a container keep their order."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._held: deque[_Held] = deque()
        self._size = 0

    def pass_on(self, *batches: Batch) -> Iterator[Batch]:
        """The records that need not wait, behind those that no longer have to; the others are kept.

        All the batches were made before: what is found from now on is not in them.
        """
        lacking = self._containers.lacking.copy()
        for batch in batches:
            yield from self.release()
            yield from self._pass_on(batch, lacking)

    def _pass_on(self, batch: Batch, lacking: set[int]) -> Iterator[Batch]:
        records = batch.records
        if not lacking or "cgroup_id" not in records.schema.names or NAMES.isdisjoint(records.schema.names):
            yield batch
            return
        waits = pc.is_in(records.column("cgroup_id"), pa.array(lacking, pa.uint64()))
        rest = records.filter(pc.invert(waits))
        if rest.num_rows:
            yield batch.with_records(rest)
        if rest.num_rows == records.num_rows:
            return
        records = records.filter(waits)
        cgroup_ids = records.column("cgroup_id")
        for one in cgroup_ids.unique().to_pylist():  # each by itself, so that none waits for another
            part = records.filter(pc.equal(cgroup_ids, pa.scalar(one, pa.uint64())))
            self._held.append(_Held(time.monotonic(), part.get_total_buffer_size(), one, batch.with_records(part)))
            self._size += self._held[-1].size
        while self._size > HOLD_BYTES:
            yield self._end(self._held.popleft())

    def release(self) -> Iterator[Batch]:
        """Those whose containers are known now, and those that have waited long enough."""
        if not self._held:
            return
        self._containers.settle()
        now = time.monotonic()
        for _ in range(len(self._held)):
            held = self._held.popleft()
            if now - held.since > HOLD_S or held.cgroup_id not in self._containers.lacking:
                yield self._end(held)
            else:
                self._held.append(held)

    def release_all(self) -> Iterator[Batch]:
        """All of them: no more records will come."""
        while self._held:
            yield self._end(self._held.popleft())

    def _end(self, held: _Held) -> Batch:
        """With what is known of their container now; nobody waits for the rest any more."""
        self._size -= held.size
        records = held.batch.records
        cgroup_ids = records.column("cgroup_id").to_numpy()
        self._containers.give_up(cgroup_ids)
        for name, column in self._containers.columns(cgroup_ids).items():
            if (at := records.schema.get_field_index(name)) >= 0:
                records = records.set_column(at, name, column)
        return held.batch.with_records(records)

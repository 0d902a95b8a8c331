"""Stand-ins for pipelines, as far as a probe sees them: what they were offered, while they are open."""

from __future__ import annotations

from typing import Any

from ingrain.account import Account
from ingrain.batch import Batch


class Door:
    """A pipeline's. `batches`: what it took."""

    wants: frozenset[str] | None = None

    def __init__(self, name: str = "door") -> None:
        self.name = name
        self.batches: list[Batch] = []

    def offer(self, batch: Batch) -> bool:
        self.batches.append(batch)
        return True

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All records, with their measurement, or their own name where they have one."""
        return [row for batch in self.batches for row in rows(batch)]


def rows(batch: Batch) -> list[dict[str, Any]]:
    """Records without timestamps, with the name of each."""
    found = []
    for row in batch.records.drop_columns(["timestamp"]).to_pylist():
        name = row.pop(batch.measurement.named_by) if batch.measurement.named_by else batch.measurement.name
        found.append({"name": name} | row)
    return found


def nothing() -> Account:
    """The account of an agent that has none."""
    return Account([], {})

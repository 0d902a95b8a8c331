"""Container: add container tags under ingraind's names. In: any batch; out: the same rows with more tags.

Every record has its container already, from its cgroup: what this adds is `container_id`, `container`, `pod` and
`namespace` under the names that ingraind gives them. Nothing is asked of any engine here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from ingrain.account import Station
from ingrain.batch import Batch
from ingrain.columns import as_text
from ingrain.settings import Settings
from ingrain.stage import Downstream, Step
from ingrain.tags import aside

_OF: dict[str | None, dict[str, tuple[str, ...]]] = {
    None: {"docker_id": ("container_id",)},
    "Kubernetes": {
        "docker_id": ("container_id",),
        "kubernetes_namespace": ("namespace",),
        "kubernetes_pod_name": ("pod",),
    },
    "Docker": {"docker_id": ("container_id",), "docker_name": ("container", "pod")},
}
"""System -> the tags that are added -> the column that each is, and the one whose records it is not for."""


class ContainerSettings(Settings, frozen=True):
    """Which names are added; all are `TEXT`, and null for records of no such container.

    system: names to add to `docker_id`, the container's id: `kubernetes_namespace` and `kubernetes_pod_name`, or
        `docker_name` for containers outside of pods, whatever their engine
    """

    system: Literal["Docker", "Kubernetes"] | None = None


class Container(Step):
    """Columns under other names: no row is looked at, but to leave pods out. What a batch lacks is not added."""

    Settings = ContainerSettings

    def __init__(self, settings: ContainerSettings, station: Station, downstream: Downstream) -> None:
        super().__init__(station, downstream)
        self._adds = _OF[settings.system]

    @classmethod
    def wants(cls, settings: ContainerSettings, after: frozenset[str] | None) -> frozenset[str] | None:
        """What those after it want, and what it makes of it."""
        if after is None:
            return None
        return (after - _OF[settings.system].keys()) | cls.needs(settings, after)

    @classmethod
    def needs(cls, settings: ContainerSettings, after: frozenset[str] | None) -> frozenset[str]:
        """All columns that it looks at."""
        adds = _OF[settings.system]
        return frozenset().union(*(sources for tag, sources in adds.items() if after is None or tag in after))

    @classmethod
    def leaves(cls, settings: ContainerSettings, before: frozenset[str]) -> frozenset[str]:
        """What it adds, too."""
        return before | {tag for tag, sources in _OF[settings.system].items() if before.issuperset(sources)}

    def process(self, batch: Batch) -> Iterable[Batch]:
        """The batch with these tags, too, and without what came for them alone."""
        hidden = aside("")
        found = {name.removeprefix(hidden): batch.records.column(name) for name in batch.tags}
        added = {
            tag: _without(*(found[source] for source in sources))
            for tag, sources in self._adds.items()
            if found.keys() >= set(sources)
        }
        ended = [name for name in batch.tags if name.startswith(hidden) and name not in self.carried]
        yield batch.with_records(batch.records.drop_columns(ended)).with_tags(added)


def _without(column: pa.Array, those: pa.Array | None = None) -> pa.DictionaryArray:
    """The column as `TEXT`, null where the other one is not."""
    text = as_text(column)
    if those is None or those.null_count == len(those):
        return text
    indices = pc.if_else(those.is_valid(), pa.scalar(None, pa.int32()), text.indices)
    return pa.DictionaryArray.from_arrays(indices, text.dictionary, safe=False)

"""What is known of cgroups: which container each is in, so that a lookup is one look into a dict.

The resolver's thread writes it, the reader's reads it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from ingrain.containers.identity import Identity
from ingrain.containers.paths import Place

KEPT = 1 << 12
"""Cgroups that are gone, or were only asked for: remembered at the most, the last ones; up to 1 KB each."""


@dataclass(slots=True, eq=False)
class Container:
    """One container, or pod, that has cgroups; `identity` is replaced when its record is read, or has changed."""

    place: Place
    path: str
    identity: Identity
    settled: bool = False
    """Whether there is nothing to wait for: its record was read, or does not come soon."""
    read: bool = False
    """Whether its record was looked for."""
    found: bool = False
    """Whether there ever was one."""
    tries: int = 0
    """Readings since there was a record."""
    waited: bool = False
    """Whether records have waited for it in vain; later ones do not."""
    cgroups: set[int] = field(default_factory=set)
    """Those that are there."""


class Known:
    """Cgroup id -> its container, None where it is in none. Those that are there stay; others are forgotten in time."""

    def __init__(self, kept: int = KEPT) -> None:
        self.cgroups: dict[int, Container | None] = {}
        self.changes = 0
        """How often the identity of a container that was settled was replaced by another."""
        self._kept = kept
        self._passing: OrderedDict[int, None] = OrderedDict()

    def put(self, cgroup_id: int, container: Container | None, *, stays: bool) -> None:
        """Note a cgroup. stays: until `leave` is called."""
        self.cgroups[cgroup_id] = container
        if container is not None:
            container.cgroups.add(cgroup_id)
        if stays:
            self._passing.pop(cgroup_id, None)
        else:
            self._pass(cgroup_id)

    def identify(self, container: Container, identity: Identity) -> None:
        """Its record was read."""
        self.changes += container.settled and container.identity != identity
        container.identity = identity
        container.settled = True

    def leave(self, cgroup_id: int) -> Container | None:
        """It is gone; records of it may still come. Its container."""
        container = self.cgroups.get(cgroup_id)
        if container is not None:
            container.cgroups.discard(cgroup_id)
        self._pass(cgroup_id)
        return container

    def _pass(self, cgroup_id: int) -> None:
        self._passing[cgroup_id] = None
        self._passing.move_to_end(cgroup_id)
        while len(self._passing) > self._kept:
            oldest, _ = self._passing.popitem(last=False)
            container = self.cgroups.pop(oldest, None)
            if container is not None:
                container.cgroups.discard(oldest)

"""From cgroups to containers: what a cgroup's path tells, and what engines have on record, kept up to date.

One thread calls it (ingrain/containers/thread.py); it may wait for disks as long as they take.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import time
from pathlib import Path

from ingrain.containers import paths
from ingrain.containers.handles import Handles, walk
from ingrain.containers.identity import Identity
from ingrain.containers.known import Container, Known
from ingrain.containers.paths import Place
from ingrain.containers.record import Record
from ingrain.containers.records import Records
from ingrain.containers.tree import Tree

log = logging.getLogger(__name__)

REFRESH_S = 2.0
"""How often a container's record is looked at again, which may have got another name."""

FIRST_S = 0.01
"""After how long a record that is absent or half written is looked at again; each time after, twice as long."""

QUICK = 5
"""Readings, within some 0.15 s, after which no record waits for a record any more; it is looked for as ever."""


class Resolver:
    """Cgroups below `mount`; the host's files are at `host`. What it finds stands in `known`."""

    def __init__(self, mount: Path, host: Path) -> None:
        self.known = Known()
        self._mount = mount
        self._records = Records(host)
        self._containers: dict[tuple[int | None, str | None, str | None], Container] = {}
        self._due: list[tuple[float, int, Container]] = []
        self._order = itertools.count()
        self._handles: Handles | None = Handles(mount)
        self._tree: Tree | None = None
        try:
            self._tree = Tree(mount, self._made, self._gone)
        except OSError as error:
            log.warning("cgroups cannot be followed as they are made (%s): raise fs.inotify.max_user_instances", error)

    @property
    def fd(self) -> int | None:
        """Readable when cgroups came or went: call `follow`."""
        return None if self._tree is None else self._tree.fd

    def scan(self) -> None:
        """Find all cgroups that there are."""
        if self._tree is not None:
            self._tree.scan()

    def follow(self) -> None:
        """Find those that came, and let go of those that went."""
        if self._tree is not None:
            self._tree.read()

    def answer(self, cgroup_ids: list[int]) -> None:
        """Find these, which somebody asks for. Each stands in `known` afterwards, whether it is there or not."""
        self.follow()
        unknown = {one for one in cgroup_ids if one not in self.known.cgroups}
        found = self._paths(unknown) if unknown else {}
        for cgroup_id in unknown:
            self._note(cgroup_id, found.get(cgroup_id), stays=False)

    def refresh(self) -> float | None:
        """Read the records that are due; seconds until the next one is, None where none will be."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, container = heapq.heappop(self._due)
            if container.cgroups and not os.path.exists(self._mount / container.path):  # noqa: PTH110 - no Path for each
                self._retire(container)
            if container.cgroups:
                self._read(container)
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def close(self) -> None:
        """Let go of everything."""
        if self._tree is not None:
            self._tree.close()
        if self._handles is not None:
            self._handles.close()

    def _paths(self, cgroup_ids: set[int]) -> dict[int, str | None]:
        if self._handles is not None:
            try:
                return {one: self._handles.path(one) for one in cgroup_ids}
            except PermissionError as error:
                log.warning("%s; when one is not known, all cgroups are looked through", error)
                self._handles.close()
                self._handles = None
        return {identifier: path for path, identifier in walk(self._mount) if identifier in cgroup_ids}

    def _made(self, path: str, cgroup_id: int) -> None:
        self._note(cgroup_id, path, stays=True)

    def _gone(self, cgroup_id: int) -> None:
        container = self.known.leave(cgroup_id)
        if container is not None and not container.cgroups:
            self._retire(container)

    def _note(self, cgroup_id: int, path: str | None, *, stays: bool) -> None:
        place = None if path is None else paths.place(path)
        if place is None or path is None:
            self.known.put(cgroup_id, None, stays=stays)
            return
        key = place.user, place.container_id, None if place.container_id else place.pod_uid
        container = self._containers.get(key)
        if container is None or not container.cgroups:
            container = self._containers[key] = Container(place, _own(path, place), Identity(place.container_id))
            self.known.put(cgroup_id, container, stays=stays)
            self._read(container)
        else:
            self.known.put(cgroup_id, container, stays=stays)

    def _read(self, container: Container) -> None:
        """Read its record. One that is no longer there leaves the container what it was."""
        wait = REFRESH_S
        try:
            record = self._records.find(container.place)
            if record is None:
                wait = min(REFRESH_S, FIRST_S * 2 ** min(container.tries, QUICK + QUICK))
                container.tries += 1
                container.settled = container.settled or container.tries >= QUICK
            else:
                container.tries = 0
                container.identity = _identity(container.place, record)
                container.settled = True
        finally:
            heapq.heappush(self._due, (time.monotonic() + wait, next(self._order), container))

    def _retire(self, container: Container) -> None:
        """None of its cgroups is there any more. It stays who it is for the records that may still come."""
        container.cgroups.clear()
        container.settled = True
        place = container.place
        key = place.user, place.container_id, None if place.container_id else place.pod_uid
        if self._containers.get(key) is container:
            del self._containers[key]


def _own(path: str, place: Place) -> str:
    """The container's own cgroup, which this one is or is below."""
    end = path.find("/", path.index(place.container_id)) if place.container_id else -1
    return path if end < 0 else path[:end]


def _identity(place: Place, record: Record) -> Identity:
    return Identity(place.container_id, record.name, record.image, record.pod, record.namespace)

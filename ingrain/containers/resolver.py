"""From cgroups to containers: what a cgroup's path tells, and what engines have on record, kept up to date.

One thread calls it (ingrain/containers/thread.py); it may wait for disks as long as they take.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import time
from dataclasses import replace
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
"""After how long a record that is absent or half written is looked at again; each time after, twice as long,"""

SELDOM_S = 60.0
"""and no longer than this, where there never was one."""

QUICK = 5
"""Readings, within some 0.15 s, after which no record waits for a record any more; it is looked for as ever."""

OF_A_USER = 1024
"""Containers of one user, not root, whose records are looked for: a user may make cgroups of whatever names."""

USERS_S, PAUSE_S = 0.05, 0.5
"""How long records of users are read at a time, behind those of root; and when what is left of them is, after that."""

_NOBODY = -1  # a user who has no records
_DOUBLED = 16  # times: no wait is longer than SELDOM_S then


_Due = tuple[float, int, Container]


class Resolver:
    """Cgroups below `mount`; the host's files are at `host`. What it finds stands in `known`."""

    def __init__(self, mount: Path, host: Path) -> None:
        self.known = Known()
        self._mount = mount
        self._records = Records(host)
        self._containers: dict[tuple[int | None, str | None, str | None], Container] = {}
        self._due: list[_Due] = []
        self._due_of_users: list[_Due] = []
        self._users_from = 0.0
        self._of_users: dict[int, set[Container]] = {}
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
        """Read the records that are due; seconds until the next one is, None where none will be.

        Those of users come last, and have a share of the time: what they hold, and how many there are, is up to them.
        """
        while container := self._next(self._due):
            self._look_at(container)
        begun = time.monotonic()
        if begun >= self._users_from:
            while container := self._next(self._due_of_users):
                self._look_at(container)
                if time.monotonic() - begun > USERS_S:
                    self._users_from = time.monotonic() + PAUSE_S
                    break
        due = [queue[0][0] for queue in (self._due, self._due_of_users) if queue]
        if self._due_of_users:
            due[-1] = max(due[-1], self._users_from)
        return max(0.0, min(due) - time.monotonic()) if due else None

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
        own = _own(path, place)
        if place.user is None:
            place = replace(place, user=self._maker(own))
        key = place.user, place.container_id, None if place.container_id else place.pod_uid
        container = self._containers.get(key)
        if container is not None and container.cgroups:
            self.known.put(cgroup_id, container, stays=stays)
            return
        container = self._containers[key] = Container(place, own, Identity(place.container_id))
        self.known.put(cgroup_id, container, stays=stays)
        if place.user is None:
            self._read(container)
        elif self._is_looked_for(container):
            self._queue(container, time.monotonic())
        else:
            container.settled = True

    def _maker(self, own: str) -> int | None:
        """The user who may make cgroups where the container's own is; None: root alone, as for root's engines."""
        try:
            owner = (self._mount / own).parent.stat().st_uid
        except OSError:
            return _NOBODY  # it is gone; nobody can tell
        return owner or None

    def _is_looked_for(self, container: Container) -> bool:
        looked_for = self._of_users.setdefault(container.place.user or 0, set())
        if len(looked_for) >= OF_A_USER:
            return False
        looked_for.add(container)
        return True

    def _queue(self, container: Container, due: float) -> None:
        queue = self._due if container.place.user is None else self._due_of_users
        heapq.heappush(queue, (due, next(self._order), container))

    def _next(self, queue: list[_Due]) -> Container | None:
        """The first that is due."""
        if queue and queue[0][0] <= time.monotonic():
            return heapq.heappop(queue)[2]
        return None

    def _look_at(self, container: Container) -> None:
        if container.cgroups and not os.path.exists(self._mount / container.path):  # noqa: PTH110 - no Path for each
            self._retire(container)
        if container.cgroups or not container.read:
            self._read(container)
        container.settled = container.settled or not container.cgroups

    def _read(self, container: Container) -> None:
        """Read its record. One that is no longer there leaves the container what it was."""
        wait = REFRESH_S
        container.read = True
        try:
            record = self._records.find(container.place)
            if record is not None:
                container.tries = 0
                container.found = True
                self.known.identify(container, _identity(container.place, record))
            else:
                wait = FIRST_S * 2 ** min(container.tries, _DOUBLED)
                wait = min(wait, REFRESH_S if container.found else SELDOM_S)
                container.tries += 1
                container.settled = container.settled or container.tries >= QUICK
        finally:
            self._queue(container, time.monotonic() + wait)

    def _retire(self, container: Container) -> None:
        """None of its cgroups is there any more. It stays who it is for the records that may still come."""
        container.cgroups.clear()
        container.settled = container.settled or container.read
        place = container.place
        key = place.user, place.container_id, None if place.container_id else place.pod_uid
        if self._containers.get(key) is container:
            del self._containers[key]
        if place.user is not None and (looked_for := self._of_users.get(place.user)):
            looked_for.discard(container)
            if not looked_for:
                del self._of_users[place.user]


def _own(path: str, place: Place) -> str:
    """The container's own cgroup, which this one is or is below."""
    end = path.find("/", path.index(place.container_id)) if place.container_id else -1
    return path if end < 0 else path[:end]


def _identity(place: Place, record: Record) -> Identity:
    return Identity(place.container_id, record.name, record.image, record.pod, record.namespace)

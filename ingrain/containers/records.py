"""All engines' records: asked in the order that a container's cgroup suggests, what one lacks filled in by the next."""

from __future__ import annotations

from pathlib import Path

from ingrain.containers.bundle import Containerd
from ingrain.containers.conmon import Monitors
from ingrain.containers.docker import Docker
from ingrain.containers.documents import Documents
from ingrain.containers.kubelet import Kubelet
from ingrain.containers.paths import Engine, Place
from ingrain.containers.record import Record
from ingrain.containers.storage import Storage

_PASSWD_LIMIT = 1 << 22
_PASSWD_FIELDS = 7


class Records:
    """The records on `host`, the folder where the host's root file system is. Nothing is ever written."""

    def __init__(self, host: Path) -> None:
        self._host = host
        self._monitors = Monitors(host)
        self._docker = Docker(host)
        self._storage = Storage(host)
        self._containerd = Containerd(host)
        self._kubelet = Kubelet(host)
        self._homes = Documents(_homes, _PASSWD_LIMIT)

    def find(self, place: Place) -> Record | None:
        """What is on record; None where nothing is, yet or any more. May take as long as the disk does."""
        home = None
        if place.user is not None:
            home = self._home(place.user)
            if home is None:
                return None
        found = Record()
        if place.container_id is not None:
            found = self._by_engine(place.container_id, place, home)
        if place.user is None and not found.pod and (place.pod_uid or not found):
            found = found.otherwise(self._kubelet.find(place.container_id, place.pod_uid))
        return found or None

    def _by_engine(self, container_id: str, place: Place, home: Path | None) -> Record:
        found = Record()
        if place.engine in {Engine.DOCKER, Engine.ANY}:
            found = found.otherwise(self._docker.find(container_id, home))
        if place.engine in {Engine.PODMAN, Engine.CRIO, Engine.ANY} and not found:
            found = found.otherwise(self._storage.find(container_id, place.engine, home, place.user))
        if place.engine in {Engine.CONTAINERD, Engine.ANY} and not found and place.user is None:
            found = found.otherwise(self._containerd.find(container_id))
        if place.engine in {Engine.PODMAN, Engine.CRIO} and not found:
            found = found.otherwise(self._by_monitor(container_id, place.engine, place.user or 0))
        return found

    def _by_monitor(self, container_id: str, engine: Engine, user: int) -> Record | None:
        monitor = self._monitors.find(container_id, user)
        if monitor is None:
            return None
        stored = None
        if monitor.store is not None:
            stored = self._storage.find_in_store(monitor.store, container_id, engine)
        return (stored or Record()).otherwise(Record(monitor.name))

    def _home(self, user: int) -> Path | None:
        home = (self._homes.read(self._host / "etc", "passwd") or {}).get(user)
        return None if home is None else self._host / home.lstrip("/")


def _homes(data: bytes) -> dict[int, str]:
    """Each user's home (passwd(5)). Users that only a directory service knows have none here."""
    homes: dict[int, str] = {}
    for line in data.decode(errors="surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) == _PASSWD_FIELDS and fields[2].isascii() and fields[2].isdecimal() and len(fields[2]) < 11:  # noqa: PLR2004
            homes.setdefault(int(fields[2]), fields[5])
    return homes

"""Records of Podman and CRI-O, which keep containers in the same kind of store (containers/storage, containers.go).

`DRIVER-containers/containers.json` lists names and images; `DRIVER-containers/ID/userdata/config.json` is the
container's OCI bundle, in which CRI-O names pod and container.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ingrain.containers.bundle import CONFIG, bundles
from ingrain.containers.documents import Documents, decode_json
from ingrain.containers.paths import Engine
from ingrain.containers.record import CRIO, ID, Record, text

_LIMIT = 16 << 20  # some 1 KB a container
_USERS_LIMIT, _USERS_KEPT = 1 << 20, 8  # of users' lists, which hold whatever they like
_DRIVERS = ("overlay", "vfs", "btrfs", "zfs")
_LISTS = ("containers.json", "volatile-containers.json")

Root = tuple[Path, *tuple[str, ...]]
"""A store: a folder, and the folders below it that lead there."""


class _Listed(msgspec.Struct):
    id: str
    names: list[str] | None = None
    metadata: str | None = None


class _Metadata(msgspec.Struct):
    image_name: str | None = msgspec.field(name="image-name", default=None)


class Storage:
    """Containers in the stores on `host`."""

    def __init__(self, host: Path) -> None:
        self._host = host
        self._lists = Documents(_records, _LIMIT)
        self._users_lists = Documents(_records, _USERS_LIMIT, _USERS_KEPT)
        self._bundles = bundles(CRIO)

    def find(self, container_id: str, engine: Engine, home: Path | None, user: int | None) -> Record | None:
        """Its record. home, user: whose own, rootless, stores it is in."""
        if home is None or user is None:
            roots: list[Root] = [(self._host / "var/lib/containers/storage",), (self._host / "run/containers/storage",)]
        else:
            run = self._host / "run/user" / str(user)
            roots = [(home, ".local", "share", "containers", "storage"), (run, "containers")]
        return self._find_in(roots, container_id, engine, self._lists if user is None else self._users_lists)

    def find_in_store(self, store: Path, container_id: str, engine: Engine) -> Record | None:
        """Its record in this store, which is root's."""
        return self._find_in([(store,)], container_id, engine, self._lists)

    def _find_in(
        self, roots: list[Root], container_id: str, engine: Engine, lists: Documents[dict[str, Record]]
    ) -> Record | None:
        """Its record in one of these stores: what its annotations say, unless it is Podman's, and otherwise its list.

        Podman writes none of these annotations, but copies those of the image.
        """
        found = Record()
        for root in roots if engine is not Engine.PODMAN else ():
            for driver in _DRIVERS:
                folder = (*root, f"{driver}-containers")
                found = found.otherwise(self._bundles.read(*folder, container_id, "userdata", CONFIG))
        for root in roots:
            for driver in _DRIVERS:
                for name in _LISTS:
                    listed = lists.read(*root, f"{driver}-containers", name) or {}
                    found = found.otherwise(listed.get(container_id))
        return found or None


def _records(data: bytes) -> dict[str, Record]:
    return {one.id: _record(one) for one in decode_json(data, list[_Listed]) if ID.fullmatch(one.id)}


def _record(one: _Listed) -> Record:
    """Its first name is the one that a change of name changes; the metadata keeps the one that it was made with."""
    try:
        image = decode_json((one.metadata or "{}").encode(), _Metadata).image_name
    except ValueError:
        image = None
    return Record(text((one.names or [""])[0] if one.names else None), text(image))

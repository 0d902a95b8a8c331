"""Docker's records: `containers/ID/config.v2.json` below its data root (moby, daemon/container/container.go)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ingrain.containers.documents import Documents, decode_json
from ingrain.containers.record import CRI_DOCKERD, Record, text

_LIMIT = 1 << 20
_SETTINGS = "daemon.json"
_KUBELETS = "k8s_"  # how names begin that cri-dockerd gives (core/naming.go of it)


class _Settings(msgspec.Struct):
    data_root: str | None = msgspec.field(name="data-root", default=None)


class _Inner(msgspec.Struct):
    Image: str | None = None
    Labels: dict[str, str] | None = None


class _Config(msgspec.Struct):
    Name: str | None = None
    Config: _Inner | None = None


class Docker:
    """Containers of the Docker on `host`, the folder where its root file system is."""

    def __init__(self, host: Path) -> None:
        self._host = host
        self._settings = Documents(_data_root, _LIMIT)
        self._configs = Documents(_record, _LIMIT)

    def find(self, container_id: str, home: Path | None) -> Record | None:
        """Its record. home: of the user whose own, rootless, Docker it is."""
        for root in self._roots(home):
            if record := self._configs.read(*root, "containers", container_id, "config.v2.json"):
                return record
        return None

    def _roots(self, home: Path | None) -> list[tuple[Path, *tuple[str, ...]]]:
        if home is not None:
            return [(home, ".local", "share", "docker")]
        roots = [self._host / "var/lib/docker", self._host / "var/snap/docker/common/var-lib-docker"]
        if moved := self._settings.read(self._host / "etc/docker", _SETTINGS):
            roots.insert(0, self._host / moved.lstrip("/"))
        return [(root,) for root in roots]


def _data_root(data: bytes) -> str | None:
    return decode_json(data, _Settings).data_root


def _record(data: bytes) -> Record:
    config = decode_json(data, _Config)
    inner = config.Config or _Inner()
    name = (config.Name or "").removeprefix("/")
    labels = inner.Labels if name.startswith(_KUBELETS) else None  # of any other they are the image's, or whoever's
    return CRI_DOCKERD.record(labels).otherwise(Record(text(name), text(inner.Image)))

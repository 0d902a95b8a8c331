"""What the kubelet's folders of logs tell by their names: pod, namespace and container, whatever the engine is."""

from __future__ import annotations

from pathlib import Path

from ingrain.containers.documents import listing
from ingrain.containers.record import Record, text

_NAMES = 1 << 14  # looked at; a node has some hundred
_PARTS = 3


class Kubelet:
    """Pods of the kubelet on `host`."""

    def __init__(self, host: Path) -> None:
        self._logs = host / "var/log/containers"
        self._pods = host / "var/log/pods"

    def find(self, container_id: str | None, pod_uid: str | None) -> Record | None:
        """By the container's id, `POD_NAMESPACE_CONTAINER-ID.log`; else by its pod's, `NAMESPACE_POD_UID`."""
        if container_id is not None:
            end = f"-{container_id}.log"
            for name in listing(self._logs, _NAMES):
                parts = name.removesuffix(end).split("_")
                if name.endswith(end) and len(parts) == _PARTS:
                    return Record(text(parts[2]), pod=text(parts[0]), namespace=text(parts[1]))
        if pod_uid is not None:
            for name in listing(self._pods, _NAMES):
                parts = name.split("_")
                if len(parts) == _PARTS and parts[2] == pod_uid:
                    return Record(pod=text(parts[1]), namespace=text(parts[0]))
        return None

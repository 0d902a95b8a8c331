"""OCI bundles: the `config.json` that an engine gives its runtime, of which the annotations tell what a container is.

containerd keeps them below its state folder, a folder a namespace of its own (`k8s.io`, `default`, `moby`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from ingrain.containers.documents import Documents, decode_json, listing
from ingrain.containers.record import CONTAINERD, Labels, Record

CONFIG = "config.json"

_LIMIT = 1 << 20
_NAMESPACES = 64  # looked at: an engine on containerd has one
_TASKS = "io.containerd.runtime.v2.task"
_STATES = ("run/containerd", "run/k3s/containerd", "var/snap/microk8s/common/run/containerd")


class _Spec(msgspec.Struct):
    annotations: dict[str, str] | None = None


def bundles(labels: Labels) -> Documents[Record]:
    """Reads the annotations of bundles' `config.json`. labels: those of the engine that wrote them."""
    return Documents(partial(_record, labels), _LIMIT)


class Containerd:
    """Containers of the containerds on `host`."""

    def __init__(self, host: Path) -> None:
        self._states = [host / state / _TASKS for state in _STATES]
        self._bundles = bundles(CONTAINERD)

    def find(self, container_id: str) -> Record | None:
        """Its record, from whichever namespace it is in."""
        for state in self._states:
            for namespace in listing(state, _NAMESPACES):
                if record := self._bundles.read(state, namespace, container_id, CONFIG):
                    return record
        return None


def _record(labels: Labels, data: bytes) -> Record:
    return labels.record(decode_json(data, _Spec).annotations)

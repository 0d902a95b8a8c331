"""What an engine has on record about a container, and the labels by which engines and Kubernetes say it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ingrain.text import safe

TEXT_LIMIT = 1024
"""Characters that are kept of a name: none of Docker's, OCI's or Kubernetes' own is as long."""

ID = re.compile("[0-9a-f]{64}")
"""A container's id, as all engines that are known here make it."""

SANDBOX = "POD"
"""Name of the container that does nothing but hold a pod's namespaces, as the kubelet calls it."""


@dataclass(frozen=True, slots=True)
class Record:
    """All is safe text; None is what is not on record."""

    name: str | None = None
    image: str | None = None
    pod: str | None = None
    namespace: str | None = None

    def otherwise(self, other: Record | None) -> Record:
        """With what the other one knows, where this one does not."""
        if other is None:
            return self
        names = (field.name for field in fields(self))
        return Record(*(getattr(self, name) or getattr(other, name) for name in names))

    def __bool__(self) -> bool:
        return any((self.name, self.image, self.pod, self.namespace))


_LABELS = {
    # containerd's CRI plug-in (internal/cri/annotations), CRI-O (pkg/annotations) and cri-dockerd, which writes the
    # kubelet's own names (types/labels.go of it) as CRI-O does; nerdctl (pkg/labels).
    "name": ("io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"),
    "image": (
        "io.kubernetes.cri.image-name",
        "io.kubernetes.cri-o.ImageName",
        "io.kubernetes.cri.podsandbox.image-name",
    ),
    "pod": ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    "namespace": ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
}
_SANDBOXES = {
    "io.kubernetes.cri.container-type": "sandbox",
    "io.kubernetes.cri-o.ContainerType": "sandbox",
    "io.kubernetes.docker.type": "podsandbox",
}


def of_labels(labels: Mapping[str, str] | None) -> Record:
    """What a container's labels, or its OCI annotations, say."""
    labels = labels or {}
    told = {field: next((labels[key] for key in keys if labels.get(key)), None) for field, keys in _LABELS.items()}
    if any(labels.get(key) == value for key, value in _SANDBOXES.items()):
        told["name"] = SANDBOX
    return Record(**{field: text(value) for field, value in told.items()})


def text(value: str | None) -> str | None:
    """Safe text of bounded length, of a JSON document or a name of a file; None for none, and for an empty one."""
    return safe(os.fsencode(value[:TEXT_LIMIT])) if value else None

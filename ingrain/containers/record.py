"""What an engine has on record about a container, and the labels by which each says it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Labels:
    """Keys by which an engine says what a container is, in its labels or OCI annotations.

    Only those that this engine writes itself, whatever there is: an image has labels and annotations of its own, which
    stand among them. name, image: the first that is there. sandbox: key and value that say that it is one.
    """

    name: tuple[str, ...]
    pod: str
    namespace: str
    sandbox: tuple[str, str]
    image: tuple[str, ...] = ()

    def record(self, labels: Mapping[str, str] | None) -> Record:
        """What these labels say."""
        labels = labels or {}
        key, value = self.sandbox
        name = SANDBOX if labels.get(key) == value else _first(labels, self.name)
        return Record(
            text(name), text(_first(labels, self.image)), text(labels.get(self.pod)), text(labels.get(self.namespace))
        )


def _first(labels: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((labels[key] for key in keys if labels.get(key)), None)


_KUBELETS = ("io.kubernetes.container.name",), "io.kubernetes.pod.name", "io.kubernetes.pod.namespace"

CRI_DOCKERD = Labels(*_KUBELETS, ("io.kubernetes.docker.type", "podsandbox"))
"""Of Docker below Kubernetes (core/labels.go of cri-dockerd)."""

CRIO = Labels(*_KUBELETS, ("io.kubernetes.cri-o.ContainerType", "sandbox"), ("io.kubernetes.cri-o.ImageName",))
"""Of CRI-O (pkg/annotations)."""

CONTAINERD = Labels(
    ("io.kubernetes.cri.container-name", "nerdctl/name"),
    "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.cri.sandbox-namespace",
    ("io.kubernetes.cri.container-type", "sandbox"),
    ("io.kubernetes.cri.image-name", "io.kubernetes.cri.podsandbox.image-name"),
)
"""Of containerd's CRI plug-in (internal/cri/annotations) and nerdctl (pkg/labels)."""


def text(value: str | None) -> str | None:
    """Safe text of bounded length, of a JSON document or a name of a file; None for none, and for an empty one."""
    return safe(os.fsencode(value[:TEXT_LIMIT])) if value else None

"""Which container a cgroup belongs to, by its path below the cgroup v2 mount: one table of what engines call theirs.

The outermost container of a path is the one that counts: what runs in cgroups which a container makes for itself
(systemd in it, or another engine) belongs to it, and no container can pass for another one by the names of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from ingrain.containers.record import ID


class Engine(Enum):
    """Whose records tell more. ANY: the path does not say it."""

    DOCKER = auto()
    PODMAN = auto()
    CRIO = auto()
    CONTAINERD = auto()
    ANY = auto()


@dataclass(frozen=True, slots=True)
class Place:
    """What a path tells. Without a container_id it is a pod's own cgroup.

    user: whose service manager the cgroup is below, or who else may make cgroups where it is. Such a user may give them
    whatever names, so only that user's own records tell what they are. None: root alone may.
    """

    container_id: str | None
    engine: Engine = Engine.ANY
    pod_uid: str | None = None
    user: int | None = None


_ID = f"(?P<id>{ID.pattern})"
_UID = "(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"

_CONTAINERS: tuple[tuple[str, Engine], ...] = (
    # With systemd's driver a scope, with cgroupfs' a folder of the engine's.
    (rf"[^/]*/docker-{_ID}\.scope", Engine.DOCKER),
    (rf"docker/{_ID}", Engine.DOCKER),
    (rf"[^/]*/libpod-(?:payload-)?{_ID}(?:\.scope)?", Engine.PODMAN),  # payload: in a unit's own cgroup (Quadlet)
    (rf"[^/]*/crio-{_ID}(?:\.scope)?", Engine.CRIO),
    (rf"[^/]*/(?:cri-containerd|nerdctl)-{_ID}\.scope", Engine.CONTAINERD),
    # containerd that is told a path for systemd's driver, and has cgroupfs': it takes the whole for a name.
    (rf"[^/]*/[^/:]*:(?:cri-containerd|nerdctl):{_ID}", Engine.CONTAINERD),
    (rf"[^/]*/[^/:]*:docker:{_ID}", Engine.DOCKER),
    (rf"k8s\.io/{_ID}", Engine.CONTAINERD),
    # Only an id: /kubepods/burstable/pod<uid>/<id>, a namespace of containerd's, Docker's --cgroup-parent, an ECS task.
    # Podman's own folder has its pods there, with their containers below.
    (rf"(?!libpod_parent/)[^/]*/{_ID}", Engine.ANY),
)
"""Patterns of a cgroup's name and its parent's, and whose it is then."""

_MONITOR = re.compile(rf"[^/]*/(?:libpod|crio)-conmon-{ID.pattern}(?:\.scope)?|libpod_parent/conmon")
_POD = re.compile(
    rf"[^/]*/(?:(?P<slice>(?:[a-z0-9]+-)*kubepods(?:-burstable|-besteffort)?-))?pod{_UID}(?(slice)\.slice)"
)
_USER = re.compile(r"user@(\d{1,10})\.service")
_COMPILED = tuple((re.compile(pattern), engine) for pattern, engine in _CONTAINERS)


def place(path: str) -> Place | None:
    """What the path of a cgroup, relative to the mount, tells; None where it is in no container.

    conmon's cgroups are none: it watches over a container from outside.
    """
    parent, uid, user = "", None, None
    for name in path.strip("/").split("/"):
        both = f"{parent}/{name}"
        if _MONITOR.fullmatch(both):
            return None
        for pattern, engine in _COMPILED:
            if found := pattern.fullmatch(both):
                return Place(found["id"], engine, uid, user)
        if uid is None and (pod := _POD.fullmatch(both)):
            uid = pod["uid"].replace("_", "-")
        if user is None and (manager := _USER.fullmatch(name)):
            user = int(manager[1])
        parent = name
    return None if uid is None else Place(None, pod_uid=uid, user=user)

"""Paths of cgroups as engines really make them, and the container that each belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.containers.paths import Engine, Place, place

ID = "0f4c8ee9c1bd1c6b5fa34d1f7a5d2e3b4c5d6e7f8091a2b3c4d5e6f708192a3b"
OTHER = "77aa8ee9c1bd1c6b5fa34d1f7a5d2e3b4c5d6e7f8091a2b3c4d5e6f708192a3b"
UID = "8f1f2c55-9a64-4bd3-8c6a-0d8f1b1f2c33"
UID_ = UID.replace("-", "_")
STATIC = "c4ca4238a0b923820dcc509a6f75849b"
"""Of a pod that a file on the node describes the uid is a hash of it."""

USER = "user.slice/user-1000.slice/user@1000.service"

CONTAINERS = {
    # Docker: systemd's driver, cgroupfs', --cgroup-parent, rootless, below a unit whose driver disagrees
    f"system.slice/docker-{ID}.scope": Place(ID, Engine.DOCKER),
    f"docker/{ID}": Place(ID, Engine.DOCKER),
    f"build/{ID}": Place(ID, Engine.ANY),
    f"mine.slice/docker-{ID}.scope": Place(ID, Engine.DOCKER),
    f"{USER}/user.slice/docker-{ID}.scope": Place(ID, Engine.DOCKER, user=1000),
    f"system.slice/docker.service/system.slice:docker:{ID}": Place(ID, Engine.DOCKER),
    # Podman: root, in one of its pods, cgroupfs, rootless; crun puts processes into a folder below
    f"machine.slice/libpod-{ID}.scope": Place(ID, Engine.PODMAN),
    f"machine.slice/libpod-{ID}.scope/container": Place(ID, Engine.PODMAN),
    f"machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope/container": Place(ID, Engine.PODMAN),
    f"libpod_parent/libpod-{ID}": Place(ID, Engine.PODMAN),
    f"libpod_parent/{OTHER}/libpod-{ID}": Place(ID, Engine.PODMAN),
    f"{USER}/user.slice/libpod-{ID}.scope/container": Place(ID, Engine.PODMAN, user=1000),
    f"{USER}/user.slice/user-libpod_pod_{OTHER}.slice/libpod-{ID}.scope": Place(ID, Engine.PODMAN, user=1000),
    # Podman in a unit's own cgroup (Quadlet, --cgroups=split), which its conmon is in, too
    f"system.slice/web.service/libpod-payload-{ID}": Place(ID, Engine.PODMAN),
    f"system.slice/web.service/libpod-payload-{ID}/container": Place(ID, Engine.PODMAN),
    f"{USER}/app.slice/web.service/libpod-payload-{ID}": Place(ID, Engine.PODMAN, user=1000),
    # containerd: its CRI plug-in, nerdctl, ctr, and the two drivers mixed up
    f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope": Place(
        ID, Engine.CONTAINERD, UID
    ),
    f"k8s.io/{ID}": Place(ID, Engine.CONTAINERD),
    f"system.slice/nerdctl-{ID}.scope": Place(ID, Engine.CONTAINERD),
    f"default/{ID}": Place(ID, Engine.ANY),
    f"system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{ID}": Place(
        ID, Engine.CONTAINERD
    ),
    # CRI-O
    f"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{ID}.scope": Place(
        ID, Engine.CRIO, UID
    ),
    f"kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope/container": Place(ID, Engine.CRIO, UID),
    f"kubepods/besteffort/pod{UID}/crio-{ID}": Place(ID, Engine.CRIO, UID),
    # the kubelet's cgroupfs driver, guaranteed pods, static pods, cri-dockerd, kind
    f"kubepods/burstable/pod{UID}/{ID}": Place(ID, Engine.ANY, UID),
    f"kubepods/pod{UID}/{ID}": Place(ID, Engine.ANY, UID),
    f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/cri-containerd-{ID}.scope": Place(
        ID, Engine.CONTAINERD, STATIC
    ),
    f"kubepods.slice/kubepods-pod{UID_}.slice/docker-{ID}.scope": Place(ID, Engine.DOCKER, UID),
    f"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope": Place(
        ID, Engine.CONTAINERD, UID
    ),
    # a pod's own cgroup: what is in none of its containers, but in the pod
    f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice": Place(None, pod_uid=UID),
    f"kubepods/besteffort/pod{UID}": Place(None, pod_uid=UID),
    # a task of ECS
    f"ecs/4ddd1b4d1e2f4a60a3d38fd57b3b9f1f/{ID}": Place(ID, Engine.ANY),
    # what a container makes for itself belongs to it: systemd in it, and engines in it
    f"system.slice/docker-{ID}.scope/init.scope": Place(ID, Engine.DOCKER),
    f"docker/{ID}/system.slice/nginx.service": Place(ID, Engine.DOCKER),
    f"docker/{ID}/docker/{OTHER}": Place(ID, Engine.DOCKER),
    f"docker/{ID}/kubelet/kubepods/burstable/pod{UID}/{OTHER}": Place(ID, Engine.DOCKER),
    f"libpod_parent/libpod-{ID}/libpod-conmon-{OTHER}.scope": Place(ID, Engine.PODMAN),
}

HOST = [
    "",
    "init.scope",
    "system.slice",
    "system.slice/docker.service",
    "system.slice/containerd.service",
    f"{USER}/app.slice/firefox.service",
    "machine.slice",
    "machine.slice/systemd-nspawn@web.service",
    "kubepods.slice",
    "kubepods.slice/kubepods-burstable.slice",
    "docker",
    "libpod_parent",
    # conmon watches over a container from outside
    f"machine.slice/libpod-conmon-{ID}.scope",
    f"{USER}/user.slice/libpod-conmon-{ID}.scope",
    "libpod_parent/conmon",
    f"libpod_parent/libpod-conmon-{ID}",
    f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/crio-conmon-{ID}.scope",
    "system.slice/web.service/runtime",
    # a pod of Podman's is no container
    f"libpod_parent/{OTHER}",
    f"machine.slice/machine-libpod_pod_{OTHER}.slice",
    # not quite ids
    f"docker/{ID[:-1]}",
    f"docker/{ID}0",
    f"docker/{ID.upper()}",
    f"system.slice/docker-{ID}.scope.d",
    f"system.slice/xdocker-{ID[:-1]}.scope",
    f"kubepods/burstable/pod{UID[:-1]}",
    f"docker/{ID}\n",
]


@pytest.mark.parametrize(("path", "expected"), CONTAINERS.items(), ids=CONTAINERS)
def test_a_container_is_known_by_its_cgroup(path: str, expected: Place) -> None:
    assert place(path) == expected
    assert place(f"/{path}/") == expected


@pytest.mark.parametrize("path", HOST)
def test_a_cgroup_of_no_container_is_none(path: str) -> None:
    assert place(path) is None


@given(st.sampled_from(sorted(CONTAINERS)), st.sampled_from([*CONTAINERS, *HOST]), st.text(max_size=20))
def test_no_cgroup_below_a_container_passes_for_another(path: str, forged: str, name: str) -> None:
    expected = CONTAINERS[path]
    if expected.container_id is not None:
        assert place(f"{path}/{forged}/{name}") == expected

"""Engines' records on disk: what each tells of a container, and what is believed of whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from engines import ID, Host, put

from ingrain.containers.paths import Engine, Place
from ingrain.containers.record import TEXT_LIMIT, Record
from ingrain.containers.records import Records

UID = "8f1f2c55-9a64-4bd3-8c6a-0d8f1b1f2c33"
PODMAN = "var/lib/containers/storage"
K8S = "run/containerd/io.containerd.runtime.v2.task/k8s.io"
CRI = {
    "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "app",
    "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.25", "io.kubernetes.cri.sandbox-id": "d" * 64,
    "io.kubernetes.cri.sandbox-name": "web-7d9f", "io.kubernetes.cri.sandbox-namespace": "shop",
    "io.kubernetes.cri.sandbox-uid": UID,
}  # fmt: skip
CRIO = {
    "io.container.manager": "cri-o", "io.kubernetes.container.name": "app",
    "io.kubernetes.cri-o.ContainerType": "container",
    "io.kubernetes.cri-o.Name": f"k8s_app_web-7d9f_shop_{UID}_0", "io.kubernetes.cri-o.Image": "a" * 64,
    "io.kubernetes.cri-o.ImageName": "docker.io/library/nginx:1.25", "io.kubernetes.pod.name": "web-7d9f",
    "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": UID,
}  # fmt: skip
CRI_DOCKERD = {
    "io.kubernetes.docker.type": "container", "io.kubernetes.container.name": "app",
    "io.kubernetes.pod.name": "web-7d9f", "io.kubernetes.pod.namespace": "shop",
}  # fmt: skip
APP = Record("app", "docker.io/library/nginx:1.25", "web-7d9f", "shop")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def find(host: Host, engine: Engine = Engine.ANY, uid: str | None = None, user: int | None = None) -> Record | None:
    return Records(host.root).find(Place(ID, engine, uid, user))


def docker(host: Host, name: str, image: str, labels: dict[str, str]) -> None:
    config = {"Name": name, "Config": {"Image": image, "Labels": labels}}
    put(host.root / "var/lib/docker/containers" / ID / "config.v2.json", config)


@pytest.mark.parametrize("engine", [Engine.DOCKER, Engine.ANY])
def test_docker_tells_name_and_image(host: Host, engine: Engine) -> None:
    host.docker(ID, "web1", "nginx:1.25")
    host.docker("ee" * 32, "another")
    assert find(host, engine) == Record("web1", "nginx:1.25")


def test_docker_is_found_where_its_settings_say(host: Host) -> None:
    host.docker(ID, "web1", data="data/docker")
    assert find(host, Engine.DOCKER) is None
    put(host.root / "etc/docker/daemon.json", {"log-driver": "json-file", "data-root": "/data/docker"})
    assert find(host, Engine.DOCKER) == Record("web1", "nginx:1.25")


def test_a_data_root_that_is_no_path_is_as_good_as_none(host: Host) -> None:
    host.docker(ID, "web1")
    put(host.root / "etc/docker/daemon.json", {"data-root": "/data\0docker"})
    assert find(host, Engine.DOCKER) == Record("web1", "nginx:1.25")


def test_docker_below_kubernetes_tells_the_pods_names(host: Host) -> None:
    docker(host, f"/k8s_app_web-7d9f_shop_{UID}_0", "nginx@sha256:ab", CRI_DOCKERD)
    assert find(host, Engine.DOCKER, UID) == Record("app", "nginx@sha256:ab", "web-7d9f", "shop")


OF_AN_IMAGE = dict.fromkeys((*CRI, *CRIO, "nerdctl/name"), "spoofed") | {
    "io.kubernetes.docker.type": "podsandbox", "io.kubernetes.cri.container-type": "sandbox",
}  # fmt: skip
"""Labels, or annotations, that an image has: engines put them among the container's own."""


def test_an_image_cannot_say_by_its_labels_what_its_container_is_called(host: Host) -> None:
    docker(host, "/web1", "nginx:1.25", OF_AN_IMAGE)
    assert find(host, Engine.DOCKER) == Record("web1", "nginx:1.25")
    docker(host, f"/k8s_app_web-7d9f_shop_{UID}_0", "nginx@sha256:ab", OF_AN_IMAGE | CRI_DOCKERD)
    assert find(host, Engine.DOCKER, UID) == Record("app", "nginx@sha256:ab", "web-7d9f", "shop")


def test_an_image_cannot_say_by_its_annotations_what_its_container_is_called(host: Host) -> None:
    host.stored(PODMAN, {"id": ID, "name": "web1", "image": "nginx"})
    host.bundle(f"{PODMAN}/overlay-containers/{ID}/userdata", OF_AN_IMAGE)
    assert find(host, Engine.PODMAN) == Record("web1", "nginx")
    host.bundle(f"{PODMAN}/overlay-containers/{ID}/userdata", OF_AN_IMAGE | CRIO)
    assert find(host, Engine.CRIO, UID) == APP
    host.bundle(f"{K8S}/{ID}", OF_AN_IMAGE | {"io.kubernetes.cri.container-type": "container"} | CRI)
    assert find(host, Engine.CONTAINERD, UID) == APP


@pytest.mark.parametrize("engine", [Engine.PODMAN, Engine.ANY])
@pytest.mark.parametrize(
    ("store", "file"), [(PODMAN, "containers.json"), ("run/containers/storage", "volatile-containers.json")]
)
def test_podman_tells_name_and_image(host: Host, engine: Engine, store: str, file: str) -> None:
    one = {"id": ID, "name": "web1", "image": "docker.io/library/alpine:3"}
    host.stored(store, {"id": "ee" * 32, "name": "another"}, one, file=file)
    host.bundle(f"{store}/overlay-containers/{ID}/userdata", {"io.container.manager": "libpod"})
    assert find(host, engine) == Record("web1", "docker.io/library/alpine:3")


def test_a_container_of_podman_without_an_image_has_none(host: Host) -> None:
    host.stored(PODMAN, {"id": ID, "name": "web1", "image": ""})
    assert find(host, Engine.PODMAN) == Record("web1")


def test_crio_tells_the_pods_names(host: Host) -> None:
    host.stored(PODMAN, {"id": ID, "name": f"k8s_app_web-7d9f_shop_{UID}_0", "image": "nginx"})
    host.bundle(f"{PODMAN}/overlay-containers/{ID}/userdata", CRIO)
    assert find(host, Engine.CRIO, UID) == APP


@pytest.mark.parametrize("engine", [Engine.CONTAINERD, Engine.ANY])
@pytest.mark.parametrize("run", ["run/containerd", "run/k3s/containerd"])
def test_containerd_tells_the_pods_names(host: Host, engine: Engine, run: str) -> None:
    (host.root / run / "io.containerd.runtime.v2.task/moby").mkdir(parents=True)
    host.bundle(f"{run}/io.containerd.runtime.v2.task/k8s.io/{ID}", CRI)
    assert find(host, engine, UID) == APP


def test_nerdctl_tells_the_name(host: Host) -> None:
    host.bundle(K8S.replace("k8s.io", f"default/{ID}"), {"nerdctl/name": "web1", "nerdctl/namespace": "default"})
    assert find(host, Engine.CONTAINERD) == Record("web1")


def test_a_sandbox_is_told_as_one(host: Host) -> None:
    names = {key: CRI[key] for key in CRI if "sandbox-n" in key}
    image = {"io.kubernetes.cri.podsandbox.image-name": "registry.k8s.io/pause:3.9"}
    host.bundle(f"{K8S}/{ID}", {"io.kubernetes.cri.container-type": "sandbox", **names, **image})
    assert find(host, Engine.CONTAINERD, UID) == Record("POD", "registry.k8s.io/pause:3.9", "web-7d9f", "shop")
    host.bundle(f"{PODMAN}/overlay-containers/{ID}/userdata", CRIO | {"io.kubernetes.cri-o.ContainerType": "sandbox"})
    found = find(host, Engine.CRIO, UID)
    assert found is not None
    assert found.name == "POD"


def test_the_kubelets_logs_name_what_the_engine_does_not(host: Host) -> None:
    assert find(host, Engine.CONTAINERD, UID) is None
    (host.root / f"var/log/pods/shop_web-7d9f_{UID}").mkdir(parents=True)
    (host.root / "var/log/pods/not-a-pod").mkdir()
    assert find(host, Engine.CONTAINERD, UID) == Record(pod="web-7d9f", namespace="shop")
    assert Records(host.root).find(Place(None, pod_uid=UID)) == Record(pod="web-7d9f", namespace="shop")
    logs = host.root / "var/log/containers"
    logs.mkdir()
    (logs / f"web-7d9f_shop_app-{ID}.log").symlink_to("/nowhere")
    (logs / f"other_shop_app-{'ee' * 32}.log").symlink_to("/nowhere")
    assert find(host, Engine.CONTAINERD, UID) == Record("app", pod="web-7d9f", namespace="shop")
    assert find(host, Engine.ANY) == Record("app", pod="web-7d9f", namespace="shop")


def conmon(container_id: str, name: str, bundle: str) -> list[str]:
    return ["/usr/bin/conmon", "--api-version", "1", "-c", container_id, "-u", container_id, "-r", "/usr/bin/crun",
            "-b", bundle, "-n", name, "--exit-dir", "/run/libpod/exits"]  # fmt: skip


def test_conmon_leads_to_a_store_elsewhere(host: Host) -> None:
    bundle = f"/data/store/overlay-containers/{ID}/userdata"
    host.process(7, *conmon("ee" * 32, "another", bundle.replace(ID, "ee" * 32)))
    assert find(host, Engine.PODMAN) is None
    host.process(8, *conmon(ID, "web1", bundle), cgroup=f"/machine.slice/libpod-conmon-{ID}.scope")
    assert find(host, Engine.PODMAN) == Record("web1")
    host.stored("data/store", {"id": ID, "name": "web2", "image": "alpine"})
    assert find(host, Engine.PODMAN) == Record("web2", "alpine")


def test_what_calls_itself_conmon_in_a_container_or_as_another_user_is_not_believed(host: Host) -> None:
    words = conmon(ID, "innocent", "/")
    host.process(7, *words, cgroup=f"/docker/{'ee' * 32}")
    host.process(8, *words)
    os.chown(host.root / "proc/8", 1000, 1000)
    assert find(host, Engine.PODMAN) is None
    host.process(9, *words)
    assert find(host, Engine.PODMAN) == Record("innocent")


def test_a_users_own_containers_are_looked_for_in_that_users_home_alone(host: Host) -> None:
    host.docker(ID, "roots")
    host.stored(PODMAN, {"id": ID, "name": "roots"})
    host.bundle(f"{K8S}/{ID}", CRI)
    (host.root / f"var/log/pods/shop_web-7d9f_{UID}").mkdir(parents=True)
    assert [find(host, engine, UID, user=1000) for engine in Engine] == [None] * len(Engine)
    host.user(1000, "/home/alice")
    assert [find(host, engine, UID, user=1000) for engine in Engine] == [None] * len(Engine)
    host.stored("home/alice/.local/share/containers/storage", {"id": ID, "name": "alices"})
    host.docker(ID, "hers", data="home/alice/.local/share/docker")
    assert find(host, Engine.PODMAN, user=1000) == Record("alices")
    assert find(host, Engine.DOCKER, user=1000) == Record("hers", "nginx:1.25")
    assert find(host, Engine.DOCKER, user=1001) is None


def test_a_changed_name_is_the_new_one(host: Host) -> None:
    records = Records(host.root)
    docker, podman = Place(ID, Engine.DOCKER), Place(ID, Engine.PODMAN)
    for name in ("web1", "web2", "web3"):  # as long as each other, and changed at once
        host.docker(ID, name)
        host.stored(PODMAN, {"id": ID, "name": name})
        assert [(records.find(one) or Record()).name for one in (docker, podman)] == [name, name]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x|c\nfoo:1", "x|c\\x0afoo:1"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("ex\u202etab", "ex\\u202etab"),
        ("a" * (TEXT_LIMIT + 1), "a" * TEXT_LIMIT),
        ("café", "café"),
    ],
)
def test_a_hostile_name_stays_a_printable_value(host: Host, name: str, shown: str) -> None:
    host.docker(ID, name)
    assert (find(host) or Record()).name == shown

"""What container engines leave on a host: documents and names that a container's owner may have written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable

from engines import ID, Host, put

from fuzz.promises import is_harmless
from fuzz.target import Chosen, Target, piece, scratch
from ingrain.containers import bundle, docker, paths, records, storage
from ingrain.containers.paths import Engine, Place
from ingrain.containers.record import CONTAINERD, CRIO, TEXT_LIMIT, Record
from ingrain.containers.records import Records

_ESCAPE = 6  # characters that one becomes at the most
_USER = 1000
_POD = "8f1f2c55-9a64-4bd3-8c6a-0d8f1b1f2c33"


def _check(record: Record | None) -> None:
    for text in (record.name, record.image, record.pod, record.namespace) if record else ():
        assert text is None or (0 < len(text) <= _ESCAPE * TEXT_LIMIT and is_harmless(text)), text


def _of_docker(data: bytes) -> Iterable[Record]:
    return [docker._record(data)]


def _of_bundle(data: bytes) -> Iterable[Record]:
    return [bundle._record(labels, data) for labels in (CONTAINERD, CRIO)]


def _of_store(data: bytes) -> Iterable[Record]:
    return storage._records(data).values()


def _of_settings(data: bytes) -> Iterable[Record]:
    docker._data_root(data)
    return []


def _of_users(data: bytes) -> Iterable[Record]:
    records._homes(data)
    return []


_DOCUMENTS: tuple[Callable[[bytes], Iterable[Record]], ...] = (
    _of_docker, _of_bundle, _of_store, _of_settings, _of_users,
)  # fmt: skip


def documents(data: bytes) -> bool:
    """Any document is a record of harmless text of bounded length, or ValueError."""
    read = _DOCUMENTS[data[0] % len(_DOCUMENTS)] if data else _of_docker
    try:
        found = read(data[1:])
    except ValueError:
        return False
    for record in found:
        _check(record)
    return True


def cgroups(data: bytes) -> bool:
    """No cgroup that a container makes below its own has it taken for another one."""
    path = data.decode("utf-8", "surrogateescape")
    found = paths.place(path)
    if found is None:
        return False
    assert found.container_id is None or re.fullmatch("[0-9a-f]{64}", found.container_id)
    assert found.container_id or found.pod_uid
    if found.container_id is not None:
        assert paths.place(f"{path}/docker-{'e' * 64}.scope") == found
        assert paths.place(f"{path}/x/user@7.service/libpod-{'e' * 64}") == found
    return True


_FILES = (
    f"var/lib/docker/containers/{ID}/config.v2.json",
    f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json",
    "var/lib/containers/storage/overlay-containers/containers.json",
    f"run/containers/storage/overlay-containers/{ID}/userdata/config.json",
    "etc/docker/daemon.json",
    "etc/passwd",
    "proc/77/cmdline",
    "proc/77/cgroup",
)
_LOGS, _PODS = len(_FILES), len(_FILES) + 1


def host(data: bytes) -> bool:
    """Whatever stands in files and in names, looking for a container ends with a record, or none."""
    shutil.rmtree(scratch() / "host", ignore_errors=True)
    chosen, made = Chosen(data), Host(scratch() / "host")
    put(made.root / "proc/77/comm", b"conmon\n")
    while chosen.left:
        place = chosen.number() % (len(_FILES) + 2)
        content = chosen.piece()
        name = content.replace(b"/", b"").replace(b"\0", b"").decode("utf-8", "surrogateescape")[:80]
        if place < len(_FILES):
            put(made.root / _FILES[place], content)
        elif name not in {"", ".", ".."}:
            (folder := made.root / ("var/log/containers" if place == _LOGS else "var/log/pods")).mkdir(
                parents=True, exist_ok=True
            )
            (folder / name).touch()
    told = False
    for engine in Engine:
        for user in (None, _USER):
            found = Records(made.root).find(Place(ID, engine, _POD, user))
            _check(found)
            told |= found is not None
    return told


_DOCKER = {"Name": "/k8s_web", "Config": {"Image": "nginx:1.25", "Labels": {"io.kubernetes.pod.name": "pod"}}}
_CRI = {
    "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "app",
    "io.kubernetes.cri.image-name": "nginx", "io.kubernetes.cri.sandbox-name": "web",
    "io.kubernetes.cri.sandbox-namespace": "shop",
}  # fmt: skip
_CRIO = {"io.kubernetes.container.name": "app", "io.kubernetes.cri-o.ContainerType": "sandbox", "nerdctl/name": "n"}
_STORE = [{"id": ID, "names": ["db"], "metadata": json.dumps({"image-name": "postgres", "name": "first"})}]
_PASSWD = f"root:x:0:0:root:/root:/bin/bash\nalice:x:{_USER}:{_USER}:Alice,,,:/home/alice:/bin/bash\n"


def _contents() -> list[bytes]:
    told = [_DOCKER, {"annotations": _CRI}, _STORE, {"annotations": _CRIO}, {"data-root": "/data/docker"}]
    return [json.dumps(one).encode() for one in told]


def _texts() -> Iterable[bytes]:
    of_docker, of_cri, stored, of_crio, settings = _contents()
    for number, content in (
        (0, of_docker),
        (1, of_cri),
        (1, of_crio),
        (2, stored),
        (3, settings),
        (4, _PASSWD.encode()),
    ):
        yield bytes([number]) + content


def _hosts() -> Iterable[bytes]:
    for number, content in enumerate([*_contents(), _PASSWD.encode()]):
        yield bytes([number]) + piece(content)
    monitor = b"\0".join([b"conmon", b"-c", ID.encode(), b"-n", b"name", b"-b", b"/s/overlay-containers/i/userdata"])
    yield b"\6" + piece(monitor) + b"\7" + piece(b"0::/machine.slice\n")
    yield (
        bytes([_LOGS]) + piece(f"web_shop_app-{ID}.log".encode()) + bytes([_PODS]) + piece(f"shop_web_{_POD}".encode())
    )


def _cgroups() -> Iterable[bytes]:
    pod = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_POD.replace('-', '_')}.slice"
    for path in (
        f"system.slice/docker-{ID}.scope", f"docker/{ID}", f"machine.slice/libpod-{ID}.scope", f"libpod_parent/{ID}",
        f"{pod}/crio-{ID}.scope", f"{pod}/cri-containerd-{ID}.scope", f"kubepods/pod{_POD}/{ID}", pod,
        f"user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", f"x/a:cri-containerd:{ID}",
    ):  # fmt: skip
        yield path.encode()


_WORDS = (
    *(key.encode() for key in (*_CRI, *_CRIO)),
    b"Name",
    b"Config",
    b"Image",
    b"Labels",
    b"annotations",
    b"names",
    b"id",
    b"metadata",
)

TARGETS = (
    Target("documents", documents, _texts, 150, words=_WORDS, longest=2048),
    Target("cgroups", cgroups, _cgroups, 30, words=(ID.encode(), b"kubepods", b"libpod", b".scope"), longest=512),
    Target("host", host, _hosts, 1, words=_WORDS, longest=2048),
)

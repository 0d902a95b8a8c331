"""A host's files as engines leave them there: `Host(tmp_path).docker(ID, name="web")` and its like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ID = "0f4c8ee9c1bd1c6b5fa34d1f7a5d2e3b4c5d6e7f8091a2b3c4d5e6f708192a3b"


def put(path: Path, content: Any) -> Path:
    """Write a file as engines do: as a whole, under another name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return beside.rename(path)


class Host:
    """What it writes has the names, places and fields of the engines' own, and some more of their fields around."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def docker(self, container_id: str, name: str, image: str = "nginx:1.25", data: str = "var/lib/docker") -> Path:
        config = {
            "StreamConfig": {}, "State": {"Running": True, "Pid": 4711}, "ID": container_id, "Created": "2024-01-01",
            "Image": "sha256:" + "ab" * 32, "Name": f"/{name}", "Driver": "overlay2", "MountPoints": {},
            "Config": {"Hostname": container_id[:12], "Image": image, "Labels": {"maintainer": "NGINX"}},
        }  # fmt: skip
        return put(self.root / data / "containers" / container_id / "config.v2.json", config)

    def stored(self, store: str, *containers: dict[str, Any], file: str = "containers.json") -> Path:
        """Podman's and CRI-O's list. containers: id, name, image (of the metadata)."""
        listed = [
            {
                "id": one["id"], "names": [one["name"]], "image": "f" * 64, "layer": "e" * 64,
                "metadata": json.dumps({"image-name": one.get("image", ""), "name": "the first name"}),
                "created": "2024-01-01T00:00:00Z", "flags": {"MountLabel": "", "ProcessLabel": ""},
            }
            for one in containers
        ]  # fmt: skip
        return put(self.root / store / "overlay-containers" / file, listed)

    def bundle(self, place: str, annotations: dict[str, str] | None) -> Path:
        """An OCI bundle's config.json, in the folder `place`."""
        spec: dict[str, Any] = {"ociVersion": "1.0.2", "process": {"args": ["sh"]}, "linux": {"namespaces": []}}
        if annotations is not None:
            spec["annotations"] = annotations
        return put(self.root / place / "config.json", spec)

    def user(self, uid: int, home: str) -> None:
        line = f"root:x:0:0:root:/root:/bin/bash\nalice:x:{uid}:{uid}:Alice,,,:{home}:/bin/bash\n"
        put(self.root / "etc/passwd", line.encode())

    def process(self, pid: int, *words: str, comm: str = "conmon", cgroup: str = "/") -> None:
        folder = self.root / "proc" / str(pid)
        put(folder / "comm", f"{comm}\n".encode())
        put(folder / "cmdline", b"".join(word.encode() + b"\0" for word in words))
        put(folder / "cgroup", f"0::{cgroup}\n".encode())

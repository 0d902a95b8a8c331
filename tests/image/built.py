"""The image of docker/Dockerfile, really built, and programs that run in it; without an engine or a registry.

buildah builds it in a chroot, on a Debian that debootstrap makes: the machine's own apt sources and certificates are
all that is needed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import debootstrap
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker/Dockerfile"
CERTIFICATES = Path("/usr/local/share/ca-certificates")
BUILD_S = 3600.0

GIVEN = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)
"""What buildah, as Docker, gives a container unasked; to drop `all` would drop what is added, too."""


@dataclass(frozen=True)
class Image:
    """Images and containers below a folder."""

    folder: Path

    def buildah(self, *arguments: str | Path) -> str:
        """A command of buildah's, and what it printed."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, timeout=BUILD_S)
        assert done.returncode == 0, f"buildah {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def command(self, *arguments: str | Path) -> list[str]:
        """The same, for who runs it himself."""
        places = ["--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run")]
        return ["buildah", *places, *map(str, arguments)]

    def build(self) -> None:
        """The base, then the image `ingrain` of what git knows."""
        base, source = self.folder / "base", self.folder / "source"
        release = re.findall(r"^ARG BASE=debian:(\d+)-slim$", DOCKERFILE.read_text(), re.MULTILINE)
        assert release == ["12"]
        debootstrap.make("bookworm", base)
        if CERTIFICATES.is_dir():  # a machine behind a proxy has some of its own
            shutil.copytree(CERTIFICATES, base / CERTIFICATES.relative_to("/"), dirs_exist_ok=True)
        (base / "etc/pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, base, "/")
        self.buildah("commit", "--quiet", "--rm", container, "localhost/debian")
        shutil.rmtree(base)
        source.mkdir()
        archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
        arguments = ("--isolation", "chroot", "--build-arg", "BASE=localhost/debian", "--file", "docker/Dockerfile")
        self.buildah("bud", *arguments, "--tag", "ingrain", source)

    @contextmanager
    def container(self) -> Iterator[str]:
        """A container of the image, its name."""
        name = self.buildah("from", "ingrain")
        try:
            yield name
        finally:
            self.buildah("rm", name)

    def run(self, container: str, *command: str, volumes: Sequence[str] = ()) -> list[str]:
        """The command that runs a program in it, with the rights that docker/kubernetes.yaml gives and no other."""
        rights = [f"--cap-drop=CAP_{one}" for one in GIVEN] + [f"--cap-add=CAP_{one}" for one in rights_of_the_pod()]
        mounts = [f"--volume={one}" for one in volumes]
        return self.command("run", "--isolation", "chroot", *rights, *mounts, container, "--", *command)

    def settings(self) -> dict[str, Any]:
        """How a container of it is started."""
        told: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", "ingrain"))
        found: dict[str, Any] = told["OCIv1"]["config"]
        return found


def rights_of_the_pod() -> list[str]:
    """Names of capabilities, without CAP_."""
    manifests = yaml.safe_load_all((ROOT / "docker/kubernetes.yaml").read_text())
    (pod,) = (one["spec"]["template"]["spec"] for one in manifests if one["kind"] == "DaemonSet")
    found: list[str] = pod["containers"][0]["securityContext"]["capabilities"]["add"]
    return found

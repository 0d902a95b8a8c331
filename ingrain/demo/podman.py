"""Real containers, by podman and crun: a shell that runs a script, and the engine's own log of what it printed.

They have no network and no image: their root is a folder with Debian's busybox. The demo and the tests run them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STOP_S = 120

PARENT = "libpod_parent"
"""The cgroup below the mount that all of them are in."""

NEEDED = {"podman": "podman", "crun": "crun", "conmon": "conmon", "busybox": "busybox-static"}
"""The programs that this takes, and the Debian packages that have them."""


class PodmanError(RuntimeError):
    """A container could not be run as asked; the message says what podman said."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A line of the engine's log: which stream, and the text; partial where the line goes on in the next."""

    stream: str
    line: str
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """A container: its id of 64 hexadecimal digits, its name, and the first process's id as the host counts."""

    id: str
    name: str
    pid: int
    log: Path

    @property
    def cgroup(self) -> str:
        """Path of its cgroup below the mount, as podman makes it with `--cgroup-manager cgroupfs`."""
        return f"/{PARENT}/libpod-{self.id}"

    def printed(self) -> list[Printed]:
        """What the engine itself recorded (the k8s-file format: time, stream, P or F, text)."""
        rows = [line.split(" ", 3) for line in self.log.read_text(errors="surrogateescape").split("\n") if line]
        return [Printed(stream, text, partial=tag == "P") for _time, stream, tag, text in rows]


class Podman:
    """Runs containers; folder: for their root and their logs. Raises PodmanError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder / "root"
        if lacking := [package for program, package in NEEDED.items() if not shutil.which(program)]:
            raise PodmanError(f"containers need programs that are not there: apt-get install {' '.join(lacking)}")
        busybox = str(shutil.which("busybox"))
        for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
            (self._root / name).mkdir(parents=True)
        shutil.copy(busybox, self._root / "bin")
        listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
        for command in listed.stdout.split():
            if command != "busybox":
                (self._root / "bin" / command).symlink_to("busybox")
        (self._root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")

    @property
    def root(self) -> Path:
        """The folder that containers have as their root, with /etc/passwd of its own."""
        return self._root

    @contextmanager
    def run(self, name: str, script: str, *options: str) -> Iterator[Container]:
        """A container in which busybox's shell runs a script; it is removed at the end, running or not."""
        log = self._folder / f"{name}.log"
        identity = self._do(
            "--runtime", "crun", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
            "run", "--detach", "--name", name, "--network", "none",
            "--log-driver", "k8s-file", "--log-opt", f"path={log}", *options,
            "--rootfs", str(self._root), "/bin/sh", "-c", script,
        )  # fmt: skip
        try:
            pid = json.loads(self._do("inspect", identity))[0]["State"]["Pid"]
            yield Container(identity, name, pid, log)
        finally:
            self._do("rm", "--force", "--time", "0", identity)

    def wait(self, container: Container) -> int:
        """Until its first process has ended, and its log is complete; its exit code."""
        return int(self._do("wait", container.id))

    @staticmethod
    def _do(*words: str) -> str:
        done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False, timeout=_STOP_S)
        if done.returncode:
            raise PodmanError(f"podman {' '.join(words)} failed: {done.stderr}")
        return done.stdout.strip()

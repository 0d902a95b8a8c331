"""A cgroup of the bench's own, and programs that run in it; both are gone when the `with` ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingrain.kernel import cgroup


@contextmanager
def own() -> Iterator[Path]:
    """A new cgroup below the mount, for what the bench puts in it. Raises CgroupError where there is no mount."""
    folder = cgroup.mount() / f"ingrain-bench-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        for pid in cgroup.processes(folder):
            os.kill(pid, signal.SIGKILL)
        _remove(folder)


def start(folder: Path, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start a program in the cgroup."""

    def enter() -> None:
        (folder / "cgroup.procs").write_text(str(os.getpid()))

    words = [str(word) for word in command]
    return subprocess.Popen(words, text=True, preexec_fn=enter, **options)  # noqa: PLW1509 no threads yet


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return

"""A cgroup of the bench's own, and programs that run in it; both are gone when the `with` ends."""

from __future__ import annotations

import os
import subprocess
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from ingrain.kernel import cgroup


def own() -> AbstractContextManager[Path]:
    """A new cgroup below the mount, for what the bench puts in it. Raises CgroupError where there is no mount."""
    return cgroup.temporary(f"ingrain-bench-{os.getpid()}")


def start(folder: Path, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start a program in the cgroup."""
    words = [str(word) for word in command]
    enter = partial(cgroup.enter, folder)
    return subprocess.Popen(words, text=True, preexec_fn=enter, **options)  # noqa: PLW1509 no threads yet

"""Cgroups that are there for a while."""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial

import pytest

from ingrain.kernel import cgroup

BUSY = "for loop in 1 2 3 4 5 6 7 8; do (while :; do /bin/true; done) & done; wait"
"""Many processes a moment, each of which may be gone, or have started another, where it is to be killed."""


@pytest.mark.parametrize("file", ["cgroup.kill", "none, as before Linux 5.14"])
def test_what_still_starts_processes_ends_with_its_cgroup(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_KILL", file)
    for number in range(20):
        with cgroup.temporary(f"ingrain-test-{os.getpid()}-busy-{number}") as folder:
            below = folder / "below"
            below.mkdir()
            shell = subprocess.Popen(["sh", "-c", BUSY], preexec_fn=partial(cgroup.enter, below))  # noqa: PLW1509 it only writes a file
            time.sleep(0.05)
        assert not folder.exists()
        assert shell.wait() < 0

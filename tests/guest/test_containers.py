"""The containers that tests have in a guest are what they seem: an engine's, with its log and its cgroup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guest.containers import Podman, Printed
from ingrain.kernel import cgroup

pytestmark = pytest.mark.timeout(600)  # an emulated processor takes seconds for each of podman's commands


def test_a_container_s_log_is_what_its_shell_printed_and_its_cgroup_is_its_own(podman: Podman) -> None:
    script = "read go < /tmp/go; for n in 1 2 3; do echo line $n; done; echo trouble >&2; printf 'no newline'; exit 7"
    go = podman.root / "tmp" / "go"
    os.mkfifo(go)
    with podman.run("web1", script) as container:
        told = Path(f"/proc/{container.pid}/cgroup").read_text()
        assert told == f"0::{container.cgroup}\n"
        assert cgroup.identifier(cgroup.find(container.cgroup)) > 0
        go.write_text("go\n")
        assert podman.wait(container) == 7
        printed = container.printed()
    assert [one.line for one in printed if one.stream == "stdout"] == ["line 1", "line 2", "line 3", "no newline"]
    assert [one for one in printed if one.stream == "stderr"] == [Printed("stderr", "trouble")]

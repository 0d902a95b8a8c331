"""The doctor's answers: by trial on this kernel, and without rights what it could not find out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

from ingrain.kernel import cgroup, host

NETWORK = ("DNS", "TLS", "Network")  # tracing probes are tried in the guests: these tests see nothing but a cgroup
DOCTOR = [sys.executable, "-m", "ingrain", "doctor", "--json", *NETWORK]


def doctor(*before: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run([*before, *DOCTOR], capture_output=True, text=True, check=False, timeout=60)
    assert not done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_network_probe_runs_here_by_the_hooks_that_are_told() -> None:
    code, found = doctor()
    assert code == 0
    assert [probe["probe"] for probe in found["probes"]] == list(NETWORK)
    for probe in found["probes"]:
        assert probe["runs"], probe["reason"]
        assert {"cgroup_skb/ingress", "cgroup_skb/egress", "cgroup/sock_create"} <= set(probe["hooks"])
    assert found["host"]["cgroup"] == str(cgroup.mount())
    assert not found["host"]["missing"]


def test_only_the_probes_that_are_named_are_tried() -> None:
    done = subprocess.run([*DOCTOR[:5], "TLS"], capture_output=True, text=True, check=True)
    assert [probe["probe"] for probe in json.loads(done.stdout)["probes"]] == ["TLS"]
    wrong = subprocess.run([*DOCTOR[:4], "TSL"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "TSL" in wrong.stderr
    assert "TLS" in wrong.stderr


def test_the_trial_leaves_no_cgroup_behind() -> None:
    before = {path.name for path in cgroup.mount().iterdir()}
    doctor()
    left = {path.name for path in cgroup.mount().iterdir()} - before
    assert not [name for name in left if "doctor" in name]


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv (util-linux) is not installed")
def test_with_just_the_capabilities_it_says_what_it_could_not_try() -> None:
    capabilities = "+bpf,+perfmon,+net_admin,+sys_ptrace"
    rights = ("--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={capabilities}")
    code, found = doctor("setpriv", *rights, f"--ambient-caps={capabilities}")
    assert code == 0
    for probe in found["probes"]:
        assert probe["runs"], probe["reason"]
        assert "not tried on a cgroup" in probe["reason"]


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv (util-linux) is not installed")
def test_without_capabilities_it_says_which_are_missing_and_what_for() -> None:
    code, found = doctor("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    assert code == 1
    assert found["host"]["held"] == []
    assert found["host"]["missing"] == list(host.CAPABILITIES)
    for probe in found["probes"]:
        assert not probe["runs"]
        assert "CAP_BPF" in probe["fix"]

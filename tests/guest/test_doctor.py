"""Every probe of this build runs on every kernel. The table at the end of a run is what the doctor says here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from guest.table import PROPERTY
from ingrain.grains import GRAINS

pytestmark = pytest.mark.timeout(900)  # Files alone loads 40 programs, and an emulated processor verifies them slowly


def test_every_probe_of_this_build_runs(kernel: str, record_property: Callable[[str, object], None]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ingrain", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    record_property(PROPERTY, json.dumps([kernel, json.loads(done.stdout)]))
    probes = json.loads(done.stdout)["probes"]
    assert {probe["probe"]: probe["reason"] for probe in probes if not probe["runs"]} == {}
    assert {probe["probe"] for probe in probes} == set(GRAINS)
    assert done.returncode == 0

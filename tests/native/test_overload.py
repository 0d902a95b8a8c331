"""More than the agent can take: memory stays bounded, fresh records flow, and each loss is counted where it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def overloaded(*options: str, patience_s: float) -> dict[str, Any]:
    """What bench/overload.py tells. It fails where an account does not add up, to the event, also at the far end."""
    command = [sys.executable, str(BENCH / "overload.py"), *options]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=patience_s)
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told


@pytest.mark.loud
@pytest.mark.parametrize("target", ["s3", "statsd"])
def test_in_a_flood_the_limit_is_kept_and_fresh_records_flow(target: str) -> None:
    limit = {"s3": 200, "statsd": 128}[target]
    options = ("--seconds", "1", "--settle", "1", "--until-refused", "--memory-limit", f"{limit}M")
    told = overloaded("--target", target, *options, patience_s=280)
    assert all(phase["memory_mb"] <= limit for phase in told["phases"]), told
    assert all(phase["taken"] > 0 for phase in told["phases"])
    assert told["phases"][1]["refused"] > 0, "it was not needed"
    assert told["lost"]["pipeline"] == told["lost"]["unreadable"] == 0, "what is let in is delivered"


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_minute_s_flood_costs_what_does_not_fit_and_no_more() -> None:
    told = overloaded("--seconds", "60", "--target", "s3", patience_s=500)
    _, flood, _, after = told["phases"]
    assert flood["lost"] + flood["refused"] > 0, "this was no flood"
    assert told["memory_ratio"] <= 1.5
    assert after["lost"] == after["refused"] == 0, "it has recovered"
    assert told["lost"]["pipeline"] == told["lost"]["unreadable"] == told["lost"]["on the way"] == 0

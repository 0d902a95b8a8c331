"""Every target keeps its promises: with what broke them once, with its seeds, and with what a fuzzer makes of those."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.findings import Findings, found
from fuzz.targets import TARGETS

KEPT = Path(__file__).parent / "found"
RUNS = 20_000
"""Of all targets together; of make fuzz ten million."""


@pytest.mark.parametrize(("target", "name"), [(path.parent.name, path.name) for path in sorted(KEPT.glob("*/*"))])
def test_what_broke_a_promise_once_breaks_none_again(target: str, name: str) -> None:
    TARGETS[target].run((KEPT / target / name).read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_understands_its_seeds_and_keeps_its_promises(target: str) -> None:
    seeds = list(TARGETS[target].seeds())
    assert all(len(seed) <= TARGETS[target].longest for seed in seeds)
    understood = [TARGETS[target].run(seed) for seed in seeds]
    assert any(understood)


@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris has no wheel for this Python or machine")
@pytest.mark.timeout(900)  # some 20 s of CPU time, on a machine that may be busy
def test_a_bounded_share_of_fuzzing_breaks_no_promise(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fuzz.run", "--seed", "7", "--runs", str(RUNS), "--folder", str(tmp_path)]
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stdout + done.stderr
    account = json.loads((tmp_path / "account.json").read_text())
    assert account.keys() == TARGETS.keys()
    assert sum(one["runs"] for one in account.values()) >= RUNS
    assert all(one["branches"] for one in account.values())


def test_what_breaks_a_promise_is_kept_once_for_each_place_with_its_traceback(tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        assert not data.startswith(b"a")
        if data.startswith(b"b"):
            raise ValueError(data)

    findings = Findings(tmp_path / "found", run)
    for data in (b"fine", b"a", b"a again", b"b"):
        findings.try_one(data)
    names = found(tmp_path / "found")
    assert {(tmp_path / "found" / name).read_bytes() for name in names} == {b"a", b"b"}
    assert all("test_fuzz.py" in (tmp_path / "found" / f"{name}.txt").read_text() for name in names)

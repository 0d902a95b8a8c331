"""The bench runs, its accounts add up (it fails otherwise), and its last line has what machines read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
FIGURES = {
    "drain_ns", "callback_ns", "libbpf_c_ns", "pipeline_events_per_s", "dns_per_s", "tls_per_s", "lost", "rss_mb",
    "startup_s", "idle_cpu_percent",
}  # fmt: skip


@pytest.mark.loud
@pytest.mark.timeout(600)
def test_the_bench_measures_everything_and_its_accounts_add_up() -> None:
    run = subprocess.run(
        [sys.executable, BENCH / "run.py", "--quick"], check=False, capture_output=True, text=True, timeout=580
    )
    assert run.returncode == 0, run.stderr
    *table, last = run.stdout.strip().splitlines()
    figures = json.loads(last)
    assert figures.keys() >= FIGURES
    assert all(figures[name] > 0 for name in FIGURES - {"lost"})
    assert any("Whitelist, Regex, Parquet" in row for row in table)


def test_an_account_that_does_not_add_up_fails_the_bench() -> None:
    code = "import load; load._same('made and received', 3, 2)"
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=BENCH)
    assert run.returncode != 0
    assert "made and received should be the same, and are 3 and 2" in run.stderr

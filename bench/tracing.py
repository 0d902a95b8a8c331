"""`make bench-tracing`: what the tracing probes cost, in a guest, beside opensnoop, bpftrace and auditd.

Boots a stock kernel (tests/guest), where in_guest.py measures, and prints a table, with one line of JSON behind it. An
emulated processor is some 20 times as slow as a real one: times compare with one another only. `--quick` is enough to
see that it works, and says nothing of speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import job
import native
import peers
from guest import boot, kernels
from guest.fetch import FetchError

ROUNDS, JOBS = 3, 3
"""Rounds, in each of which every watcher has its turn, and jobs in a turn."""

_RESULTS = "results"
_LIMIT_S = 3000
_HERE = Path(__file__).parent

Told = list[dict[str, Any]]


def main() -> int:
    """Measure; 0 also where a figure disappoints, 1 where it could not be measured."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="one round of one job")
    quick = arguments.parse_args().quick
    kernel = kernels.cached(kernels.own_suite())
    try:
        unpacked = peers.fetched(kernel)
        with tempfile.TemporaryDirectory(dir=peers.CACHE) as name:  # the guest sees it there, and not below /tmp
            native.compile_bpf("empty_traced", Path(name))
            archive = Path(name) / "source.tar"
            (headers,) = (unpacked / "usr" / "src").glob("*-common")
            job.pack(headers, archive)
            given = (unpacked, Path(name) / "empty_traced", archive)
            told = _in_guest(kernel.name, given, *((1, 1) if quick else (ROUNDS, JOBS)))
    except (FetchError, boot.GuestError, MeasureError) as error:
        print(f"bench-tracing: {error}", file=sys.stderr)
        return 1
    _print(kernel.release, told)
    for one in told:
        if "failed" in one:
            print(f"bench-tracing: {one['failed']}", file=sys.stderr)
    return int(any("failed" in one for one in told))


class MeasureError(RuntimeError):
    """The guest measured nothing; the message has its last words."""


def _in_guest(kernel: str, given: Sequence[Path], rounds: int, jobs: int) -> Told:
    words = [_HERE / "in_guest.py", *given, boot.SHARED / _RESULTS, rounds, jobs]
    command = [sys.executable, *map(str, words)]
    told: Told = []
    begun = time.monotonic()
    with boot.boot(kernel, command, {"PYTHONPATH": f"{kernels.ROOT}:{kernels.ROOT / 'tests'}"}) as guest:
        results = guest.shared / _RESULTS
        while True:
            ended = guest.wait(1)
            lines = results.read_text().split("\n")[:-1] if results.exists() else []
            for line in lines[len(told) :]:
                told.append(json.loads(line))
                print(f"{time.monotonic() - begun:5.0f} s  {_progress(told[-1])}", file=sys.stderr, flush=True)
            if ended or time.monotonic() - begun > _LIMIT_S:
                break
        if not told or "done" not in told[-1]:
            problem = f"the guest did not measure all; the end of its console:\n{guest.last_lines()}"
            if not told:
                raise MeasureError(problem)
            told.append({"failed": problem})  # what there is is told nevertheless
    return told


def _progress(one: dict[str, Any]) -> str:
    if cost := one.get("cost"):
        return f"{cost['name']}: {cost['nanoseconds']:.0f} ns"
    if turn := one.get("watched"):
        alone, watched = (" ".join(f"{one:.2f}" for one in turn[which]) for which in ("alone", "seconds"))
        return (
            f"{turn['who']}: {_ratio(turn):.2f} times as long: {watched} s, alone {alone} s; {turn['cpu_s']:.2f} CPU s"
        )
    return f"failed: {one['failed']}" if "failed" in one else "done"


def _print(release: str, told: Told) -> None:
    figures: dict[str, float] = {}
    print(f"\n| Linux {release}, an emulated processor | |\n|---|---|")
    for cost in (one["cost"] for one in told if "cost" in one):
        figures[f"{cost['key']}_ns"] = round(cost["nanoseconds"])
        figures[f"{cost['key']}_of_measuring_ns"] = round(cost["measuring"])
        much = f"{cost['nanoseconds']:,.0f} ns in {cost['runs']:.1f} runs, {cost['measuring']:,.0f} for the measurement"
        print(f"| {cost['name']}, in the kernel | {much} |")
    turns = [one["watched"] for one in told if "watched" in one]
    if not turns:
        return
    alone = statistics.median(seconds for turn in turns for seconds in turn["alone"])
    print(f"| unpacking and reading {turns[0]['files']:,} files, nobody watching | {alone:.2f} s |")
    for who in dict.fromkeys(turn["who"] for turn in turns):
        mine = [turn for turn in turns if turn["who"] == who]
        ratios, cpu_s = [_ratio(turn) for turn in mine], statistics.median(turn["cpu_s"] for turn in mine)
        lost, missed = sum(turn["lost"] for turn in mine), sum(turn["missed"] for turn in mine)
        ratio = statistics.median(ratios)
        figures |= {f"{who}_ratio": round(ratio, 3), f"{who}_cpu_s": round(cpu_s, 3)}
        figures |= {f"{who}_lost": lost, f"{who}_missed": missed}
        times = f"{ratio:.2f} times as long ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {who} watching | {times}; its process {cpu_s:.2f} CPU s; {lost:,} lost |")
    print(json.dumps({"kernel": release, "job_s": round(alone, 3), **figures}))


def _ratio(turn: dict[str, Any]) -> float:
    """How much longer jobs took that were watched than those before and behind them."""
    return float(statistics.median(turn["seconds"]) / statistics.median(turn["alone"]))


if __name__ == "__main__":
    sys.exit(main())

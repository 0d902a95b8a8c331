"""`python bench/soak.py`: an agent at a steady load for an hour: whether its memory, descriptors or threads grow.

Prints a row a minute, and behind them one line of JSON. The slope is that of the straight line through all samples but
those of the first tenth, in which caches fill.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import load
import native
import numpy as np
import targets
from agent import BenchError

SAMPLE_S = 5.0
ROW_EVERY = 12
FILLING = 10
"""One part of so many of the samples says nothing of growth."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The agent at a moment, seconds from the start of the load; memory_mb: resident, MiB."""

    at: float
    memory_mb: float
    descriptors: int
    threads: int


def main() -> int:
    """Run it; 0 also where something grows, 1 where an account is wrong."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=60.0, help="how long")
    arguments.add_argument("--rate", type=float, default=50_000, help="connections a second")
    arguments.add_argument("--target", choices=("archive", "s3", "statsd"), default="s3", help="where records end")
    options = arguments.parse_args()
    place = {"archive": targets.archive, "s3": targets.s3, "statsd": targets.statsd}[options.target]
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="ingrain-bench-") as name:
        native.compile_all(Path(name))
        with load.loaded(Path(name), load.CONNECTIONS, place) as it:
            begun = time.monotonic()
            with it.at(options.rate):
                while (at := time.monotonic() - begun) < 60 * options.minutes:
                    samples.append(_sample(it.running.process.pid, at))
                    if len(samples) % ROW_EVERY == 1:
                        print(_row(samples[-1]), flush=True)
                    time.sleep(SAMPLE_S)
    settled = samples[len(samples) // FILLING :]
    told = {
        "minutes": options.minutes,
        "events": it.made,
        "lost": it.lost,
        "memory_mb": {"first": settled[0].memory_mb, "last": settled[-1].memory_mb, "most": _most(settled)},
        "memory_mb_per_hour": _slope(settled),
        "descriptors": {"first": settled[0].descriptors, "last": settled[-1].descriptors},
        "threads": {"first": settled[0].threads, "last": settled[-1].threads},
    }
    print(json.dumps(told))
    return 0


def _sample(pid: int, at: float) -> Sample:
    process = Path("/proc", str(pid))
    told = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Sample(at, int(told["VmRSS"].split()[0]) / 1024, len(list((process / "fd").iterdir())), int(told["Threads"]))


def _most(samples: list[Sample]) -> float:
    return max(one.memory_mb for one in samples)


def _slope(samples: list[Sample]) -> float:
    """MiB an hour."""
    slope, _ = np.polyfit([one.at / 3600 for one in samples], [one.memory_mb for one in samples], 1)
    return float(slope)


def _row(sample: Sample) -> str:
    return (
        f"{sample.at / 60:>4.0f} min  {sample.memory_mb:>6.1f} MiB  {sample.descriptors:>3} descriptors  "
        f"{sample.threads:>2} threads"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"soak: {error}")

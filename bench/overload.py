"""`python bench/overload.py`: an agent that is flooded with three times what it can take, and what is left of it after.

Connections come at a rate that it takes easily, then as fast as the kernel makes them, then at that rate again. Prints
a row a phase, and behind them one line of JSON. `--seconds` of each phase; `--memory-limit` as in the configuration.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import load
import native
import targets
from agent import BenchError
from load import Loaded

from ingrain.account import Account
from ingrain.status import StatusError, ask

EASY = 200_000
"""Connections a second that any machine takes."""

SETTLE_S = 5.0
"""Behind the flood, before nothing may be lost any more."""

_PATIENCE_S = 60.0

_CLEAR_PEAK = "5"  # proc_pid_clear_refs(5): the most resident memory is what is resident now


@dataclass(frozen=True, slots=True)
class Phase:
    """What happened in it.

    made, taken: events a second, and how many of them the pipeline took. lost: in the kernel's buffers. refused: at the
    pipeline's door. memory_mb: the most that was resident, MiB. latency_s: how old the oldest record of the newest
    delivery was.
    """

    name: str
    made: float
    taken: float
    lost: int
    refused: int
    memory_mb: float
    latency_s: float


def main() -> int:
    """Run it; 0 also where a figure disappoints, 1 where an account is wrong."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=60.0, help="of each phase")
    arguments.add_argument("--target", choices=("archive", "s3", "statsd"), default="s3", help="where records end")
    arguments.add_argument("--memory-limit", help="of the agent, like 150M")
    arguments.add_argument("--settle", type=float, default=SETTLE_S, help="seconds from the flood to the last phase")
    arguments.add_argument(
        "--until-refused", action="store_true", help="flood until something is refused, a minute at the most"
    )
    options = arguments.parse_args()
    place = {"archive": targets.archive, "s3": targets.s3, "statsd": targets.statsd}[options.target]
    with tempfile.TemporaryDirectory(prefix="ingrain-bench-") as name:
        folder = Path(name)
        native.compile_all(folder)
        settings = f'socket = "{folder}/status.sock"\n'
        if options.memory_limit:
            settings += f'memory_limit = "{options.memory_limit}"\n'
        phases = []
        with load.loaded(folder, load.CONNECTIONS, place, settings) as it:
            for phase, rate, seconds, refused in (
                ("easy", EASY, options.seconds, False),
                ("flood", 0, options.seconds, options.until_refused),
                ("settling", EASY, options.settle, False),
                ("easy again", EASY, options.seconds, False),
            ):
                phases.append(_phase(it, folder / "status.sock", phase, rate, seconds, until_refused=refused))
                print(_row(phases[-1]), flush=True)
    easy, flood, _, after = phases
    told = {
        "phases": [asdict(phase) for phase in phases],
        "flood_ratio": flood.made / flood.taken,
        "memory_ratio": max(phase.memory_mb for phase in phases[1:]) / easy.memory_mb,
        "lost_after": after.lost + after.refused,
        "lost": it.lost,
    }
    print(json.dumps(told))
    return 0


def _phase(it: Loaded, socket: Path, name: str, rate: float, seconds: float, *, until_refused: bool) -> Phase:
    Path("/proc", str(it.running.process.pid), "clear_refs").write_text(_CLEAR_PEAK)
    before = _counts(socket)
    with it.at(rate) as generator:
        deadline = time.monotonic() + _PATIENCE_S
        time.sleep(seconds)
        while until_refused and _counts(socket)["refused"] == before["refused"] and time.monotonic() < deadline:
            time.sleep(0.1)
        made = generator.stop()
    after = _counts(socket)
    rose = {key: after[key] - before[key] for key in before}
    return Phase(
        name,
        made.done / made.seconds,
        rose["taken"] / made.seconds,
        rose["lost"],
        rose["refused"],
        it.running.memory_mb(),
        after["latency"] / 1e9,
    )


def _counts(socket: Path) -> dict[str, int]:
    account = _account(socket)
    (probe,), (stations,) = account.probes, account.pipelines.values()
    return {
        "taken": stations[0].received,
        "lost": probe.lost,
        "refused": stations[0].refused,
        "latency": stations[-1].gauges.get("delivery.latency", 0),
    }


def _account(socket: Path) -> Account:
    """The agent's, also where it is so busy that who asks would give up."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask(str(socket)).account
        except StatusError:
            if time.monotonic() > deadline:
                raise


def _row(phase: Phase) -> str:
    return (
        f"{phase.name:<10} {phase.made:>11,.0f}/s made, {phase.taken:>11,.0f}/s taken, {phase.lost:>11,} lost, "
        f"{phase.refused:>11,} refused, {phase.memory_mb:>4.0f} MiB, delivered after {phase.latency_s:.1f} s"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"overload: {error}")

"""`python bench/run.py`: what the agent costs on this machine, beside its peers. Needs root, and a machine at rest.

Prints a table, and behind it one line of JSON. `--quick` is enough to see that it works, and says nothing of speed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import decode
import drain
import load
import messages
import native
import per_packet
import rest
import targets
from drain import Reading
from load import Kind, Load

RATES = {
    "Network": (500_000, 1_000_000, 1_100_000, 1_250_000, 1_500_000),
    "DNS": (50_000, 100_000, 150_000, 200_000, 250_000, 300_000),
    "TLS": (50_000, 100_000, 150_000, 200_000, 250_000, 300_000),
}
"""Events a second, tried one after the other until some are lost."""

QUICK_RATES = {"Network": 50_000, "DNS": 5_000, "TLS": 5_000}
"""Those of short runs: any machine takes them."""

ATTEMPTS = 2
"""At each rate, where events are lost: the machine may have done something else meanwhile."""

Row = tuple[str, str]

_WAYS = {"out": "sent", "in": "received"}


def main() -> int:
    """Measure; 0 also where a figure disappoints, 1 where an account is wrong."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="short runs")
    quick = arguments.parse_args().quick
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has been compiled, too
    with tempfile.TemporaryDirectory(prefix="ingrain-bench-") as name:
        folder = Path(name)
        native.compile_all(folder)
        rows, told = _measure(folder, quick=quick)
    print(f"\n| {_machine()} | |\n|---|---|")
    for what, figure in rows:
        print(f"| {what} | {figure} |")
    print(json.dumps(told))
    return 0


def _measure(folder: Path, *, quick: bool) -> tuple[list[Row], dict[str, float]]:
    dns = messages.dns_kind(1000 if quick else messages.MESSAGES)
    tls = messages.tls_kind(folder, 100 if quick else messages.HANDSHAKES)
    rows, told = _drained(folder, 1 if quick else 5, 0.2 if quick else 2.0)
    decoding, decoded = _decoded(dns, tls, 0.1 if quick else 5.0, quick=quick)
    packets, costs = _packets(folder, 0.2 if quick else 3.0)
    piped, figures = _pipelines(folder, dns, tls, 0.5 if quick else 10.0, quick=quick)
    _say("the start, and an agent at rest")
    startup = statistics.median(rest.first_event(folder) for _ in range(1 if quick else 5))
    idle = rest.idle(folder, 0.5 if quick else 10.0)
    rows += [*decoding, *packets, *piped, ("from start to first event", f"{startup:.2f} s")]
    rows += [("CPU when idle", f"{idle:.2f} % of a core")]
    return rows, told | decoded | costs | figures | {"startup_s": round(startup, 3), "idle_cpu_percent": round(idle, 3)}


def _drained(folder: Path, rounds: int, seconds: float) -> tuple[list[Row], dict[str, float]]:
    _say("draining")
    readers: dict[str, Callable[[Path, float], Reading]] = {
        "drain_ns": drain.ours, "libbpf_c_ns": drain.libbpf_c, "callback_ns": drain.callback
    }  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):  # in turn: what else the machine does meets all of them
        for name, reader in readers.items():
            taken[name].append(reader(folder, seconds).nanoseconds)
    told = {name: round(statistics.median(values), 1) for name, values in taken.items()}
    ours, in_c, called = told.values()
    return [
        ("taking an event out of the kernel's buffer", f"{ours:.0f} ns"),
        ("libbpf's reader in C, with its defaults", f"{in_c:.0f} ns: {in_c / ours:.0f} times as much"),
        ("a Python function per event, with BCC", f"{called:.0f} ns: {called / ours:.0f} times as much"),
    ], told


def _decoded(dns: Kind, tls: Kind, seconds: float, *, quick: bool) -> tuple[list[Row], dict[str, float]]:
    _say("decoding")
    answers = decode.answers(dns, seconds)
    distinct = decode.answers(messages.distinct_kind(500 if quick else messages.DISTINCT), seconds)
    hellos = decode.hellos(tls, seconds)
    shuffled = decode.hellos(messages.shuffled_kind(tls), seconds)
    rows = [
        (
            f"decoding {what} into records, on one core",
            f"{one.ours:,.0f}/s: {one.ours / one.peer:.1f} times {peer}'s rate",
        )
        for what, peer, one in (
            ("DNS answers", "dnspython", answers),
            ("DNS answers, none of which repeats,", "dnspython", distinct),
            ("ClientHellos", "dpkt", hellos),
            ("ClientHellos, none of which repeats,", "dpkt", shuffled),
        )
    ]
    return rows, {
        "dns_decode_per_s": round(answers.ours),
        "dns_distinct_decode_per_s": round(distinct.ours),
        "tls_decode_per_s": round(hellos.ours),
        "tls_shuffled_decode_per_s": round(shuffled.ours),
    }


def _packets(folder: Path, seconds: float) -> tuple[list[Row], dict[str, float]]:
    _say("the kernel's cost of a packet")
    rows, most = [], 0.0
    for kind, costs in per_packet.measure(folder, seconds).items():
        for way in per_packet.WAYS:
            total, of_measuring = per_packet.total(costs, way), per_packet.of_measuring(costs, way)
            most = max(most, total)
            figure = f"{total:.0f} ns, {of_measuring:.0f} of them for the measurement"
            rows.append((f"a {per_packet.KINDS[kind]} {_WAYS[way]}, in the kernel, all three network probes", figure))
    return rows, {"packet_ns": round(most, 1)}


def _pipelines(
    folder: Path, answers: Kind, hellos: Kind, seconds: float, *, quick: bool
) -> tuple[list[Row], dict[str, float]]:
    connections = load.CONNECTIONS
    few = dataclasses.replace(connections, allow=("process", "d_port"))
    parquet = _sustained(folder, connections, targets.archive, seconds, quick=quick)
    statsd = _sustained(folder, few, targets.statsd, seconds, quick=quick)
    dns = _sustained(folder, answers, targets.archive, seconds, quick=quick)
    tls = _sustained(folder, hellos, targets.archive, seconds, quick=quick)
    at_rest = {place: _run(folder, few, place, 1000, seconds) for place in (targets.s3, targets.statsd)}
    rate = QUICK_RATES["Network"] if quick else RATES["Network"][1]
    busy = {place: _run(folder, few, place, rate, seconds) for place in (targets.s3, targets.statsd)}
    rows = [
        ("connections, Whitelist, Regex, Parquet", _told(parquet)),
        ("connections, Whitelist, Regex, StatsD", _told(statsd)),
        ("DNS messages, Whitelist, Regex, Parquet", _told(dns)),
        ("TLS hellos, Whitelist, Regex, Parquet", _told(tls)),
    ]
    for place, name in ((targets.s3, "S3 and Parquet"), (targets.statsd, "StatsD alone")):
        quiet, much = at_rest[place].memory_mb, busy[place].memory_mb
        rows.append((f"resident memory with {name}", f"{quiet:.0f} MB; at {rate:,} events/s at most {much:.0f} MB"))
    runs = (parquet, statsd, dns, tls, *at_rest.values(), *busy.values())
    return rows, {
        "pipeline_events_per_s": round(min(parquet.rate, statsd.rate)),
        "dns_per_s": round(dns.rate),
        "tls_per_s": round(tls.rate),
        "lost": sum(run.all_lost for run in runs),
        "rss_mb": round(busy[targets.s3].memory_mb, 1),
        "rss_statsd_mb": round(busy[targets.statsd].memory_mb, 1),
    }


def _sustained(folder: Path, kind: Kind, place: targets.Place, seconds: float, *, quick: bool) -> Load:
    """The run at the highest rate of which nothing was lost; at the lowest, where that is already too much."""
    best = None
    for rate in (QUICK_RATES[kind.probe],) if quick else RATES[kind.probe]:
        tried = _without_loss(_run(folder, kind, place, rate, seconds) for _ in range(ATTEMPTS))
        best = best or tried
        if tried.all_lost:
            break
        best = tried
    if best is None:
        raise ValueError(f"no rates to try for {kind.probe}")
    return best


def _without_loss(runs: Iterable[Load]) -> Load:
    """The first run without loss, or the one with the least."""
    tried = []
    for run in runs:
        tried.append(run)
        if not run.all_lost:
            break
    return min(tried, key=lambda run: run.all_lost)


def _run(folder: Path, kind: Kind, place: targets.Place, rate: int, seconds: float) -> Load:
    _say(f"{kind.probe} to {place.__name__}: {rate:,} events/s")
    done = load.run(folder, kind, place, rate, seconds)
    if done.all_lost:
        _say(f"  lost: {', '.join(f'{count:,} {where}' for where, count in done.lost.items() if count)}")
    return done


def _told(run: Load) -> str:
    return f"{run.rate:,.0f}/s, {run.cpu_s_per_million:.2f} CPU s per million, {run.all_lost:,} lost"


def _machine() -> str:
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} x {processor}, Linux {platform.release()}, Python {platform.python_version()}"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

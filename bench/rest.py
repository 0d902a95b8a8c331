"""An agent that has just been started, and one with nothing to do: all three probes, to StatsD and to an archive."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import agent
import group
import targets

_PROBE = """
[[probe]]
pipelines = [{pipelines}]
[probe.config]
type = "{probe}"
cgroup = "{cgroup}"
"""
_TRAFFIC = Path(__file__).parent / "traffic.py"


def _probes(cgroup: Path, *pipelines: str) -> str:
    names = ", ".join(f'"{name}"' for name in pipelines)
    return "".join(
        _PROBE.format(pipelines=names, probe=probe, cgroup=cgroup.name) for probe in ("DNS", "TLS", "Network")
    )


def first_event(folder: Path) -> float:
    """Seconds from the start of `ingrain run` to the first record on its console, in a cgroup with traffic."""
    with group.own() as cgroup, tempfile.TemporaryDirectory(dir=folder) as kept:
        config = Path(kept) / "config.toml"
        config.write_text(_probes(cgroup, "out") + '[pipeline.out.config]\nbackend = "Console"\nformat = "json"\n')
        with group.start(cgroup, sys.executable, _TRAFFIC, "connections", "60") as traffic:
            begun = time.monotonic()
            command = [sys.executable, "-m", "ingrain", "run", str(config)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
                line = running.stdout.readline() if running.stdout else b""
                taken = time.monotonic() - begun
                running.terminate()
                running.communicate()
            traffic.kill()
    if not line:
        raise agent.BenchError("the agent ended without a record")
    return taken


def idle(folder: Path, seconds: float) -> float:
    """Percent of a core that an agent takes when nothing happens in its cgroup."""
    with group.own() as cgroup, targets.archive(folder) as archive, targets.statsd(folder) as statsd:
        toml = _probes(cgroup, "archive", "statsd")
        toml += f"[pipeline.archive.config]\n{archive.toml}\n[pipeline.statsd.config]\n{statsd.toml}\n"
        with agent.running(folder, toml) as running:
            time.sleep(1)  # what it does at its start is over
            used = running.cpu_s()
            time.sleep(seconds)
            return 100 * (running.cpu_s() - used) / seconds

"""The one file beside the wheel: what it takes on disk, until it runs, and in memory.

    make dist && .venv/bin/python bench/onefile.py

The wheel is what this interpreter has installed. All times are of warm files.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import BenchError

from ingrain.kernel import cgroup
from ingrain.onefile import start, tree

RUNS = 7
SETTLE_S = 2.0
ONE_FILE = tree.ROOT / "dist" / "ingrain"
TOML = """\
[agent]
socket = "{socket}"
{probes}
[pipeline.out.config]
backend = "StatsD"
address = "127.0.0.1:9"
"""
PROBE = '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "{kind}"\ncgroup = "{group}"\n'


@dataclass(frozen=True, slots=True)
class Agent:
    """A way to have the agent: its command, and the environment that this takes."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]

    def version_s(self) -> float:
        """Seconds that `--version` takes: interpreter and command line."""
        begun = time.monotonic()
        subprocess.run([*self.command, "--version"], check=True, env=self.environment, stdout=subprocess.DEVNULL)
        return time.monotonic() - begun

    def running(self, config: Path) -> tuple[float, float]:
        """Seconds until all probes run; resident MB some time later."""
        begun = time.monotonic()
        command = [*self.command, "run", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=self.environment, text=True) as process:
            try:
                if not any("running" in line for line in process.stderr or ()):
                    raise BenchError(f"{self.name} does not start")
                taken = time.monotonic() - begun
                time.sleep(SETTLE_S)
                told = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate()
        return taken, next(int(line.split()[1]) for line in told if line.startswith("VmRSS:")) / 1024


def main() -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory() as name, cgroup.temporary(f"ingrain-bench-{os.getpid()}") as group:
        folder = Path(name)
        cache, config = folder / "cache", folder / "config.toml"
        probes = "".join(PROBE.format(kind=kind, group=group.name) for kind in ("DNS", "TLS", "Network"))
        config.write_text(TOML.format(socket=folder / "status.sock", probes=probes))
        one = Agent("one file", [str(ONE_FILE)], os.environ | {start.OVERRIDE: str(cache)})
        wheel = Agent("wheel", [sys.executable, "-m", "ingrain"], dict(os.environ))
        first = one.version_s()
        unpacked = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        print(f"the one file has {ONE_FILE.stat().st_size / 1e6:.1f} MB, and {unpacked / 1e6:.0f} MB unpacked")
        print(f"its first start, which unpacks, takes {first:.2f} s")
        for way in (one, wheel) * 2:
            version = statistics.median(way.version_s() for _ in range(RUNS))
            runs = [way.running(config) for _ in range(RUNS)]
            until, resident = (statistics.median(column) for column in zip(*runs, strict=True))
            print(f"{way.name:<9} --version {version:.2f} s, running after {until:.2f} s, {resident:.0f} MB resident")


if __name__ == "__main__":
    main()

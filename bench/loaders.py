"""What each loader costs: an agent with the three network probes, by CO-RE, and by BCC with and without what it kept.

    PYTHONPATH=tests python bench/loaders.py

The headers are those of the guests' kernel (`python -m guest.fetch`), so what BCC makes is loaded and not attached to
anything but an empty cgroup.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import agent
from guest import compiled, kernels

from ingrain.kernel import bcc, cgroup

RUNS = 5
SETTLE_S = 2.0
TOML = """\
[agent]
loader = "{loader}"
socket = "{socket}"
{probes}
[pipeline.out.config]
backend = "StatsD"
address = "127.0.0.1:9"
"""
PROBE = '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "{kind}"\ncgroup = "{group}"\n'


def main() -> None:
    """Print a line for each loader, then one for each probe that is compiled."""
    with tempfile.TemporaryDirectory() as folder, compiled.here(kernels.cached(kernels.own_suite())):
        kept = Path(folder, "kept")
        kept.mkdir(mode=0o700)
        os.environ["CACHE_DIRECTORY"] = str(kept)
        with cgroup.temporary(f"ingrain-bench-{os.getpid()}") as group:
            for name, loader, forget in (("core", "core", False), ("bcc", "bcc", True), ("bcc, kept", "bcc", False)):
                probes = "".join(PROBE.format(kind=kind, group=group.name) for kind in ("DNS", "TLS", "Network"))
                toml = TOML.format(loader=loader, socket=Path(folder, "status.sock"), probes=probes)
                found = sorted(_started(Path(folder), toml, kept if forget else None) for _ in range(RUNS))
                seconds, cpu, megabytes = found[RUNS // 2]
                print(f"{name:<10} runs after {seconds:.2f} s ({cpu:.2f} of CPU), then has {megabytes:.0f} MB resident")
        _forget(kept)
        for probe in compiled.PROBES:
            before = _compiling()
            size = len(bcc.compiled(probe))
            print(f"{probe:<10} is compiled in {_compiling() - before:.2f} s of CPU, {size >> 10} KB")
        print(f"the compiler has {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10} MB at most")


def _compiling() -> float:
    """Seconds of CPU that this process's children took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _started(folder: Path, toml: str, forget: Path | None) -> tuple[float, float, float]:
    """Seconds until an agent ran, how many it took of a CPU with its children, and its MB resident some time later."""
    if forget:
        _forget(forget)
    begun = time.monotonic()
    with agent.running(folder, toml) as running:
        seconds, process = time.monotonic() - begun, Path("/proc", str(running.process.pid))
        ticks = sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:15]))
        time.sleep(SETTLE_S)
        status = (process / "status").read_text()
    (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return seconds, ticks / os.sysconf("SC_CLK_TCK"), resident / 1024


def _forget(kept: Path) -> None:
    shutil.rmtree(kept)
    kept.mkdir(mode=0o700)


if __name__ == "__main__":
    main()

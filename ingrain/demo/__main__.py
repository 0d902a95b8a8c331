"""`python -m ingrain.demo`: the agent's main job for real, on this machine's kernel, held against what was done.

Exit codes: 0 the two columns are equal; 1 they differ, or no probe can run here.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ingrain import doctor
from ingrain.demo import seen
from ingrain.demo.workload import NEEDED, Deeds, Workload, WorkloadError
from ingrain.kernel import cgroup

_CONFIG = """\
[[probe]]
pipelines = ["archive", "statsd"]
[probe.config]
type = "DNS"
cgroup = "{cgroup}"

[[probe]]
pipelines = ["archive", "statsd"]
[probe.config]
type = "TLS"
cgroup = "{cgroup}"

[[probe]]
pipelines = ["archive", "statsd"]
[probe.config]
type = "Network"
cgroup = "{cgroup}"
interval_ms = 250

[pipeline.archive.config]
backend = "Archive"
path = "{archive}"
[[pipeline.archive.steps]]
type = "Regex"
patterns = [
  {{ key = "process", regex = "^conn\\\\d+$", replace_with = "docker_conn_proxy" }},
]
[[pipeline.archive.steps]]
type = "Whitelist"
allow = [
  "process", "process_id", "s_ip", "s_port", "d_ip", "d_port", "proto", "direction",
  "q_name", "q_type", "rcode", "answers", "sni", "alpn", "tls_version", "ciphersuite",
]

[pipeline.statsd.config]
backend = "StatsD"
address = "127.0.0.1:{port}"
use_tags = true
[[pipeline.statsd.steps]]
type = "Whitelist"
allow = ["process", "direction"]
[[pipeline.statsd.steps]]
type = "Buffer"
interval_ms = 500
"""


class Receiver(threading.Thread):
    """A StatsD server as small as can be: sums the counters that arrive."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.sums: Counter[str] = Counter()
        self.datagrams = 0

    def run(self) -> None:
        """Receive until an empty datagram comes."""
        while data := self._socket.recv(1 << 16):
            self.datagrams += 1
            for line in data.decode().splitlines():
                name, _, rest = line.partition(":")
                self.sums[name] += int(rest.partition("|")[0])

    def finish(self) -> None:
        """End, after what was sent before."""
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self.join(10)


@contextmanager
def _agent(config: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "ingrain", "run", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
        try:
            for line in agent.stderr or ():
                print(f"  {line.rstrip()}")
                if "running" in line:
                    break
            yield
        finally:
            agent.send_signal(signal.SIGTERM)
            _, account = agent.communicate(timeout=60)
            print("\nThe agent's account:\n")
            print("\n".join(f"  {line}" for line in account.splitlines()))
    if agent.returncode:
        raise WorkloadError(f"the agent ended with exit code {agent.returncode}")


def _show(did: Deeds, saw: Deeds) -> bool:
    """Both columns, a line a process and deed; whether they are equal."""
    print(f"\n  {'process':<18} {'what':<58} {'did':>12} {'saw':>12}")
    for process, what in sorted({*did, *saw}):
        one, other = did[process, what], saw[process, what]
        mark = "" if one == other else "   <- differs"
        print(f"  {process:<18} {what:<58} {one:>12,} {other:>12,}{mark}")
    return did == saw


def main() -> int:
    """Run the demo; its exit code."""
    lacking = [f"{program} (package {package})" for program, package in NEEDED.items() if not shutil.which(program)]
    if lacking:
        print(f"the demo's workload needs {', '.join(lacking)}")
        return 1
    host, found = doctor.examine()
    print("What this machine can do:\n")
    print("\n".join(f"  {line}" for line in doctor.text(host, found).splitlines()))
    able = {one.probe for one in found if one.runs}
    if not able:
        return 1
    folder = Path(tempfile.mkdtemp(prefix="ingrain-demo-"))
    archive = folder / "archive"
    receiver = Receiver()
    receiver.start()
    print("\nThe agent starts:\n")
    with cgroup.temporary(f"ingrain-demo-{os.getpid()}") as group:
        config = folder / "demo.toml"
        config.write_text(_CONFIG.format(cgroup=group.name, archive=archive, port=receiver.port))

        try:
            with Workload(partial(cgroup.enter, group)) as workload, _agent(config):
                workload.run()
        except WorkloadError as error:
            print(f"the workload failed: {error}")
            return 1
    receiver.finish()
    print("\nWhat the workload did, by its own programs' word, and what the agent saw:")
    equal = _show(_possible(workload.deeds, able), seen.deeds(archive))
    archived = seen.totals(archive)
    print("\nWhat StatsD received, and the sum of what is in the archive:\n")
    for name in sorted({*archived, *receiver.sums}):
        same = receiver.sums[name] == archived[name]
        equal &= same
        print(f"  {name:<30} {receiver.sums[name]:>12,} {archived[name]:>12,}{'' if same else '   <- differs'}")
    files = sorted(archive.rglob("*.parquet"))
    size = sum(file.stat().st_size for file in files)
    print(f"\n{receiver.datagrams} StatsD datagrams, and {size:,} bytes of Parquet in\n")
    print("\n".join(f"  {file}" for file in files))
    print(f"\n{'What was seen is what was done.' if equal else 'What was seen DIFFERS from what was done.'}")
    return 0 if equal else 1


def _possible(deeds: Deeds, able: set[str]) -> Deeds:
    """The deeds that the probes which can run here are able to see."""
    words = {
        "DNS": ("asked", "was told", "told"),
        "TLS": ("offered", "was offered", "was given", "gave"),
        "Network": ("TCP", "UDP"),
    }
    prefixes = tuple(word for probe in able for word in words.get(probe, ()))
    return Counter({key: amount for key, amount in deeds.items() if key[1].startswith(prefixes)})


if __name__ == "__main__":
    sys.exit(main())

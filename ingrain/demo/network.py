"""The network's half of the demo: what real programs sent on the loopback, and what the agent saw of it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ingrain.demo import agent, seen
from ingrain.demo.agent import DemoError
from ingrain.demo.deeds import Deeds, show
from ingrain.demo.workload import NEEDED, Workload
from ingrain.kernel import cgroup

PROBES = ("DNS", "TLS", "Network")

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


def run(able: set[str], command: Sequence[str] = agent.OWN) -> bool:
    """Run it with the probes that can run here; whether what was seen is what was done. Raises DemoError.

    command: what the agent is started by, if not this package's; it has to see this process's /tmp.
    """
    lacking = [f"{program} (package {package})" for program, package in NEEDED.items() if not shutil.which(program)]
    if lacking:
        raise DemoError(f"the workload needs {', '.join(lacking)}")
    folder = Path(tempfile.mkdtemp(prefix="ingrain-demo-"))
    archive = folder / "archive"
    receiver = Receiver()
    receiver.start()
    print("\nThe agent starts:\n")
    with cgroup.temporary(f"ingrain-demo-{os.getpid()}") as group:
        config = folder / "demo.toml"
        config.write_text(_CONFIG.format(cgroup=group.name, archive=archive, port=receiver.port))
        with Workload(partial(cgroup.enter, group)) as workload, agent.running(config, command):
            workload.run()
    receiver.finish()
    print("\nWhat the workload did, as its own programs report it, and what the agent recorded:")
    equal = show(_possible(workload.deeds, able), seen.deeds(archive))
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
    return equal


def _possible(deeds: Deeds, able: set[str]) -> Deeds:
    """The deeds that the probes which can run here are able to see."""
    protocols = {"DNS": ("DNS",), "TLS": ("TLS",), "Network": ("TCP", "UDP")}
    prefixes = tuple(protocol for probe in able for protocol in protocols.get(probe, ()))
    return Counter({key: amount for key, amount in deeds.items() if key[1].startswith(prefixes)})

"""Where the pipelines end: Parquet in a local folder, Parquet in a real S3 server, a real StatsD receiver over UDP.

Each tells afterwards how many records it holds, so that nobody has to believe the agent's account.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

S3_SERVER = Path(__file__).parents[1] / ".cache/bin/versitygw"
"""Versity's gateway, where the tests have fetched it (tests/servers/install.sh)."""

_BUCKET = "bench"
_PATIENCE_S = 60.0


@dataclass(slots=True)
class Target:
    """One end of a pipeline: its settings in the file, what the agent's environment needs, and what arrived there.

    `arrived` may be called once the agent has ended.
    """

    toml: str
    arrived: Callable[[], int]
    environment: Mapping[str, str] = field(default_factory=dict)
    cpu_s: float = 0.0
    """The receiver's own processor seconds."""


Place = Callable[[Path], AbstractContextManager[Target]]
"""Opens a target, with a folder for what it keeps."""


@contextmanager
def archive(folder: Path) -> Iterator[Target]:
    """Objects in a local folder."""
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        yield Target(f'backend = "Archive"\npath = "{kept}"', lambda: _rows(Path(kept)))


@contextmanager
def s3(folder: Path) -> Iterator[Target]:
    """Objects in a bucket of a real S3 server on the loopback, which keeps them in a folder."""
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        buckets, sidecar = Path(kept) / "buckets", Path(kept) / "sidecar"
        (buckets / _BUCKET).mkdir(parents=True)
        sidecar.mkdir()
        port = _free_port()
        access, secret = "bench", os.urandom(16).hex()
        command = [str(S3_SERVER), "--access", access, "--secret", secret, "--port", f"127.0.0.1:{port}", "--quiet"]
        command += ["posix", "--sidecar", str(sidecar), str(buckets)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                _wait_for(port)
                toml = f'backend = "S3"\nbucket = "{_BUCKET}"\nregion = "us-east-1"\n'
                toml += f'endpoint_url = "http://127.0.0.1:{port}"\nspool = "{kept}/spool"'
                keys = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
                yield Target(toml, lambda: _rows(buckets / _BUCKET), keys)
            finally:
                server.terminate()


@contextmanager
def statsd(folder: Path) -> Iterator[Target]:
    """A receiver that adds up the values of all lines (receiver.c): each connection is 1."""
    with subprocess.Popen([str(folder / "receiver")], stdout=subprocess.PIPE, text=True) as receiver:
        try:
            port = int(receiver.stdout.readline() if receiver.stdout else "")
            target = Target(f'backend = "StatsD"\naddress = "127.0.0.1:{port}"\nuse_tags = true', lambda: 0)

            def arrived() -> int:
                receiver.terminate()
                told = json.loads(receiver.communicate()[0])
                target.cpu_s = told["cpu_s"]
                return int(told["sum"])

            target.arrived = arrived
            yield target
        finally:
            receiver.kill()


def _rows(folder: Path) -> int:
    """Rows of all Parquet files below, by their footers; read in a process of its own, to keep this one small."""
    code = "import sys, pyarrow.parquet as q; print(sum(q.read_metadata(p).num_rows for p in sys.argv[1:]))"
    files = [str(path) for path in folder.rglob("*.parquet")]
    told = subprocess.run([sys.executable, "-c", code, *files], check=True, capture_output=True, text=True)
    return int(told.stdout)


def _free_port() -> int:
    """A port of the loopback that nobody uses now, and that the kernel gives to nobody who asks for just any."""
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = secrets.choice(range(10_000, given))
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError("the S3 server did not come up")

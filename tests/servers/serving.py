"""The real servers, each started on a free port of the loopback, waited for, and ended with the test.

tests/servers/install.sh fetches them. One that is missing fails the test and says so: what it would have shown is not
shown.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ingrain.batch import Batch, Measurement
from ingrain.config.model import PipelineConfig
from ingrain.pipeline import Pipeline

CACHE = Path(__file__).parents[2] / ".cache"
PATIENCE_S = 60.0

Row = dict[str, Any]


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of the loopback that nobody uses now, and that the kernel gives to nobody who asks for just any."""
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = secrets.choice(range(10_000, given))
        with socket.socket(socket.AF_INET, kind) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def refusing(kind: int = socket.SOCK_STREAM) -> Iterator[int]:
    """A port of the loopback that is taken and refuses whatever is sent there, as one that nobody uses."""
    with socket.socket(socket.AF_INET, kind) as held:
        held.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_DGRAM:
            held.connect(held.getsockname())  # it is given nothing but its own datagrams: udp(7)
        port: int = held.getsockname()[1]
        yield port


def until(what: str, true: Callable[[], Any]) -> Any:
    """What `true` returns, as soon as that is true; fails the test when it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        result = true()
        if result:
            return result
        time.sleep(0.02)
    pytest.fail(f"waited {PATIENCE_S:.0f} s for {what}")


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(name: str, command: Sequence[str], port: int) -> Iterator[None]:
    """A server, from when it listens on the TCP port to its end."""
    program = shutil.which(command[0])
    if program is None or not all(Path(part).exists() for part in command if part.startswith(str(CACHE))):
        pytest.fail(f"{name} is not there: run tests/servers/install.sh, as make test does")
    with subprocess.Popen([program, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as it:
        try:
            until(f"{name} to listen on {port}", lambda: it.poll() is not None or accepts(port))
            if it.poll() is not None:
                assert it.stdout
                pytest.fail(f"{name} ended at once: {it.stdout.read()}")
            yield
        finally:
            it.kill()


class NpmStatsD:
    """The original StatsD: where it listens, and what it has counted, asked over its administration port."""

    def __init__(self, port: int, admin: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._admin = admin

    def values(self, kind: str) -> dict[str, int]:
        """`counters` or `gauges`, by name; those of the server itself begin with `statsd.`.

        What it was sent to find out whether it listens is in none of them.
        """
        found = self._all(kind)
        if hellos := found.pop("hello", 0):
            for name in ("packets_received", "metrics_received"):
                found[f"statsd.{name}"] -= hellos
        return found

    def hears(self) -> bool:
        """Whether it has had a datagram; send it one, since its UDP socket may come after its administration port."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hello:
            host, _, port = self.address.partition(":")
            hello.sendto(b"hello:1|c", (host, int(port)))
        return "hello" in self._all("counters")

    def _all(self, kind: str) -> dict[str, int]:
        with socket.create_connection(("127.0.0.1", self._admin), timeout=PATIENCE_S) as asked:
            asked.sendall(f"{kind}\n".encode())
            told = b""
            while not told.endswith(b"END\n\n"):
                told += asked.recv(1 << 16)
        # An object as Node prints it: names in quotes where they are no identifiers.
        return {name: int(value) for name, value in re.findall(r"'?([^\s',{}]+)'?: (-?\d+)\b", told.decode())}


@contextmanager
def npm_statsd(folder: Path) -> Iterator[NpmStatsD]:
    """npm's statsd, which flushes nothing while a test runs."""
    port, admin = free_port(socket.SOCK_DGRAM), free_port()
    config = folder / "statsd.js"
    settings = {
        "port": port,
        "address": "127.0.0.1",
        "mgmt_port": admin,
        "mgmt_address": "127.0.0.1",
        "flushInterval": 3_600_000,
        "backends": [],
    }
    config.write_text(json.dumps(settings))
    main = CACHE / "statsd/node_modules/statsd/stats.js"
    with running("npm's statsd", ["node", str(main), str(config)], admin):
        server = NpmStatsD(port, admin)
        until("statsd to hear", server.hears)
        yield server


class Exporter:
    """Prometheus's statsd_exporter: where it listens, and what it has counted."""

    def __init__(self, port: int, web: int, path: Path) -> None:
        self.address = f"127.0.0.1:{port}"
        self.unix = f"unix://{path}"
        self.web = f"127.0.0.1:{web}"

    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """All it exposes: name, labels, value."""
        with urllib.request.urlopen(f"http://{self.web}/metrics", timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
        return [sample(line) for line in text.split("\n") if line and not line.startswith("#")]

    def total(self, name: str) -> float:
        """The sum of a metric over all its labels."""
        return sum(value for one, _, value in self.samples() if one == name)


def sample(line: str) -> tuple[str, dict[str, str], float]:
    """A line of Prometheus's text format 0.0.4."""
    head, _, value = line.rpartition(" ")
    name, _, rest = head.partition("{")
    labels = {}
    while rest and rest != "}":
        label, _, rest = rest.lstrip(",").partition('="')
        text = ""
        while rest[0] != '"':
            taken = 2 if rest[0] == "\\" else 1
            text += {"\\n": "\n", '\\"': '"', "\\\\": "\\"}.get(rest[:taken], rest[:taken])
            rest = rest[taken:]
        labels[label], rest = text, rest[1:]
    return name, labels, float(value)


@contextmanager
def statsd_exporter(folder: Path, *options: str) -> Iterator[Exporter]:
    """statsd_exporter, on UDP and on a Unix socket."""
    port, web, path = free_port(socket.SOCK_DGRAM), free_port(), folder / "dogstatsd.sock"
    command = [
        str(CACHE / "bin/statsd_exporter"),
        f"--statsd.listen-udp=127.0.0.1:{port}",
        "--statsd.listen-tcp=",
        f"--statsd.listen-unixgram={path}",
        f"--web.listen-address=127.0.0.1:{web}",
        *options,
    ]
    with running("statsd_exporter", command, web):
        yield Exporter(port, web, path)


class Prometheus:
    """Prometheus: what it answers."""

    def __init__(self, web: str) -> None:
        self._web = web

    def ask(self, expression: str) -> list[Any]:
        """The series of an expression, now; raises AssertionError with what Prometheus said where it is none."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"http://{self._web}/api/v1/query?{query}", timeout=PATIENCE_S) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        assert told["status"] == "success", told
        found: list[Any] = told["data"]["result"]
        return found


@contextmanager
def prometheus(folder: Path, settings: str) -> Iterator[Prometheus]:
    """Prometheus with this configuration."""
    web = f"127.0.0.1:{free_port()}"
    config = folder / "prometheus.yml"
    config.write_text(settings)
    command = [
        str(CACHE / "prometheus/usr/bin/prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={web}",
    ]
    with running("prometheus", command, int(web.rpartition(":")[2])):
        yield Prometheus(web)


@dataclass
class Gateway:
    """versitygw: an S3 server. `folder` holds its buckets."""

    url: str
    folder: Path
    access: str = "ingrain-test"
    secret: str = "not-a-secret-anywhere-else"

    def add_user(self, access: str) -> None:
        """Another who has the same secret, and no rights yet."""
        command = [str(CACHE / "bin/versitygw"), "admin", "--access", self.access, "--secret", self.secret]
        command += ["--endpoint-url", self.url, "create-user", "--access", access, "--secret", self.secret]
        subprocess.run([*command, "--role", "user"], check=True, capture_output=True)


@contextmanager
def versitygw(folder: Path, port: int | None = None) -> Iterator[Gateway]:
    """An S3 server over a folder, with the bucket `logs`."""
    port = port or free_port()
    buckets, sidecar, users = folder / "buckets", folder / "sidecar", folder / "users"
    (buckets / "logs").mkdir(parents=True, exist_ok=True)
    sidecar.mkdir(exist_ok=True)
    users.mkdir(exist_ok=True)
    gateway = Gateway(f"http://127.0.0.1:{port}", buckets)
    command = [str(CACHE / "bin/versitygw"), "--access", gateway.access, "--secret", gateway.secret]
    command += ["--port", f"127.0.0.1:{port}", "--quiet", "--iam-dir", str(users)]
    command += ["posix", "--sidecar", str(sidecar), str(buckets)]
    with running("versitygw", command, port):
        yield gateway


@dataclass
class Receiver:
    """Node's HTTP server: `folder` holds what it was sent."""

    port: int
    folder: Path

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What it was asked, and what it answered, in order."""
        log = self.folder / "requests"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def bodies(self) -> list[bytes]:
        """All that it took; of what has the same Idempotency-Key the last."""
        return [path.read_bytes() for path in sorted(self.folder.glob("*.body"))]


@contextmanager
def receiver(folder: Path, limit: int = 0, tls: tuple[Path, Path] | None = None) -> Iterator[Receiver]:
    """A server that takes bodies up to so many bytes. tls: its key and certificate."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = ["node", str(Path(__file__).parent / "receiver.js"), str(port), str(folder), str(limit)]
    with running("node", [*command, *map(str, tls or ())], port):
        yield Receiver(port, folder)


def batch_of(measurement: Measurement, rows: Sequence[Row]) -> Batch:
    """Records; a column that a row does not tell is null."""
    return Batch(measurement, pa.RecordBatch.from_pylist(list(rows), measurement.schema))


@contextmanager
def pipeline(backend: str, settings: Any, *steps: tuple[str, Any], name: str = "test") -> Iterator[Pipeline]:
    """A pipeline that runs; `end` it inside, or it is ended with what it holds."""
    made = Pipeline(PipelineConfig(name, backend, settings, list(steps)))
    made.fill()
    made.begin()
    yield made
    if not made._flush.done.is_set():
        end(made)


def end(made: Pipeline, seconds: float = PATIENCE_S) -> bool:
    """Flush and stop it; whether that was done in time."""
    made.flush()
    return made.finish(time.monotonic() + seconds)

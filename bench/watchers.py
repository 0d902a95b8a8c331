"""Who watches a job's files: ingrain and its peers, each as it is used; what they see goes to files.

Each is a context: inside it sees what is done; after it `Watcher.seen` are the paths that it told, `lost` what it
says that it lost. A peer is not measured before it sees: a canary file is opened until it is told.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import agent
from agent import BenchError

_PATIENCE_S = 300.0
_ATTEMPTS = 20
_CPUCLOCK_SCHED = 2  # linux/posix-timers.h

_INGRAIN = """
[[probe]]
pipelines = ["kept"]
[probe.config]
type = "Files"
monitor_dirs = ["{watched}"]
{more}
[pipeline.kept.config]
backend = "Archive"
path = "{kept}"
"""
_BPFTRACE = """
tracepoint:syscalls:sys_enter_open, tracepoint:syscalls:sys_enter_openat, tracepoint:syscalls:sys_enter_openat2
{ printf("%d %s %s\\n", pid, comm, str(args->filename)); }
"""
_PATHS_CODE = """
import sys, pyarrow.parquet as q
for file in sys.argv[1:]:
    print("\\n".join(set(q.read_table(file, columns=["path"])["path"].to_pylist()) - {None}))
"""


@dataclass(slots=True)
class Watcher:
    """cpu_s: processor seconds that its process took so far. seen, lost: once it has ended."""

    cpu_s: Callable[[], float]
    seen: set[str] = field(default_factory=set)
    lost: int = 0


Watching = Callable[[Path, Path], AbstractContextManager[Watcher]]
"""Watches the first folder, and keeps what it needs in the second."""


@contextmanager
def ingrain(watched: Path, folder: Path, more: str = "") -> Iterator[Watcher]:
    """The agent with Files, to an Archive. more: lines of the probe's configuration."""
    kept = folder / "kept"
    with agent.running(folder, _INGRAIN.format(watched=watched, kept=kept, more=more)) as running:
        watcher = Watcher(running.cpu_s)
        yield watcher
    (probe,) = running.account["probes"]
    (stations,) = running.account["pipelines"].values()
    watcher.lost = probe["lost"] + probe["uncounted"] + sum(one["lost"] + one["refused"] for one in stations)
    files = [str(path) for path in kept.glob("measurement=file.open/**/*.parquet")]
    told = subprocess.run([sys.executable, "-c", _PATHS_CODE, *files], check=True, capture_output=True, text=True)
    watcher.seen = set(told.stdout.splitlines())


def ingrain_opens(watched: Path, folder: Path) -> AbstractContextManager[Watcher]:
    """The same, but for opens alone: all that opensnoop and the script of bpftrace report."""
    return ingrain(watched, folder, 'measurements = ["file.open"]')


@dataclass(frozen=True, slots=True)
class _Peer:
    """How one is run. told: a file that it writes, or a folder of them. begin, end: what has to be done beside it."""

    command: Sequence[str]
    told: Path
    ending: signal.Signals = signal.SIGINT
    environment: Mapping[str, str] = field(default_factory=dict)
    begin: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None

    def text(self) -> str:
        """All that it has told."""
        files = sorted(self.told.iterdir()) if self.told.is_dir() else [self.told]
        return "".join(file.read_text(errors="replace") for file in files if file.exists())


@contextmanager
def opensnoop(watched: Path, folder: Path) -> Iterator[Watcher]:
    """BCC's, with the distribution's Python."""
    with _running(_Peer(["/usr/sbin/opensnoop-bpfcc"], folder / "out"), watched, folder) as watcher:
        yield watcher


@contextmanager
def bpftrace(watched: Path, folder: Path) -> Iterator[Watcher]:
    """A script of two lines. Without the setting it cuts paths at 64 bytes."""
    command = ["bpftrace", "-o", str(folder / "told"), "-e", _BPFTRACE]
    with _running(_Peer(command, folder / "told", environment={"BPFTRACE_STRLEN": "200"}), watched, folder) as watcher:
        yield watcher


class Auditd:
    """The daemon, unpacked below `root`, with Debian's own settings, but for where its log is and that all is kept."""

    def __init__(self, root: Path) -> None:
        self._root = root
        multiarch = f"{platform.machine()}-linux-gnu"
        self._environment = {"LD_LIBRARY_PATH": f"{root}/lib/{multiarch}:{root}/usr/lib/{multiarch}"}

    @contextmanager
    def __call__(self, watched: Path, folder: Path) -> Iterator[Watcher]:
        """A `Watching`."""
        log = folder / "log"
        log.mkdir()
        settings = (self._root / "etc/audit/auditd.conf").read_text()
        for ours, theirs in ((str(log), "/var/log/audit"), ("num_logs = 999", "num_logs = 5")):
            if theirs not in settings:
                raise BenchError(f"auditd.conf has no {theirs}")
            settings = settings.replace(theirs, ours)
        (folder / "auditd.conf").write_text(settings)
        before = self._lost()

        def begin() -> None:
            self._auditctl("-R", self._root / "etc/audit/rules.d/audit.rules")
            self._auditctl("-w", watched, "-p", "rwxa", "-k", "bench")

        command = [str(self._root / "sbin" / "auditd"), "-n", "-c", str(folder)]
        peer = _Peer(command, log, signal.SIGTERM, self._environment, begin, self._off)
        with _running(peer, watched, folder) as watcher:
            yield watcher
        watcher.lost = self._lost() - before

    def _off(self) -> None:
        # The kernel never forgets that it was audited: only with this rule are new processes no part of it.
        self._auditctl("-D")
        self._auditctl("-a", "never,task")
        self._auditctl("-e", "0")

    def _lost(self) -> int:
        return int(re.findall(r"^lost (\d+)", self._auditctl("-s"), re.MULTILINE)[0])

    def _auditctl(self, *words: str | Path) -> str:
        command = [str(self._root / "sbin" / "auditctl"), *map(str, words)]
        told = os.environ | self._environment
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=told)
        if done.returncode:
            raise BenchError(f"{' '.join(command)} failed: {done.stdout} {done.stderr}")
        return done.stdout


@contextmanager
def _running(peer: _Peer, watched: Path, folder: Path) -> Iterator[Watcher]:
    out, errors = folder / "out", folder / "errors"
    with (
        out.open("wb") as printed,
        errors.open("wb") as complaints,
        subprocess.Popen(peer.command, stdout=printed, stderr=complaints, env=os.environ | peer.environment) as process,
    ):
        try:
            _wait_until_seen(peer, process, watched / "canary", errors)
            watcher = Watcher(lambda: time.clock_gettime(~process.pid << 3 | _CPUCLOCK_SCHED))
            yield watcher
            peer.end()
            _end(process, peer.ending)
        finally:
            process.kill()
    told, said = peer.text(), errors.read_text(errors="replace")
    watcher.seen = set(re.findall(rf"{re.escape(str(watched))}/[^\s\"]+", told))
    watcher.lost = sum(int(number) for number in re.findall(r"[Ll]ost (\d+) ", said + out.read_text(errors="replace")))


def _end(process: subprocess.Popen[bytes], ending: signal.Signals) -> None:
    """Again and again: what Python is told while it is called by C, as BCC calls it for each event, gets lost."""
    for _ in range(_ATTEMPTS):
        process.send_signal(ending)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return
    raise BenchError(f"it did not end by {ending.name}, sent {_ATTEMPTS} times")


def _wait_until_seen(peer: _Peer, process: subprocess.Popen[bytes], canary: Path, errors: Path) -> None:
    """Open a file until the peer tells it; often, since what it prints stays in a buffer of its own for a while."""
    time.sleep(1)
    peer.begin()
    canary.touch()
    deadline = time.monotonic() + _PATIENCE_S
    while str(canary) not in peer.text():
        if process.poll() is not None or time.monotonic() > deadline:
            state = f"ended with exit code {process.returncode}" if process.returncode is not None else "sees nothing"
            raise BenchError(f"{peer.command[0]} {state}: {errors.read_text(errors='replace')}")
        subprocess.run(["sh", "-c", f"for i in $(seq 100); do : <{canary}; done"], check=True)
        time.sleep(0.5)

"""An `ingrain run` as a process of its own: started from a configuration, watched from outside, ended by SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CLOCK_SCHED = 2  # CPUCLOCK_SCHED of linux/posix-timers.h: all threads' time on a CPU, in nanoseconds


class BenchError(RuntimeError):
    """The bench cannot go on, or what it measured cannot be true; the message says why."""


@dataclass(slots=True)
class Running:
    """The agent's process, and what it has said. `account` is there when it has ended."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    account: dict[str, Any] = field(default_factory=dict)
    asked_to_end: float = 0.0
    ended: float = 0.0
    cpu_s_at_end: float = 0.0

    @property
    def ending_s(self) -> float:
        """From SIGTERM until everything was delivered, and the account told."""
        return self.ended - self.asked_to_end

    def cpu_s(self) -> float:
        """Processor seconds since its start, in the kernel's own resolution."""
        return time.clock_gettime(~self.process.pid << 3 | _CLOCK_SCHED)

    def memory_mb(self) -> float:
        """The most resident memory that it ever had, MiB (VmHWM)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise BenchError("the agent has ended by itself: " + "".join(self.said))


@contextmanager
def running(folder: Path, toml: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """An agent from when its probes are attached; it is ended with the `with`, and then has its account.

    Raises BenchError where it does not start, or does not end as it should.
    """
    here = Path(tempfile.mkdtemp(dir=folder))
    config, account = here / "config.toml", here / "account.json"
    config.write_text(toml)
    command = [sys.executable, "-m", "ingrain", "run", str(config), "--account", str(account)]
    told = os.environ | (environment or {})
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=told) as process:
        agent = Running(process)
        started = threading.Event()
        listening = threading.Thread(target=_listen, args=(agent, started), daemon=True)
        listening.start()
        try:
            started.wait()
            if process.poll() is not None:
                raise BenchError("the agent did not start: " + "".join(agent.said))
            yield agent
            _end(agent, listening, account)
        finally:
            process.kill()


def _listen(agent: Running, started: threading.Event) -> None:
    if agent.process.stderr is not None:
        for line in agent.process.stderr:
            agent.said.append(line)
            if "running" in line:
                started.set()
            elif line.startswith("probe "):  # the account's first line: everything was delivered before it
                agent.ended, agent.cpu_s_at_end = time.monotonic(), agent.cpu_s()
    agent.process.wait()
    started.set()


def _end(agent: Running, listening: threading.Thread, account: Path) -> None:
    agent.asked_to_end = time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    listening.join()
    if agent.process.returncode or not account.exists():
        raise BenchError(f"the agent ended with exit code {agent.process.returncode}: " + "".join(agent.said))
    agent.account = json.loads(account.read_text())

"""The agent as a process of its own, as a user runs it: what it says is shown."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_ENDING_S = 240  # in a guest everything takes its time


class DemoError(RuntimeError):
    """The demo cannot show what it is to show; the message says why."""


OWN = (sys.executable, "-m", "ingrain")
"""The command that is the agent of this package."""


@contextmanager
def running(config: Path, command: Sequence[str] = OWN) -> Iterator[None]:
    """An agent from when its probes see, to its end, with its account. Raises DemoError where it does not end well."""
    with subprocess.Popen([*command, "run", str(config)], stderr=subprocess.PIPE, text=True) as agent:
        try:
            for line in agent.stderr or ():
                print(f"  {line.rstrip()}", flush=True)
                if "running" in line:
                    break
            yield
        finally:
            agent.send_signal(signal.SIGTERM)
            try:
                _, account = agent.communicate(timeout=_ENDING_S)
            except subprocess.TimeoutExpired as error:
                agent.kill()
                raise DemoError(f"the agent did not end within {_ENDING_S} s") from error
            print("\nThe agent's account:\n")
            print("\n".join(f"  {line}" for line in account.splitlines()), flush=True)
    if agent.returncode:
        raise DemoError(f"the agent ended with exit code {agent.returncode}")

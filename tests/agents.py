"""`ingrain run` as a process of its own, for tests: what it says while it runs, its account when it has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0

os.environ.setdefault("PYTHONFAULTHANDLER", "1")  # an agent that crashes says where

OWN = """\
[agent]
socket = "{socket}"
[[probe]]
pipelines = ["out"]
[probe.config]
type = "Agent"
interval_s = 1
"""
"""The probe that needs no rights; a pipeline `out` has to follow. With the socket's path."""


_PATIENT = """
from ingrain import probe
from ingrain.containers import waiting
from ingrain.__main__ import main
probe.LAST_WAIT_S = waiting.HOLD_S = 60.0
main()
"""
PATIENT = "-c", _PATIENT
"""An agent whose records wait long enough for the names of their containers also where the machine is busy."""


@dataclass
class Running:
    """An agent: its process, what it printed, what it said so far, and its account in the end."""

    process: subprocess.Popen[str]
    file: Path
    socket: Path
    patience_s: float = PATIENCE_S
    account: dict[str, Any] = field(default_factory=dict)
    printed: str = ""
    said: str = ""
    _ended: bool = False
    _heard: threading.Condition = field(default_factory=threading.Condition)

    def listen(self) -> None:
        """Hear what it says, until it has ended."""
        assert self.process.stderr
        for line in self.process.stderr:
            with self._heard:
                self.said += line
                self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until it has said that so often."""
        with self._heard:
            self._heard.wait_for(lambda: self._ended or self.said.count(text) >= times, self.patience_s)
        assert self.said.count(text) >= times, f"the agent never said {text!r}: {self.said}"

    def reload(self, toml: str, says: str = "is in force") -> None:
        """Put this into its file, have it read that again, and wait until it has done so and says that."""
        before = self.said.count(says)
        new = self.file.with_suffix(".new")
        new.write_text(toml)
        new.rename(self.file)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(says, before + 1)

    def status(self) -> tuple[int, dict[str, Any]]:
        """What `ingrain status` says of it: the exit code and the document.

        It gives up after seconds, which a busy machine may take: then it is asked again.
        """
        deadline = time.monotonic() + self.patience_s
        while True:
            done = ingrain("status", "--json", "--socket", self.socket)
            if done.stdout:
                return done.returncode, json.loads(done.stdout)
            assert "does not answer within" in done.stderr, done.stderr
            assert time.monotonic() < deadline, done.stderr


def ingrain(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command of `ingrain`, done."""
    command = [sys.executable, "-m", "ingrain", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S, **options)


@contextmanager
def agent(
    toml: str,
    folder: Path,
    ended_by: signal.Signals = signal.SIGTERM,
    expected: int = 0,
    program: tuple[str, ...] = ("-m", "ingrain"),
    *,
    before: tuple[str, ...] = (),
    command: Sequence[str] = (),
    patience_s: float = PATIENCE_S,
    **options: Any,
) -> Iterator[Running]:
    """An agent with this configuration runs inside, and is ended by a signal at the end.

    before: a program that becomes it, with its arguments. command: what is run instead of this interpreter. `options`:
    of Popen.
    """
    config, account, out = folder / "config.toml", folder / "account.json", folder / "out"
    config.write_text(toml)
    if program[0] == "-c":  # what it imports first may begin threads, and a signal end it by those
        program = ("-c", f"from ingrain import signals\nsignals.hold()\n{program[1]}")
    started = command or (*before, sys.executable, *program)
    command = [*started, "run", str(config), "--account", str(account)]
    with (
        out.open("w") as stdout,
        subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, **options) as process,
    ):
        running = Running(process, config, folder / "status.sock", patience_s)
        thread = threading.Thread(target=running.listen)
        thread.start()
        try:
            running.wait_for("running")
            yield running
        finally:
            process.send_signal(ended_by)
            try:
                process.wait(patience_s)
            finally:
                process.kill()
                thread.join()
        assert process.returncode == expected, f"exit code {process.returncode}: {running.said}"
    running.printed = out.read_text()
    if account.exists():
        running.account = json.loads(account.read_text())

"""`ingrain top` in a terminal of 80x24, beside a running agent and on its own, on live traffic."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyte
import pytest
from agents import agent
from conftest import Start, Talker

LINES, COLUMNS = 24, 80
PATIENCE_S = 60
CTRL_Q = "\x11"  # ends it also while a filter is typed


@dataclass
class Terminal:
    """A program in a terminal: what is on the screen, and keys."""

    program: subprocess.Popen[bytes]
    _master: int
    _screen: pyte.Screen
    _stream: pyte.ByteStream

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def shows(self, *texts: str) -> str:
        """The screen, as soon as all of that is on it."""
        return self.until(lambda screen: all(text in screen for text in texts), f"{texts} to be shown")

    def until(self, true: Callable[[str], bool], what: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not true(screen := "\n".join(self._screen.display)):
            assert time.monotonic() < deadline, f"waited for {what}:\n{screen}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self._stream.feed(os.read(self._master, 1 << 16))
                except OSError:  # the program has ended
                    break
        return screen


@contextmanager
def top(*arguments: str | Path, end: str = "q") -> Iterator[Terminal]:
    """`ingrain top`, ended by a key at the end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "ingrain", "top", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    ) as program:
        os.close(slave)
        screen = pyte.Screen(COLUMNS, LINES)
        terminal = Terminal(program, master, screen, pyte.ByteStream(screen))
        try:
            yield terminal
            terminal.press(end)
            terminal.until(lambda _: program.poll() is not None, "its end")
            assert program.wait(PATIENCE_S) == 0
        finally:
            program.kill()
            os.close(master)


def talking(one: Talker, other: Talker) -> Callable[[str], bool]:
    """A datagram from the other to the one, each time that it is asked whether both are shown."""
    to = one("bind", "server", family=4, proto="udp")
    other("socket", "client", family=4, proto="udp")

    def shown(screen: str) -> bool:
        other("sendto", "client", to=to, size=1000)
        return one.name in screen and other.name in screen

    return shown


def test_beside_an_agent_it_shows_what_that_sees_and_leaves_it_as_it_was(
    group: Path, start: Start, tmp_path: Path
) -> None:
    one, other = Talker(start, "quiet"), Talker(start, "chatty")
    toml = f'[agent]\nsocket = "{tmp_path / "status.sock"}"\n'
    toml += f'[pipeline.out.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\n'
    for kind in ("DNS", "TLS", "Network"):
        toml += f'[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "{kind}"\ncgroup = "{group.name}"\n'
    with agent(toml, tmp_path) as running, top("--socket", running.socket, end=CTRL_Q) as terminal:
        terminal.shows("Processes", "Names", running.file.name)
        screen = terminal.until(talking(one, other), "both")
        assert all(len(line) <= COLUMNS for line in screen.splitlines())
        terminal.press("/")
        terminal.press("chat\r")
        terminal.until(lambda shown: "chatty" in shown and "quiet" not in shown, "the filter")
    (probe,) = (one for one in running.account["probes"] if one["name"] == "Network")
    assert probe["lost"] == 0
    (station,) = running.account["pipelines"]["out"]
    assert station["received"] == station["delivered"] == probe["records"]


def test_where_no_agent_answers_it_runs_probes_of_its_own(group: Path, start: Start, tmp_path: Path) -> None:
    one, other = Talker(start, "listens"), Talker(start, "talks")
    with top("--socket", tmp_path / "none", "--probe", "Network", "--cgroup", group.name) as terminal:
        terminal.shows("its own probes")
        terminal.until(talking(one, other), "both")
    with pytest.raises(ProcessLookupError):
        os.kill(terminal.program.pid, signal.SIGCONT)

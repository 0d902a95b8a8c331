"""What top watches: the agent that is named, the usual one if it is there, or probes of its own."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ingrain import top
from ingrain.live.feed import Feed, beside
from ingrain.live.source import Live
from ingrain.local import LocalError


class Own:
    """Stands for probes of its own, which would see all of this host."""

    def __init__(self, kinds: Sequence[str], cgroup: str | None, seen: object) -> None:
        del seen
        self.kinds, self.cgroup = kinds, cgroup

    def stop(self) -> None:
        """As the real ones have it."""


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Where an agent is by default."""
    path = str(tmp_path / "status.sock")
    monkeypatch.setattr(top, "SOCKET", path)
    monkeypatch.setattr(top, "Own", Own)
    return path


def source(path: str | None, kinds: Sequence[str] | None = None, cgroup: str | None = None) -> object:
    made = top.connect(path, kinds, cgroup, lambda _frame: None, lambda _why: None)
    made.stop()
    return made


def test_the_usual_agent_is_watched_where_it_is_there(usual: str) -> None:
    feed = Feed(beside(usual))
    try:
        assert isinstance(source(None), Live)
        assert isinstance(source(usual), Live)
        assert isinstance(source(None, ["DNS"]), Own)
        assert isinstance(source(None, None, "system.slice"), Own)
    finally:
        feed.stop()


def test_without_an_agent_it_looks_for_itself(usual: str) -> None:
    assert isinstance(source(None), Own)
    with socket.socket(socket.AF_UNIX) as dead:  # of an agent that was killed
        dead.bind(beside(usual))
    assert isinstance(source(None), Own)


def test_an_agent_that_does_not_let_one_in_is_no_reason_to_run_probes(
    usual: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Callable[..., None]:
        raise LocalError("root only") from PermissionError()

    monkeypatch.setattr(top, "Live", refused)
    with pytest.raises(LocalError, match="root only"):
        source(None)


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, None])
def test_without_a_terminal_it_begins_nothing(stdin: int | None, tmp_path: Path) -> None:
    typo = str(tmp_path / "typo.sock")
    closed = "import os, sys\nos.close(0)\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, *(["-c", closed] if stdin is None else []), "-m", "ingrain", "top", "--socket", typo]
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ingrain: top needs a terminal to read keys from; `ingrain status` does without\n"


def test_an_agent_that_is_named_and_not_there_is_told_and_nothing_else_is_run(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ingrain", "top", "--socket", str(tmp_path / "typo.sock")]
    done = subprocess.run(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 1
    assert f"ingrain: no agent answers at {tmp_path}/typo.live: it does not run" in done.stderr

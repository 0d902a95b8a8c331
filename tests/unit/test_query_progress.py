"""The bar of a long question: seen on a terminal, gone when it is over, and nowhere else."""

from __future__ import annotations

import io
import os
import pty

import pytest

from ingrain.query import progress


def test_on_a_terminal_it_shows_how_much_is_done_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(progress, "_EVERY_S", 0.001)
    ours, theirs = pty.openpty()
    shown = b""
    with open(theirs, "w") as terminal:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr("sys.stderr", terminal)
        with progress.bar(lambda: 0.5):
            while b"%" not in shown:
                shown += os.read(ours, 1000)
        while not shown.endswith(b"\r\x1b[K"):
            shown += os.read(ours, 1000)
    os.close(ours)
    assert b"[" + b"#" * 20 + b" " * 20 + b"]  50%" in shown


def test_where_there_is_no_terminal_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 0.0)
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    asked = []
    with progress.bar(lambda: asked.append(1) or 0.5):  # type: ignore[func-returns-value]
        pass
    assert (said.getvalue(), asked) == ("", [])

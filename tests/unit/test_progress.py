"""The bar of a long question: seen on a terminal, right, gone when it is over, and nowhere else."""

from __future__ import annotations

import io
import os
import pty
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingrain import progress
from ingrain.query.archive import Archive, Folder
from ingrain.query.engine import Asked, Engine, Limits

LONG = "SELECT count(DISTINCT hash(range)) FROM range({})"
BAR = re.compile(r"\[(#*) *\] +(\d+)%")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(progress, "_EVERY_S", 0.001)


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Stderr is a terminal until what this gives is called, which tells what was shown there."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        while data := os.read(ours, 1 << 16):
            shown.append(data)
            if data.endswith(b"END\r\n"):
                return

    reading = threading.Thread(target=read)
    reading.start()
    with open(theirs, "w") as to:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr("sys.stderr", to)

        def end() -> str:
            to.write("END\n")
            to.flush()
            reading.join(60)
            return b"".join(shown).decode().removesuffix("END\r\n")

        yield end
    os.close(ours)


@contextmanager
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(Archive(Folder(str(tmp_path)), "it"), Limits(), progress.bar)
    yield made
    made.close()


def check(shown: str) -> list[int]:
    """Percents in their order, each with as long a bar; in the end all is gone."""
    told = [(len(bar), int(percent)) for bar, percent in BAR.findall(shown)]
    assert all(abs(length / 40 - percent / 100) < 0.03 for length, percent in told)
    assert shown.endswith("\r\x1b[K")
    percents = [percent for _, percent in told]
    assert percents == sorted(percents)
    return percents


def test_the_bar_of_a_question_grows_from_nothing_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as end, engine(tmp_path) as asking:
        list(asking.ask(Asked(LONG.format(30_000_000), (None, None))).rows())
        shown = end()
    percents = check(shown)
    assert percents[0] < 30
    assert len({one for one in percents if 5 < one < 95}) > 5
    assert shown.count("\x1b[K") == 1


def test_questions_that_are_asked_together_have_one_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as end, engine(tmp_path) as asking:
        with asking.together(4):
            for _ in range(4):
                list(asking.ask(Asked(LONG.format(5_000_000), (None, None))).rows())
        shown = end()
    percents = check(shown)
    assert shown.count("\x1b[K") == 1
    assert percents[0] < 25
    assert percents[-1] > 75


def test_where_there_is_no_terminal_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    asked = []
    with progress.bar(lambda: asked.append(1) or 0.5):  # type: ignore[func-returns-value]
        pass
    assert (said.getvalue(), asked) == ("", [])

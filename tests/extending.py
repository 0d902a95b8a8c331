"""The examples of docs/extending.md, as they stand there, in a copy of the repository of their own."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agents import Running, agent

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/extending.md").read_text()

_BLOCK = r"\n\n```\w+\n(.*?)^```$"
_FILE = re.compile(rf"^`([^`\n]+)`:{_BLOCK}", re.MULTILINE | re.DOTALL)
_LINE = re.compile(rf"^Add it to `(\w+)` in `([^`\n]+)`:{_BLOCK}", re.MULTILINE | re.DOTALL)

FILES = dict(_FILE.findall(PAGE))
"""Path -> what the page says is in it: sources, and configurations."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The package and the probes, with the page's files and lines in their places."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """That of a process which imports the copy."""
        return os.environ | {"PYTHONPATH": str(self.folder)}

    @contextmanager
    def agent(self, toml: str) -> Iterator[Running]:
        """An agent of the copy with this configuration; stopped at the end."""
        toml = f'[agent]\nsocket = "{self.folder / "status.sock"}"\n{toml}'
        command = [sys.executable, "-m", "ingrain"]
        with agent(toml, self.folder, command=command, cwd=self.folder, env=self.environment) as running:
            yield running


def copy(folder: Path) -> Copy:
    """Such a copy in this folder."""
    for part in ("ingrain", "probes"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in FILES.items():
        (folder / path).write_text(text)
    for registry, path, line in _LINE.findall(PAGE):
        text = (folder / path).read_text()
        with_line, places = re.subn(rf"^({registry}\b[^\n]*\{{\n)", rf"\g<1>{line}", text, flags=re.MULTILINE)
        assert places == 1, f"{path} has no dictionary {registry}"
        (folder / path).write_text(with_line)
    return Copy(folder)

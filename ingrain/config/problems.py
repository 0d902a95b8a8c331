"""Mistakes in a configuration: what is wrong, where, and what would be right. Collected, to be told at once."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from ingrain.config.positions import Path
from ingrain.text import harmless

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECRET = re.compile(r"secret|passw|token|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
_SHOWN = 60
_LISTED, _COMPARED = 20, 200


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake or a warning: its line (from 1; 0 where no line could be read), the dotted key, and what."""

    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """As it stands behind `FILE:`, in the manner of compilers."""
        what = f"{self.key}: {self.message}" if self.key else self.message
        return f"{self.line}: {what}" if self.line else f" {what}"


class ConfigError(Exception):
    """The configuration cannot be used, or not on this host.

    `problems` are all its mistakes, in the order of their lines.
    """

    def __init__(self, problems: Iterable[Problem], path: FilePath | None = None) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("\n".join(f"{path or ''}:{problem}" for problem in self.problems))


class Problems:
    """Mistakes and warnings found so far, each put on the line of its path."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self.lines = lines
        self.mistakes: list[Problem] = []
        self.warnings: list[Problem] = []

    def mistake(self, path: Path, message: str) -> None:
        """Something that has to be mended before the agent can run."""
        self.mistakes.append(self._problem(path, message))

    def mistake_of(self, path: Path, fields: Container[str], message: str) -> None:
        """What a table's own check says: `FIELD: message` is about that field of it."""
        name, _, rest = message.partition(": ")
        self.mistake(*(((*path, name), rest) if name in fields else (path, message)))

    def warn(self, path: Path, message: str) -> None:
        """Something that is allowed and probably not meant."""
        self.warnings.append(self._problem(path, message))

    def line(self, path: Path) -> int:
        """The line of a path; of what is around it where the path itself is not in the file."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def _problem(self, path: Path, message: str) -> Problem:
        return Problem(self.line(path), dotted(path), message)


def dotted(path: Path) -> str:
    """A path as one writes it: `pipeline.s3.steps[1].patterns[0].regex`; keys that are no bare keys in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else quoted(part))
    return text


def quoted(text: str) -> str:
    """Text of the file for a message: in quotes, harmless to a terminal, and not too long."""
    shown = harmless(text)
    return f'"{shown[:_SHOWN]}..."' if len(shown) > _SHOWN else f'"{shown}"'


def plain(name: str) -> str:
    """A name of the file for a message, as `quoted` but without the quotes."""
    return quoted(name)[1:-1]


def listed(names: Collection[str]) -> str:
    """Names of the file for a message: the first ones, where there are many."""
    text = ", ".join(plain(name) for name in itertools.islice(names, _LISTED))
    return f"{text} and {len(names) - _LISTED} more" if len(names) > _LISTED else text


def near(name: str, known: Iterable[str]) -> str:
    """` Did you mean ...?` when a known name looks like this one, else nothing. Of many only some are looked at."""
    by_lower = {one.lower(): one for one in itertools.islice(known, _COMPARED)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" Did you mean {plain(by_lower[found[0]])}?" if found else ""


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that a table may not have. Its value is never shown: it may be a secret."""
    known = list(known)
    close = near(key, known)
    if _SECRET.search(key) and not close:
        return (
            "unknown key. Secrets never stand in this file: AWS credentials come from the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), from ~/.aws/credentials (AWS_PROFILE), or from the role of "
            "the instance or the container, as boto3 finds them; a header of HTTP may be ${NAME} of the environment"
        )
    return f"unknown key.{close} Allowed here: {', '.join(known) or 'nothing'}"

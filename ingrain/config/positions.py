"""Where each key of a TOML file stands: tomli gives values, an operator wants the line.

In: the text of a file that tomli has accepted; out: for each key, each table and each item of an array the number of
its line. The grammar is that of TOML 1.1 (https://toml.io/en/v1.1.0), of which 1.0 is a part.
"""

from __future__ import annotations

import re
from bisect import bisect_right

import tomli

Path = tuple[str | int, ...]
"""The way to a value: keys of tables, and numbers (from 0) of the items of arrays."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # up to two quotes may stand before the closing three
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^\s.=\[\]{}\"'#,]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")


def positions(source: str) -> dict[Path, int]:
    """The line (from 1) on which each path of `source` first stands; the file itself is path () on line 1.

    A table that is only named on the way to others (`a` in `[a.b]`) stands where it is first named.
    """
    scanner = _Scanner(source)
    scanner.file()
    return scanner.lines


class _Scanner:
    def __init__(self, source: str) -> None:
        self.lines: dict[Path, int] = {(): 1}
        self._source = source
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", source)]
        self._tables: dict[Path, int] = {}  # arrays of tables: the number of the current table in each

    def file(self) -> None:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._source):
                return
            if self._source.startswith("[[", self._at):
                table = self._header(2)
            elif self._source[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> Path:
        line = self._line()
        self._at += brackets
        keys = self._key()
        self._at += brackets
        path: Path = ()
        for at, key in enumerate(keys):
            path = (*path, key)
            self.lines.setdefault(path, line)
            if brackets == 2 and at == len(keys) - 1:  # noqa: PLR2004 - `[[` begins the next table of an array
                self._tables[path] = self._tables.get(path, -1) + 1
            if path in self._tables:
                path = (*path, self._tables[path])
                self.lines.setdefault(path, line)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._key():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            quoted = self._source[self._at] in "\"'"
            token = self._take(_STRING if quoted else _BARE)
            keys.append(next(iter(tomli.loads(f"{token} = 0"))) if quoted else token)
            self._skip(_SPACE)
            if self._source[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        first = self._source[self._at]
        if first in "\"'":
            self._skip(_STRING)
        elif first == "[":
            self._items(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _items(self, path: Path) -> None:
        self._at += 1
        number = 0
        while self._more("]"):
            item = (*path, number)
            self.lines[item] = self._line()
            self._value(item)
            number += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._more("}"):
            self._pair(path)

    def _more(self, end: str) -> bool:
        """Whether another item follows before `end`; the comma before it, or the end, is passed."""
        self._skip(_BLANK)
        if self._source[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)
        if self._source[self._at] == end:
            self._at += 1
            return False
        return True

    def _line(self) -> int:
        return bisect_right(self._newlines, self._at) + 1

    def _skip(self, token: re.Pattern[str]) -> None:
        self._take(token)

    def _take(self, token: re.Pattern[str]) -> str:
        found = token.match(self._source, self._at)
        if found is None:  # not in what tomli has accepted
            raise ValueError(f"line {self._line()}: not TOML")
        self._at = found.end()
        return found.group()

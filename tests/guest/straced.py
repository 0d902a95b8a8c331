"""What strace says that a program did with the files below a folder, in the words of the Files probe.

In: a log of `strace -f -y -s 0`. Out: who did what, as often as it was done; bytes and calls of each process and file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)(?:<(.*)>(?:\(deleted\))?)?(?: .*)?$")
_UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_FILE = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"([^"]*)"')

Done = tuple[str | int, ...]


@dataclass
class Straced:
    """`done`: measurement, process id, path, and what else it tells. `read`, `written`: by process id and path."""

    done: Counter[Done] = field(default_factory=Counter)
    read: Counter[tuple[int, str]] = field(default_factory=Counter)
    written: Counter[tuple[int, str]] = field(default_factory=Counter)
    reads: Counter[tuple[int, str]] = field(default_factory=Counter)
    writes: Counter[tuple[int, str]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Call:
    pid: int
    arguments: str
    result: str
    result_path: str

    @property
    def files(self) -> list[str]:
        """Paths of the descriptors."""
        return _FILE.findall(self.arguments)

    @property
    def texts(self) -> list[str]:
        return _TEXT.findall(self.arguments)

    @property
    def path(self) -> str:
        """Of what it is about: by name, or by descriptor."""
        return (self.texts or self.files or [""])[0]


def read(log: str, folder: str) -> Straced:
    """What was done below the folder."""
    found = Straced()
    for line in whole(log):
        matched = _CALL.match(line)
        if not matched or folder not in line or matched[4].startswith("-"):
            continue
        pid, name, arguments, result, result_path = matched.groups()
        call = _Call(int(pid), arguments, result, result_path or "")
        for moves in _MOVES.get(name, ()):
            moves(found, call, folder)
        if name in _TOLD:
            for done in _TOLD[name](call):
                if folder in f"{done[1]}":
                    found.done[done[0], call.pid, *done[1:]] += 1
    return found


def whole(log: str) -> list[str]:
    """Calls that others interrupted, put together."""
    begun: dict[str, str] = {}
    lines = []
    for line in log.split("\n"):
        if unfinished := _UNFINISHED.match(line):
            begun[unfinished[1]] = unfinished[2]
        elif resumed := _RESUMED.match(line):
            lines.append(f"{resumed[1]} {begun.pop(resumed[1])}{resumed[2]}")
        else:
            lines.append(line)
    return lines


def _reads(at: int) -> Callable[[Straced, _Call, str], None]:
    """From the file of the descriptor that is the call's first, second ..."""

    def count(found: Straced, call: _Call, folder: str) -> None:
        if call.files[at].startswith(folder):
            found.read[call.pid, _bare(call.files[at])] += int(call.result)
            found.reads[call.pid, _bare(call.files[at])] += 1

    return count


def _writes(at: int) -> Callable[[Straced, _Call, str], None]:
    def count(found: Straced, call: _Call, folder: str) -> None:
        if call.files[at].startswith(folder):
            found.written[call.pid, _bare(call.files[at])] += int(call.result)
            found.writes[call.pid, _bare(call.files[at])] += 1

    return count


def _opened(call: _Call) -> Iterator[Done]:
    flags = next(word for word in re.split(r", |\{flags=", call.arguments) if word.startswith("O_"))
    path = _bare(call.result_path)
    yield "file.open", path, "|".join(sorted({*flags.split("|")} - {"O_CLOEXEC"}))  # that is the descriptor's
    if "O_TRUNC" in flags:
        yield "file.truncate", path


def _mapped(call: _Call) -> Iterator[Done]:
    words = call.arguments.split(", ")
    if call.files:
        yield "file.mmap", _bare(call.path), words[2], "MAP_SHARED" in words[3]


def _renamed(call: _Call) -> Iterator[Done]:
    old, new = call.texts
    yield "file.rename", old, new
    if "RENAME_EXCHANGE" in call.arguments:
        yield "file.rename", new, old


def _linked(call: _Call) -> Iterator[Done]:
    yield "file.link", call.texts[0], call.texts[1]


def _symlinked(call: _Call) -> Iterator[Done]:
    yield "file.create", call.texts[1], "symbolic link"


def _folder_made(call: _Call) -> Iterator[Done]:
    yield "file.create", call.path, "directory"


def _node_made(call: _Call) -> Iterator[Done]:
    yield "file.create", call.path, "pipe" if "S_IFIFO" in call.arguments else "file"


def _deleted(call: _Call) -> Iterator[Done]:
    yield "file.delete", call.path


def _mode_set(call: _Call) -> Iterator[Done]:
    yield "file.chmod", call.path, re.findall(r", (0[0-7]+)", call.arguments)[-1]


def _owner_set(call: _Call) -> Iterator[Done]:
    owner, group = re.findall(r", (-?\d+), (-?\d+)", call.arguments)[0]
    yield "file.chown", call.path, int(owner), int(group)


def _truncated(call: _Call) -> Iterator[Done]:
    yield "file.truncate", call.path


def _bare(path: str) -> str:
    return path.removesuffix(" (deleted)").removesuffix("/") or "/"


_MOVES = {
    **dict.fromkeys(["read", "readv", "pread64", "preadv", "preadv2"], (_reads(0),)),
    **dict.fromkeys(["write", "writev", "pwrite64", "pwritev", "pwritev2"], (_writes(0),)),
    **dict.fromkeys(["copy_file_range", "splice"], (_reads(0), _writes(1))),
    "sendfile": (_writes(0), _reads(1)),
}
_TOLD: dict[str, Callable[[_Call], Iterator[Done]]] = {
    **dict.fromkeys(["open", "openat", "openat2", "creat"], _opened),
    "mmap": _mapped,
    **dict.fromkeys(["rename", "renameat", "renameat2"], _renamed),
    **dict.fromkeys(["link", "linkat"], _linked),
    **dict.fromkeys(["symlink", "symlinkat"], _symlinked),
    **dict.fromkeys(["mkdir", "mkdirat"], _folder_made),
    **dict.fromkeys(["mknod", "mknodat"], _node_made),
    **dict.fromkeys(["unlink", "unlinkat", "rmdir"], _deleted),
    **dict.fromkeys(["chmod", "fchmod", "fchmodat", "fchmodat2"], _mode_set),
    **dict.fromkeys(["chown", "fchown", "fchownat", "lchown"], _owner_set),
    **dict.fromkeys(["truncate", "ftruncate"], _truncated),
}

"""What strace says that a program did with the files below a folder, in the words of the Files probe.

In: a log of `strace -f -y -s 0`. Out: who did what, as often as it was done; and bytes and calls of each process and file.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)(?:<(.*)>)?(?: .*)?$")
_UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_FILE = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"([^"]*)"')

_READS = {"read", "readv", "pread64", "preadv", "preadv2"}
_WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2"}
_BETWEEN = {"copy_file_range": (0, 1), "splice": (0, 1), "sendfile": (1, 0)}  # which descriptor is read, which written

Done = tuple[str | int, ...]


@dataclass
class Straced:
    """`done`: measurement, process id, path, and what else it tells. `read`, `written`: by process id and path."""

    done: Counter[Done] = field(default_factory=Counter)
    read: Counter[tuple[int, str]] = field(default_factory=Counter)
    written: Counter[tuple[int, str]] = field(default_factory=Counter)
    reads: Counter[tuple[int, str]] = field(default_factory=Counter)
    writes: Counter[tuple[int, str]] = field(default_factory=Counter)


def read(log: str, folder: str) -> Straced:
    """What was done below the folder."""
    found = Straced()
    for line in _whole(log):
        call = _CALL.match(line)
        if call and folder in line and not call[4].startswith("-"):
            _note(found, folder, int(call[1]), call[2], call[3], call[4], call[5] or "")
    return found


def _whole(log: str) -> list[str]:
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


def _note(found: Straced, folder: str, pid: int, name: str, arguments: str, result: str, result_path: str) -> None:
    files, texts = _FILE.findall(arguments), _TEXT.findall(arguments)
    first = (files or [""])[0]
    if name in _READS | _WRITES:
        if first.startswith(folder):
            bytes_, calls = (found.read, found.reads) if name in _READS else (found.written, found.writes)
            bytes_[pid, _bare(first)] += int(result)
            calls[pid, _bare(first)] += 1
    elif name in _BETWEEN:
        source, target = _BETWEEN[name]
        for which, bytes_, calls in ((source, found.read, found.reads), (target, found.written, found.writes)):
            if files[which].startswith(folder):
                bytes_[pid, _bare(files[which])] += int(result)
                calls[pid, _bare(files[which])] += 1
    elif name in {"open", "openat", "openat2"}:
        flags = next(word for word in re.split(r", |\{flags=", arguments) if word.startswith("O_"))
        found.done["file.open", pid, _bare(result_path), "|".join(sorted(flags.split("|")))] += 1
        if "O_TRUNC" in flags:
            found.done["file.truncate", pid, result_path] += 1
    elif name == "mmap" and first.startswith(folder):
        words = arguments.split(", ")
        found.done["file.mmap", pid, first, words[2], "MAP_SHARED" in words[3]] += 1
    elif name.startswith("rename"):
        found.done["file.rename", pid, texts[0], texts[1]] += 1
        if "RENAME_EXCHANGE" in arguments:
            found.done["file.rename", pid, texts[1], texts[0]] += 1
    elif name in {"link", "linkat"}:
        found.done["file.link", pid, texts[0], texts[1]] += 1
    elif name in {"symlink", "symlinkat"}:
        found.done["file.create", pid, texts[1], "symbolic link"] += 1
    elif name in {"mkdir", "mkdirat"}:
        found.done["file.create", pid, texts[0], "directory"] += 1
    elif name in {"mknod", "mknodat"} and "S_IFIFO" in arguments:
        found.done["file.create", pid, texts[0], "pipe"] += 1
    elif name in {"unlink", "unlinkat", "rmdir"}:
        found.done["file.delete", pid, texts[0]] += 1
    elif name in {"chmod", "fchmod", "fchmodat"}:
        mode = re.findall(r"\b0[0-7]+\b", arguments)[-1]
        found.done["file.chmod", pid, (texts or files)[0], mode] += 1
    elif name in {"chown", "fchown", "fchownat", "lchown"}:
        owner, group = re.findall(r", (-?\d+), (-?\d+)", arguments)[0]
        found.done["file.chown", pid, (texts or files)[0], int(owner), int(group)] += 1
    elif name in {"truncate", "ftruncate"}:
        found.done["file.truncate", pid, (texts or files)[0]] += 1


def _bare(path: str) -> str:
    return path.removesuffix(" (deleted)").removesuffix("/") or "/"

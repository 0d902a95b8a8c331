"""Which directories Files watches and which it ignores: as the rules that the kernel half follows (probes/watched.h).

In: directories of the configuration. Out: a tree of names, which finds a directory by its path in any mount namespace,
and places, which find it by what it is, wherever else it is mounted.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ingrain.kernel import maps
from ingrain.kernel.program import Program

NAME_BYTES = 255  # NAME_MAX of linux/limits.h
DEPTH_MAX = 128  # of probes/watched.h
DIRECTORIES_MAX = 1024
"""In each list: their names fit into the kernel half's maps (16,384 names, 4,096 places) as long as they are usual."""

_NAMES_MAX, _PLACES_MAX = 16384, 4096  # max_entries of `names`, `long_names` and `places` of probes/watched.h
_SHORT_BYTES = 24  # SHORT_BYTES of probes/access.h
_WATCH, _IGNORE = 1, 2  # enum verdict of probes/watched.h
_STEPS_MAX = 1024  # names on the way to a directory, those of links included

Verdicts = dict[tuple[bytes, ...], int]
"""Names from the root on -> what is said of the directory."""


def check(directories: Iterable[str]) -> None:
    """Raise ValueError where something cannot be a directory's path; the message says what one is."""
    listed = list(directories)
    if len(listed) > DIRECTORIES_MAX:
        raise ValueError(f"{len(listed)} directories are too many; at most {DIRECTORIES_MAX} can be listed")
    for directory in listed:
        if not directory.startswith("/"):
            raise ValueError(f"{directory!r} is not an absolute path; a directory begins with a slash")
        if "\0" in directory or "\n" in directory:
            raise ValueError(f"{directory!r} holds a zero byte or a newline")
        parts = names(directory)
        if len(parts) > DEPTH_MAX:
            raise ValueError(f"{directory!r} has {len(parts)} names; at most {DEPTH_MAX} can be told apart")
        if any(len(part) > NAME_BYTES for part in parts):
            raise ValueError(f"{directory!r} has a name of more than {NAME_BYTES} bytes, which no file system has")


def names(directory: str) -> tuple[bytes, ...]:
    """The names of an absolute path from the root on, without `.`, `..` and empty ones."""
    return tuple(name for name in os.fsencode(os.path.normpath(directory)).split(b"/") if name)


class Watched:
    """The rules in a program's maps. Raises KernelError; ValueError where they have more names than there is room."""

    def __init__(self, program: Program, monitor: Iterable[str], ignore: Iterable[str]) -> None:
        self._program = program
        self._listed = [(directory, _WATCH) for directory in monitor] + [(one, _IGNORE) for one in ignore]
        self._put: dict[str, dict[bytes, bytes]] = {"names": {}, "long_names": {}, "places": {}}
        self._readings = 0
        self.refresh()

    def refresh(self) -> None:
        """Look again where the directories are now, and have verdicts that were kept forgotten."""
        self._readings += 1
        verdicts: Verdicts = {}
        for directory, verdict in self._listed:
            for path in (directory, _real(directory, verdict)):
                verdicts.setdefault(names(path), verdict)  # those to watch come first: at equal depth they win
        deeper = self._put_names(verdicts)
        places = self._put_places()
        rules = np.zeros((), self._program.dtype("rules"))
        for inode in places:
            rules["inodes"] |= np.uint64(1 << inode % 64)
        rules["root"] = verdicts.get((), 0)
        rules["deeper"] = deeper
        rules["reading"] = self._readings
        maps.put(self._program.maps["rules"], bytes(4), rules.tobytes())

    def _put_names(self, verdicts: Verdicts) -> bool:
        """Whether there are any."""
        tree = tree_of(verdicts)
        if len(tree) > _NAMES_MAX:
            raise ValueError(f"the directories have {len(tree)} names; there is room for {_NAMES_MAX}")
        rule = np.zeros((), self._program.dtype("rule"))
        found: dict[str, dict[bytes, bytes]] = {"names": {}, "long_names": {}}
        for (above, text), (number, verdict) in tree.items():
            kind = "name" if len(text) <= _SHORT_BYTES else "long_name"
            name = np.zeros((), self._program.dtype(kind))
            name["above"], name["name"] = above, text
            rule["number"], rule["verdict"] = number, verdict
            found[f"{kind}s"][name.tobytes()] = rule.tobytes()
        for kind, entries in found.items():
            self._sync(kind, entries)
        return bool(tree)

    def _put_places(self) -> list[int]:
        """Inodes of the directories that are there."""
        place = np.zeros((), self._program.dtype("place"))
        found: dict[bytes, bytes] = {}
        there: list[int] = []
        deeper = [one for one in self._listed if names(one[0])]  # the root is by its path in every namespace
        devices = _devices() if deeper else {}
        for directory, verdict in deeper:
            inode, device = _identity(directory, verdict, devices)
            if inode and len(found) < _PLACES_MAX:
                place["inode"], place["device"] = inode, device
                found.setdefault(place.tobytes(), verdict.to_bytes(4, "little"))
                there.append(inode)
        self._sync("places", found)
        return there

    def _sync(self, kind: str, found: Mapping[bytes, bytes]) -> None:
        """Have these entries, and no others, in the map of this name."""
        entries, put = self._program.maps[kind], self._put[kind]
        for gone in put.keys() - found.keys():
            maps.remove(entries, gone)
            del put[gone]
        for key, value in found.items():
            if put.get(key) != value:
                maps.put(entries, key, value)
                put[key] = value


def tree_of(verdicts: Verdicts) -> dict[tuple[int, bytes], tuple[int, int]]:
    """Number of the directory above (the root's is 0) and a name -> its own number, and what is said of it (or 0)."""
    tree: dict[tuple[int, bytes], tuple[int, int]] = {}
    for path in sorted(verdicts):
        above = 0
        for depth, name in enumerate(path, 1):
            if (above, name) not in tree:
                tree[above, name] = (len(tree) + 1, verdicts.get(path[:depth], 0))
            above = tree[above, name][0]
    return tree


def _real(directory: str, verdict: int) -> str:
    """Its path without links; the path itself where it is not to be followed, or not there."""
    if verdict == _WATCH:
        return os.path.realpath(directory)
    try:
        descriptor = _open(directory, verdict)
    except OSError:
        return directory
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    finally:
        os.close(descriptor)


def _open(directory: str, verdict: int) -> int:
    """A descriptor of a directory. Raises OSError where it is not there, or is to be ignored and behind others' links.

    Whoever owns a link in the path of a directory that is ignored could have any other directory ignored by it: only
    root's links are followed there.
    """
    if verdict == _WATCH:
        return os.open(directory, os.O_PATH | os.O_CLOEXEC)
    at, left = os.open("/", os.O_PATH | os.O_CLOEXEC), [*reversed(names(directory))]
    for _ in range(_STEPS_MAX):
        if not left:
            return at
        try:
            below = os.open(left.pop(), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            leads_to = _target(below)
        except OSError:
            os.close(at)
            raise
        if leads_to is None:
            os.close(at)
            at = below
        else:
            left += leads_to
    os.close(at)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), directory)


def _target(descriptor: int) -> list[bytes] | None:
    """Names that a link leads to, the last one first; None of what is no link.

    A link is closed. Raises OSError where it is not root's.
    """
    about = os.fstat(descriptor)
    if not stat.S_ISLNK(about.st_mode):
        return None
    try:
        if about.st_uid:
            raise PermissionError(errno.EPERM, "a link in the path of a directory that is ignored is not root's")
        target = os.readlink(b"", dir_fd=descriptor)
    finally:
        os.close(descriptor)
    found = [name for name in reversed(target.split(b"/")) if name]
    return [*found, b"/"] if target.startswith(b"/") else found


def _identity(directory: str, verdict: int, devices: Mapping[str, int]) -> tuple[int, int]:
    """Inode and device of a directory, as the kernel knows them; zeros if there is none.

    stat(2) may tell another device than the file system's (btrfs has one a subvolume): that is in mountinfo (proc(5)).
    """
    try:
        descriptor = _open(directory, verdict)
    except OSError:
        return 0, 0
    try:
        about = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        mount = next((line.split()[1] for line in about.splitlines() if line.startswith("mnt_id:")), "")
        return (os.fstat(descriptor).st_ino, devices[mount]) if mount in devices else (0, 0)
    finally:
        os.close(descriptor)


def _devices() -> dict[str, int]:
    """Mount id -> its file system's device, as the kernel keeps it (linux/kdev_t.h)."""
    devices = {}
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        mount, _parent, numbers = line.split(" ", 3)[:3]
        major, _, minor = numbers.partition(":")
        devices[mount] = int(major) << 20 | int(minor)
    return devices

"""The cgroups that there are, followed as they come and go: each with its id as soon as it is made.

So a cgroup is known before a first process runs in it, and still known when the events of its last one are read.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingrain.containers.inotify import CREATED, DELETED, IGNORED, OVERFLOW, Inotify

log = logging.getLogger(__name__)

FOLDERS = 1 << 14
"""Watched at the most; each costs some 1 KB in the kernel and 0.5 KB here. Others are looked up by their id."""


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    cgroup_id: int


class Tree:
    """All cgroups below a mount. made(path, id), gone(id): called by `scan` and `read`, in the order of what happened.

    A cgroup may be told as made although it was known, and none is told as gone before it was made. Raises OSError
    where there can be no inotify.
    """

    def __init__(
        self, mount: Path, made: Callable[[str, int], None], gone: Callable[[int], None], limit: int = FOLDERS
    ) -> None:
        self._mount = str(mount)
        self._made = made
        self._gone = gone
        self._limit = limit
        self._full = False
        self._inotify = Inotify()
        self._folders: dict[int, _Folder] = {}
        self._watches: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._folders)

    @property
    def fd(self) -> int:
        """Readable when there is something to `read`."""
        return self._inotify.fd

    def scan(self) -> None:
        """See what there is now, whatever was seen before."""
        there: set[str] = set()
        self._grow("", there)
        for path in [path for path in self._watches if path not in there]:
            self._drop(path)

    def read(self) -> None:
        """See what happened since."""
        for event in self._inotify.read():
            if event.mask & OVERFLOW:
                log.info("cgroups come and go faster than they can be followed: all of them are looked at anew")
                self.scan()
                return
            folder = self._folders.get(event.watch)
            if folder is None:
                continue
            path = f"{folder.path}/{event.name}".lstrip("/")
            if event.mask & CREATED:
                self._grow(path)
            elif event.mask & DELETED:
                self._drop(path)
            elif event.mask & IGNORED:
                self._drop(folder.path)

    def close(self) -> None:
        """Follow no more."""
        self._inotify.close()

    def _grow(self, path: str, there: set[str] | None = None) -> None:
        """See this cgroup and all below it. A folder is watched before it is listed, so nothing is missed between."""
        found = [path]
        while found:
            path = found.pop()
            if self._see(path) or there is not None:
                found += self._below(path)
            if there is not None and path in self._watches:
                there.add(path)

    def _below(self, path: str) -> list[str]:
        try:
            with os.scandir(f"{self._mount}/{path}") as entries:
                return [f"{path}/{one.name}".lstrip("/") for one in entries if one.is_dir(follow_symlinks=False)]
        except OSError:
            return []  # it is gone

    def _see(self, path: str) -> bool:
        """Whether it is new."""
        folder = f"{self._mount}/{path}"
        if len(self._folders) >= self._limit and path not in self._watches:
            self._tell_full(f"there are more than {self._limit} of them")
            return False
        try:
            watch = self._inotify.watch(folder)
            identifier = Path(folder).stat().st_ino
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._tell_full("raise the sysctl fs.inotify.max_user_watches")
            return False
        if self._folders.get(watch) == _Folder(path, identifier):
            return False
        if path in self._watches:
            self._drop(path)
        self._folders[watch] = _Folder(path, identifier)
        self._watches[path] = watch
        self._made(path, identifier)
        return True

    def _drop(self, path: str) -> None:
        """It is gone. kernfs ends no watch of a removed folder by itself, and would keep its inode."""
        watch = self._watches.pop(path, None)
        if watch is not None:
            self._inotify.forget(watch)
            self._gone(self._folders.pop(watch).cgroup_id)

    def _tell_full(self, why: str) -> None:
        if not self._full:
            self._full = True
            log.warning(
                "not all cgroups can be followed as they are made (%s); the others are looked up by their id", why
            )

"""A spool folder: finished objects on their way to a server, which no crash and no loss of power takes away.

An object is written under a name that ends in `.part`, synced, and renamed to `STAMP-ROWS-SIZE-KEY`, which tells all
about it: that one rename makes it durable, and nothing beside it can be missing or disagree. The folder belongs to one
running agent: nobody else can open it, it is locked, and all in it is opened below its descriptor without following
links. What else lies there is never read, removed or waited for.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from ingrain.backends.folders import locked, make, publish

log = logging.getLogger(__name__)

SHARE, MOST_BYTES = 10, 4 << 30
"""Where nothing is said, a spool takes a tenth of its file system, and 4 GiB at the most: as journald does."""

_PART = re.compile(r"[0-9]+\.part")
_WORD = r"[0-9A-Za-z_=-][0-9A-Za-z._=-]*"  # as ingrain.backends.layout makes them, and no name of a hidden file
_NAME = re.compile(rf"([0-9]{{1,19}})-([0-9]{{1,12}})-([0-9]{{1,15}})-({_WORD}(?:,{_WORD})*)")
_STAMPS = 1 << 63  # what comes later than the year 2262 was put there by somebody else
_number = itertools.count()  # of the whole process: one that was begun in a folder that is gone is never another's
_OPERATOR_S = (errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM)


class SpoolError(Exception):
    """The folder cannot be a spool, whatever time goes by; the message says why."""


class DamagedError(Exception):
    """An object is not in the spool any more as it was put there."""


@dataclass(frozen=True, slots=True, order=True)
class Spooled:
    """A finished object. stamp: when it was finished (ns, UTC), later than any before it. size: in bytes."""

    stamp: int
    rows: int
    size: int
    key: str

    @property
    def name(self) -> str:
        """Of its file. No part of a key has a comma."""
        return f"{self.stamp}-{self.rows}-{self.size}-{self.key.replace('/', ',')}"


class Spool:
    """An open folder. Not safe for threads: who has several locks them out.

    `path`, where it is; `limit`, the bytes that its objects may take. At the start: `unfinished`, files that a crash
    left incomplete, and `unfinished_bytes`; they are removed.
    """

    def __init__(self, path: Path, limit: int | None, descriptor: int) -> None:
        self.path = path
        self._folder = descriptor
        room = os.fstatvfs(descriptor)
        self.limit = limit or min(room.f_blocks * room.f_frsize // SHARE or MOST_BYTES, MOST_BYTES)
        self.unfinished = self.unfinished_bytes = 0
        self._last = 0
        self._sweep()
        # What it is by the wall clock now; from here on time goes by as the host lives it, however that clock is set.
        self._epoch = time.time_ns() - _since_boot()

    @classmethod
    def open(cls, path: Path, limit: int | None) -> Self:
        """Make the folder where it is missing, and lock it.

        limit: bytes; None: SHARE. Raises SpoolError where it can be no spool, OSError where it cannot be had now.
        """
        with _explained(path):
            make(path, 0o700)
            descriptor = _open(path)
        try:
            _examine(path, descriptor)
            _lock(path, descriptor)
            return cls(path, limit, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @staticmethod
    def check(path: Path) -> None:
        """Raise SpoolError where the folder can be no spool, as far as one sees without making or locking it."""
        with suppress(OSError), _explained(path):  # what cannot be had now may be had later
            try:
                descriptor = _open(path)
            except FileNotFoundError:
                above = next(one for one in path.parents if one.exists())
                if not above.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, "") from None
                read_only = os.statvfs(above).f_flag & os.ST_RDONLY  # which may be mended without another folder
                if not read_only and not os.access(above, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, "") from None
                return
            try:
                _examine(path, descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Let go of the folder; another may lock it. Nothing can be done with it any more."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    @property
    def there(self) -> bool:
        """Whether the folder is still where it was opened."""
        try:
            return os.path.samestat(os.fstat(self._folder), self.path.lstat())
        except OSError:
            return False

    def now(self) -> int:
        """The time by which stamps are (ns, UTC)."""
        return self._epoch + _since_boot()

    def age(self, one: Spooled) -> int:
        """How long ago it was finished (ns), at least: by its stamp or by its file's time, whichever is later.

        Stamps go by the wall clock of a start, files by that of their moment. Either may have been set right since.
        """
        age = self.now() - one.stamp
        with suppress(OSError):  # it is gone, or cannot be looked at
            found = os.stat(one.name, dir_fd=self._folder, follow_symlinks=False)
            age = min(age, time.time_ns() - found.st_mtime_ns)
        return max(0, age)

    def create(self) -> BinaryIO:
        """A file for an object in the making. Raises OSError."""

        def opener(name: str, flags: int) -> int:
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._folder)

        while True:
            with suppress(FileExistsError):  # somebody put it there
                return open(f"{next(_number)}.part", "xb", opener=opener)

    def commit(self, file: BinaryIO, key: str, rows: int) -> Spooled:
        """The object is whole, and is durable when this returns, as `publish` says.

        Raises OSError; then `discard` should follow.
        """
        file.flush()
        os.fsync(file.fileno())
        one = Spooled(max(self.now(), self._last + 1), rows, file.tell(), key)
        publish(self._folder, file.name, one.name)
        file.close()
        self._last = one.stamp
        return one

    def discard(self, file: BinaryIO) -> None:
        """Do away with an object in the making. Raises nothing."""
        with suppress(OSError):  # the next start sweeps it up
            os.unlink(file.name, dir_fd=self._folder)
        with suppress(OSError):  # what its buffer holds may not fit the disk
            file.close()

    def read(self, one: Spooled) -> BinaryIO:
        """The object, to be read. Raises DamagedError where it is not there as it was, and OSError."""
        try:
            descriptor = os.open(
                one.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder
            )
        except FileNotFoundError as error:
            raise DamagedError("is gone from the spool") from error
        file = open(descriptor, "rb")  # noqa: PTH123, SIM115 - a descriptor; whoever asked closes it
        found = os.fstat(descriptor)
        if not _own(found) or found.st_size != one.size:
            file.close()
            raise DamagedError("is not as it was put into the spool")
        return file

    def remove(self, one: Spooled) -> None:
        """It need not be kept any longer. Raises OSError, but not when it is gone already."""
        with suppress(FileNotFoundError):
            os.unlink(one.name, dir_fd=self._folder)

    def __iter__(self) -> Iterator[Spooled]:
        """All objects, in no order."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # just sent
                    if one := _spooled(entry):
                        yield one

    def _sweep(self) -> None:
        """Find the last stamp, remove what a crash left incomplete, and tell what is not the spool's own."""
        parts, foreign, like = [], 0, ""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if _PART.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False):
                    parts.append(entry)
                elif one := _spooled(entry):
                    self._last = max(self._last, one.stamp)
                else:
                    foreign, like = foreign + 1, entry.name
            for part in parts:
                self.unfinished += 1
                self.unfinished_bytes += part.stat(follow_symlinks=False).st_size
                os.unlink(part.name, dir_fd=self._folder)
        if foreign:
            what = "the spool %s holds %d things that no agent put there, like %r; they are left alone"
            log.warning(what, self.path, foreign, like)


def _since_boot() -> int:
    """How long the host is up (ns), however its clock is set, and with the time that it was suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What only an operator can mend is a SpoolError."""
    try:
        yield
    except FileExistsError as error:
        raise SpoolError(f"{path} is no folder") from error
    except OSError as error:
        if error.errno in _OPERATOR_S:
            what = "is a link; name the folder itself" if path.is_symlink() else os.strerror(error.errno)
            raise SpoolError(f"{path}: {what}") from error
        raise


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _examine(path: Path, descriptor: int) -> None:
    """Make sure that the folder is this user's alone."""
    found, user = os.fstat(descriptor), os.geteuid()
    if found.st_uid != user:
        raise SpoolError(f"{path} belongs to user {found.st_uid}, and this agent runs as {user}")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):  # not to be mended here: it may be /tmp
        mode = stat.filemode(found.st_mode)
        raise SpoolError(f"{path} is open to others ({mode}); name a folder that is not there yet, or close it")


def _spooled(entry: os.DirEntry[str]) -> Spooled | None:
    one = _told(entry.name)
    return one if one and _own(entry.stat(follow_symlinks=False)) else None


def _lock(path: Path, descriptor: int) -> None:
    """Make it this agent's."""
    if not locked(descriptor):
        raise SpoolError(f"{path} is in use, by another agent or pipeline; each needs a spool of its own")


def _told(name: str) -> Spooled | None:
    told = _NAME.fullmatch(name)
    if not told:
        return None
    stamp, rows, size, key = told.groups()
    one = Spooled(int(stamp), int(rows), int(size), key.replace(",", "/"))
    return one if one.name == name and one.stamp < _STAMPS else None  # 007 would be looked for as 7


def _own(found: os.stat_result) -> bool:
    """Whether it can be a file that this user put there, and that has no name elsewhere."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1

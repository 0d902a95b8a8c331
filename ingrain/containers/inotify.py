"""inotify(7), as much of it as watching folders needs: folders that are made in a folder, and that go."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

CREATED = 0x100  # linux/inotify.h
DELETED = 0x200
OVERFLOW = 0x4000
IGNORED = 0x8000
_IS_DIR = 0x40000000
_ONLY_DIR = 0x01000000

_EVENT = struct.Struct("=iIII")  # struct inotify_event: watch, mask, cookie, bytes of the name that follows
_READ = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Event:
    """A folder `name` was made in (CREATED), or removed from (DELETED), the folder of a watch.

    IGNORED: the watch is gone. OVERFLOW: events were lost.
    """

    watch: int
    mask: int
    name: str


class Inotify:
    """One queue of events. Raises OSError where the user has as many as fs.inotify.max_user_instances allows."""

    def __init__(self) -> None:
        self.fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self.fd < 0:
            raise _error("inotify")

    def watch(self, folder: str) -> int:
        """Watch a folder; its watch's number, the same one if it is watched already.

        Raises OSError: ENOENT where it is gone, ENOSPC where there are as many watches as the user may have.
        """
        number = int(_libc.inotify_add_watch(self.fd, os.fsencode(folder), CREATED | DELETED | _ONLY_DIR))
        if number < 0:
            raise _error(folder)
        return number

    def forget(self, watch: int) -> None:
        """Watch a folder no more."""
        _libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> Iterator[Event]:
        """What happened since the last call."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _cookie, size = _EVENT.unpack_from(data, at)
            at += _EVENT.size + size
            if mask & (_IS_DIR | OVERFLOW | IGNORED):
                yield Event(watch, mask, os.fsdecode(data[at - size : at].rstrip(b"\0")))

    def close(self) -> None:
        """Watch nothing any more."""
        os.close(self.fd)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)

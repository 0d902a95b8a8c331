"""From a cgroup's id to its path, by asking the kernel; where it may not be asked, by looking through all of them.

A cgroup's id is what kernfs puts into a file handle (fs/kernfs/mount.c, kernfs_encode_fh), so a handle can be made of
it, opened, and the kernel tells what was opened. Needs CAP_DAC_READ_SEARCH.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_KERNFS = 0xFE  # FILEID_KERNFS of linux/exportfs.h
_HANDLE = struct.Struct("=IiQ")  # struct file_handle: bytes that follow, type, and the id itself
_DELETED = " (deleted)"  # what the kernel says behind the path of a folder that was removed meanwhile

_libc = ctypes.CDLL(None, use_errno=True)


class Handles:
    """Looks cgroups up below a cgroup v2 mount. Raises OSError where that cannot be opened."""

    def __init__(self, mount: Path) -> None:
        self._mount = str(mount)
        self._fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def path(self, cgroup_id: int) -> str | None:
        """The cgroup's path below the mount; None where there is no such cgroup (any more).

        Raises PermissionError where this process may not ask.
        """
        handle = ctypes.create_string_buffer(_HANDLE.pack(8, _KERNFS, cgroup_id))
        fd = _libc.open_by_handle_at(self._fd, handle, os.O_PATH | os.O_CLOEXEC)
        if fd < 0:
            if ctypes.get_errno() in {errno.EPERM, errno.EACCES}:
                raise PermissionError(
                    ctypes.get_errno(), "cgroups cannot be looked up by id without CAP_DAC_READ_SEARCH"
                )
            return None
        try:
            path = str(Path(f"/proc/self/fd/{fd}").readlink()).removesuffix(_DELETED)
        except OSError:
            return None
        finally:
            os.close(fd)
        return path.removeprefix(self._mount).strip("/")

    def close(self) -> None:
        """Let go of the mount."""
        os.close(self._fd)


def walk(mount: Path) -> Iterator[tuple[str, int]]:
    """All cgroups: path below the mount, and id."""
    found = [""]
    while found:
        path = found.pop()
        try:
            yield path, Path(mount, path).stat().st_ino
            with os.scandir(Path(mount, path)) as entries:
                found += [f"{path}/{one.name}".lstrip("/") for one in entries if one.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # it is gone

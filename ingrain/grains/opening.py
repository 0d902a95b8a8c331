"""Flags and modes as people write them: those of open(2), mmap(2), and what kind of thing an inode is (inode(7))."""

from __future__ import annotations

import os
import stat
from functools import lru_cache

_ACCESS = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")
_FLAGS = (
    # The numbers are this architecture's. Those that include another come first.
    (os.O_TMPFILE, "O_TMPFILE"),
    (os.O_SYNC, "O_SYNC"),
    (os.O_CREAT, "O_CREAT"),
    (os.O_EXCL, "O_EXCL"),
    (os.O_NOCTTY, "O_NOCTTY"),
    (os.O_TRUNC, "O_TRUNC"),
    (os.O_APPEND, "O_APPEND"),
    (os.O_NONBLOCK, "O_NONBLOCK"),
    (os.O_DSYNC, "O_DSYNC"),
    (os.O_ASYNC, "O_ASYNC"),
    (os.O_DIRECT, "O_DIRECT"),
    (os.O_DIRECTORY, "O_DIRECTORY"),
    (os.O_NOFOLLOW, "O_NOFOLLOW"),
    (os.O_NOATIME, "O_NOATIME"),
    (os.O_PATH, "O_PATH"),
    (0o40, "O_EXEC"),  # __FMODE_EXEC of linux/fs.h: to run it
)
_PROTECTION = ((1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC"))
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


@lru_cache(maxsize=1024)
def open_flags(flags: int) -> str:
    """Of open(2), e.g. `O_RDWR|O_CREAT`, as strace writes them.

    Without O_LARGEFILE, which nearly every call has, and O_CLOEXEC, which is about the descriptor and not the file.
    """
    words = [_ACCESS[flags & os.O_ACCMODE]]
    for bits, name in _FLAGS:
        if flags & bits == bits:
            words.append(name)
            flags &= ~bits
    return "|".join(words)


@lru_cache(maxsize=64)
def protection(bits: int) -> str:
    """Of mmap(2), e.g. `PROT_READ|PROT_WRITE`."""
    return "|".join(name for bit, name in _PROTECTION if bits & bit) or "PROT_NONE"


@lru_cache(maxsize=1024)
def permissions(mode: int) -> str:
    """The bits that chmod(2) sets, in octal: `0644`, `04755`."""
    return f"0{stat.S_IMODE(mode):03o}"


@lru_cache(maxsize=1024)
def kind_of(mode: int) -> str:
    """What kind of thing it is: `directory`, `symbolic link`, ..."""
    return _KINDS.get(stat.S_IFMT(mode), "other")


@lru_cache(maxsize=4096)
def device_name(device: int) -> str:
    """`major:minor` of a device as the kernel keeps it (linux/kdev_t.h), as in /proc/self/mountinfo."""
    return f"{device >> 20}:{device & 0xFFFFF}"

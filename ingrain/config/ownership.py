"""Who may write a configuration: what root runs by a file that others can write, they say."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def writable_by_others(path: Path, file: BinaryIO) -> str:
    """Why an agent of root's must not do what the open file says; empty where it may, or is not root's.

    Others are all users but root. A folder on the way that they can write lets them put another file there, unless it
    is sticky (/tmp), where each can take away only what is his. What is no regular file (a pipe) has no folder.
    """
    if os.geteuid() != 0:
        return ""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return ""
    whole, real = path.absolute(), path.resolve()
    found = _why(real, status)
    for one in dict.fromkeys((whole, *real.parents, *whole.parents)):
        found = found or _why(one, one.lstat())
    return found


def _why(path: Path, status: os.stat_result) -> str:
    mode = status.st_mode
    if status.st_uid != 0:
        who, mend = f"user {status.st_uid}, to whom {path} belongs,", "chown root"
    elif mode & _BY_OTHERS and not stat.S_ISLNK(mode) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        who, mend = f"others (mode {stat.S_IMODE(mode):o} of {path})", "chmod go-w"
    else:
        return ""
    return f"can be changed by {who} and an agent that runs as root would do what they say: {mend} {path}"

"""What Archive and the spool ask of a file system: locks that go with their holder, and names that outlive a crash."""

from __future__ import annotations

import fcntl
import os


def locked(descriptor: int) -> bool:
    """Lock the file or folder as long as it is open; false when somebody else has.

    A file system without locks has it granted.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def sync(folder: str | os.PathLike[str]) -> None:
    """Make the names in the folder survive a loss of power (fsync(2)). Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

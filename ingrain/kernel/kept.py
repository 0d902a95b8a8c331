"""Compiled objects, kept from one start to the next, in a folder that nobody else may write to.

The folder is $CACHE_DIRECTORY (systemd's `CacheDirectory=`), or /var/cache/ingrain. What is read there is loaded into
the kernel: it is used only if it and the folder are this user's own, and it is whole.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_KEPT = 4
"""Objects of each probe, for as many kernels as one starts now and then."""
_DIGEST = hashlib.sha256().digest_size
_SIZE_MAX = 64 << 20


def find(name: str, key: str) -> bytes | None:
    """The object that was kept under this key; None where there is none that can be trusted."""
    folder = _folder()
    if folder is None:
        return None
    try:
        descriptor = os.open(folder / _file(name, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it was opened without following links
        if not _is_own(os.fstat(descriptor), stat.S_IFREG):
            return None
        digest, kept = file.read(_DIGEST), file.read(_SIZE_MAX)
        if hashlib.sha256(kept).digest() != digest:
            return None
        with suppress(OSError):  # it may lie where nothing is written
            os.utime(descriptor)
    return kept


def keep(name: str, key: str, compiled: bytes) -> None:
    """Keep it, where there is room for it; the oldest of the same probe make way."""
    folder = _folder()
    if folder is None:
        return
    partial = folder / f"{_file(name, key)}.{os.getpid()}"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - as above
            file.write(hashlib.sha256(compiled).digest() + compiled)
        partial.rename(folder / _file(name, key))
        there = sorted(folder.glob(f"{name}-*.o*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in there[_KEPT:]:
            old.unlink()
    except OSError as error:
        log.info("what was compiled cannot be kept: %s", error)
        with suppress(OSError):
            partial.unlink()


def _file(name: str, key: str) -> str:
    return f"{name}-{key}.o"


def _folder() -> Path | None:
    """Where they are; None where there is no such folder, or it is not safe."""
    named = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    folder = Path(named or "/var/cache/ingrain")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        told = folder.lstat()
    except OSError as error:
        log.info("nothing that is compiled can be kept: %s", error)
        return None
    if not _is_own(told, stat.S_IFDIR):
        log.warning("%s is not this user's alone: nothing that is compiled is kept there", folder)
        return None
    return folder


def _is_own(told: os.stat_result, kind: int) -> bool:
    return stat.S_IFMT(told.st_mode) == kind and told.st_uid == os.geteuid() and not told.st_mode & 0o022

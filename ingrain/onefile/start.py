"""Where the one file begins: libraries and packages, which have to be files, are unpacked once, and `ingrain` runs.

They go to a folder that nobody else can write to, under a name that tells their contents, and are found there by every
later start. Here are only modules that the agent loads in any case; those for unpacking are loaded where it is done.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PAYLOAD, DIGEST = "tree.tar.xz", "tree.sha256"
"""In the archive: the tree of files, and its SHA-256."""

PACKAGED = Path("/usr/lib/ingrain")
"""Where a package of the distribution has the tree."""

CACHE = Path("/var/cache/ingrain")
OVERRIDE = "INGRAIN_CACHE"
CARRIED = ("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1")
"""What libraries need beside glibc, each after what it needs itself: found by its soname once it is loaded."""

_PARTIAL = ".partial-"
_SHOWN = 16  # digits of the digest: 64 bits tell builds apart, and who could forge one can write to the folder anyway


class StartError(RuntimeError):
    """The files cannot be had; the message says why, and what would mend it."""


def main() -> int:
    """Run `ingrain`; its exit code."""
    archive = sys.path[0]
    try:
        root = tree(archive, _digest(archive))
    except StartError as error:
        print(f"ingrain: {error}", file=sys.stderr)  # noqa: T201 there is no log yet
        return 1
    import ctypes  # noqa: PLC0415 where it is: the interpreter's own search path has no folder before this

    for name in CARRIED:
        ctypes.CDLL(str(root / "carried" / name))
    sys.path += [str(root / "dynload"), str(root)]
    sys.executable = ""  # there is no python that runs other programs
    from ingrain.__main__ import main as ingrain  # noqa: PLC0415 from the tree

    return ingrain()


def tree(archive: str, digest: str) -> Path:
    """The folder with the files of this archive, held against removal as long as this process lives.

    Found where it was unpacked or packaged, else unpacked. Raises StartError.
    """
    for folder in (PACKAGED, *folders()):
        if not distrust(found := folder / name(digest)) and _hold(found):
            return found
    whys = []
    for folder in folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            why = distrust(folder) or _unfit(folder)
            if not why:
                made = unpack(archive, digest, folder)
                why = distrust(made)
                if not why and _hold(made):
                    return made
                why = why or "it was removed at once"
        except OSError as error:
            why = error.strerror or str(error)
        whys.append(f"{folder} ({why})")
    if not whys:
        raise StartError(f"where it has more rights than who starts it, its libraries have to be in {PACKAGED}")
    raise StartError(
        f"its libraries have to be unpacked once, 270 MB, to a folder where files can be executed and to which only "
        f"this user can write, but not {', nor '.join(whys)}; name one: {OVERRIDE}=/FOLDER"
    )


def folders() -> Iterator[Path]:
    """Where the tree may be kept: $INGRAIN_CACHE and nowhere else, or systemd's folder, root's, the user's.

    Nowhere, where the program has capabilities or a user of its own (AT_SECURE of getauxval(3)): these are for who
    starts it to say, or to fill.
    """
    if "packaged" in sys._xoptions:  # noqa: SLF001 by launcher.c
        return
    environment = os.environ
    if named := environment.get(OVERRIDE):
        yield Path(named).absolute()
        return
    if named := environment.get("CACHE_DIRECTORY", "").partition(":")[0]:
        yield Path(named)
    yield CACHE
    if os.geteuid() != 0:
        with suppress(RuntimeError):  # a user without a home
            yield Path(environment.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()).absolute() / "ingrain"


def distrust(folder: Path) -> str:
    """Why others could have put there what is found there; empty where only root and this user can.

    That goes for each folder on the way, too, unless it is sticky (/tmp), where each can take away only what is his.
    """
    for one in (real := Path(os.path.realpath(folder)), *real.parents):
        try:
            told = one.lstat()
        except OSError as error:
            return f"{one}: {error.strerror}"
        if not stat.S_ISDIR(told.st_mode):
            return f"{one} is no folder"
        if told.st_uid not in (0, os.geteuid()):
            return f"{one} belongs to user {told.st_uid}"
        if told.st_mode & 0o022 and (one == real or not told.st_mode & stat.S_ISVTX):
            return f"others can write to {one}"
    return ""


def name(digest: str) -> str:
    """What the folder with the tree is called."""
    return f"tree-{digest[:_SHOWN]}"


def unpack(archive: str, digest: str, folder: Path) -> Path:
    """Unpack the tree to a folder, whole or not at all; those of other versions that nobody uses go. Raises OSError.

    Who does the same at the same time waits, and finds it done.
    """
    import hashlib  # noqa: PLC0415 seldom needed, as all of these
    import shutil  # noqa: PLC0415
    import tarfile  # noqa: PLC0415
    import tempfile  # noqa: PLC0415
    import zipfile  # noqa: PLC0415

    made = folder / name(digest)
    locked = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(locked, fcntl.LOCK_EX)
        if made.exists():
            return made
        for left in folder.glob(f"{_PARTIAL}*"):  # of one that was killed
            shutil.rmtree(left, ignore_errors=True)
        sound = False
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
        try:
            with zipfile.ZipFile(archive) as whole:
                with suppress(zipfile.BadZipFile), whole.open(PAYLOAD) as packed:
                    sound = hashlib.file_digest(packed, "sha256").hexdigest() == digest  # type: ignore[arg-type]
                if not sound:
                    raise OSError(errno.EBADMSG, "the program's own file is damaged")  # noqa: TRY301 taken away below
                with whole.open(PAYLOAD) as packed, tarfile.open(fileobj=packed, mode="r|xz") as files:
                    files.extractall(partial)  # noqa: S202 it was made with the program
            _sync(partial)
            partial.rename(made)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        os.fsync(locked)
        for other in set(folder.glob("tree-*")) - {made}:
            _remove_unused(other)
    finally:
        os.close(locked)
    return made


def _digest(archive: str) -> str:
    import zipimport  # noqa: PLC0415 it is loaded: this module came by it

    return zipimport.zipimporter(archive).get_data(f"{archive}/{DIGEST}").decode()


def _hold(path: Path) -> bool:
    """Hold a tree as long as this process lives, unless it is being removed."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return False
    except OSError:  # a file system without locks
        return True
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except OSError:
        return False


def _remove_unused(path: Path) -> None:
    import shutil  # noqa: PLC0415 seldom needed

    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = path.with_name(f"{_PARTIAL}{path.name}")  # never half a tree by its name
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    except BlockingIOError:
        pass  # an agent of another version runs
    finally:
        os.close(held)


def _unfit(folder: Path) -> str:
    """Why a tree cannot be used there; empty where it can."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return "it cannot be written to"
    return "it is mounted noexec" if os.statvfs(folder).f_flag & os.ST_NOEXEC else ""


def _sync(folder: Path) -> None:
    """Have it on the disk: what is found under its name after a crash of the machine is whole."""
    import ctypes  # noqa: PLC0415 as above

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ctypes.CDLL(None).syncfs(descriptor)
    finally:
        os.close(descriptor)

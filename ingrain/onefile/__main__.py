"""`python -m ingrain.onefile`: build dist/ingrain, and dist/ingrain_VERSION_amd64.deb, which has the same unpacked.

The same inputs give the same bytes: what is packed has no times and no owners.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from ingrain import __version__
from ingrain.onefile import deb, native, start, tree

CACHE = tree.ROOT / ".cache" / "onefile"
DIST = tree.ROOT / "dist"

_NOT_THERE = shutil.ignore_patterns(
    "__pycache__", "test", "tests", "idlelib", "tkinter", "turtle*", "lib2to3", "ensurepip", "distutils", "pydoc_data",
    "sqlite3", "dbm", "curses", "venv", "msilib", "site-packages", "sitecustomize.py", "EXTERNALLY-MANAGED",
)  # fmt: skip
"""Of the standard library: what is for people at a terminal, or has no native half here."""

_COMPRESSION = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6}]


def main() -> int:
    """Build both; the exit code."""
    if sys.version_info[:2] != (3, 11):
        print("the one file has Python 3.11, and its modules are compiled by the same: make PYTHON=python3.11 dist")
        return 1
    CACHE.mkdir(parents=True, exist_ok=True)
    DIST.mkdir(exist_ok=True)
    try:
        compiled = native.made(CACHE)
    except native.NativeError as error:
        print(error)
        return 1
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        folder = Path(made)
        files, payload, modules = folder / "tree", folder / start.PAYLOAD, folder / "modules"
        tree.lay(files, compiled)
        pack(files, payload)
        with payload.open("rb") as packed:
            digest = hashlib.file_digest(packed, "sha256").hexdigest()
        shutil.copytree(compiled / "stdlib", modules, ignore=_NOT_THERE, symlinks=True)
        shutil.copy(Path(start.__file__), modules)
        tree.compile_all(modules)
        (modules / start.DIGEST).write_text(digest)
        (modules / "manifest").write_text(_manifest(compiled))
        join(compiled / "program", modules, payload, DIST / "ingrain")
        join(compiled / "program", modules, None, folder / "ingrain")
        package = deb.build(folder / "ingrain", files, start.name(digest), folder / "package", DIST)
    for path in (DIST / "ingrain", package):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


def pack(files: Path, payload: Path) -> None:
    """A compressed tar of a tree."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = "root"
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    with (
        lzma.open(payload, "wb", filters=_COMPRESSION, check=lzma.CHECK_CRC64) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(files.rglob("*")):
            archive.add(path, str(path.relative_to(files)), recursive=False, filter=plain)


def join(program: Path, modules: Path, payload: Path | None, out: Path) -> None:
    """One file: the program, and an archive of modules behind it, with the tree or without."""
    new = out.with_name(f"{out.name}.new")
    shutil.copyfile(program, new)
    with zipfile.ZipFile(new, "a") as archive:
        for path in sorted(path for path in modules.rglob("*") if path.is_file()):
            _add(archive, path, str(path.relative_to(modules)), zipfile.ZIP_DEFLATED)
        if payload:
            _add(archive, payload, payload.name, zipfile.ZIP_STORED)
    new.chmod(0o755)
    new.rename(out)


def _add(archive: zipfile.ZipFile, path: Path, name: str, compression: int) -> None:
    entry = zipfile.ZipInfo(name)  # of 1980
    entry.compress_type = compression
    entry.external_attr = 0o100644 << 16
    archive.writestr(entry, path.read_bytes())


def _manifest(compiled: Path) -> str:
    packages = "".join(f"{name} {version}\n" for name, version in sorted(tree.versions().items()))
    return f"ingrain {__version__}\n{packages}{(compiled / 'manifest').read_text()}"


if __name__ == "__main__":
    sys.exit(main())

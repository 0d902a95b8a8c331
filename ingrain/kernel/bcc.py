"""Probes compiled on this host, by BCC, from the sources that come along.

BCC is the compiler here and nothing more: what it makes is an object such as comes with the package, for the same
libbpf. So it is done in a process of its own, which ends before anything is loaded, and the object is kept.
"""

from __future__ import annotations

import errno
import functools
import glob
import hashlib
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingrain.kernel import headers, kept, packages
from ingrain.kernel.headers import Headers
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.packages import NotInstalledError

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent / "sources"
"""Where the probes' sources are."""

_COMPILER = Path(__file__).with_name("compiler.py")
_PLACES = (
    "/usr/lib/python3/dist-packages",
    "/usr/lib/python3*/site-packages",
    "/usr/lib64/python3*/site-packages",
    "/usr/local/lib/python3*/*-packages",
)
"""Where distributions have Python packages. PyPI's package of this name is another."""

_LIBRARIES = tuple(
    f"{folder}/lib{name}*.so*"
    for folder in ("/usr/lib/*", "/usr/lib64", "/usr/lib")
    for name in ("bcc", "clang-cpp", "LLVM")
)
"""Where BCC is, and the compiler below it."""

_FLAGS = ("-fms-extensions", "-Wno-microsoft")
"""Newer headers have unnamed members of named types, as the kernel itself is compiled."""

_PYTHON = "/usr/bin/python3"
"""What compiles where the agent's interpreter runs nothing else (ingrain.onefile): BCC's package depends on it."""

_TIMEOUT_S = 900
"""An emulated processor takes minutes."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """What is needed to compile: the folder that has BCC's Python package, and the kernel's headers."""

    folder: Path
    headers: Headers

    @property
    def version(self) -> str:
        """BCC's, as it tells it."""
        path = self.folder / "bcc" / "version.py"
        told = re.search(r"'(.+)'", path.read_text()) if path.is_file() else None
        return told[1] if told else "of an unknown version"


def find() -> Compiler:
    """What there is here. Raises NotInstalledError."""
    folder, found = next(_folders(), None), headers.find()
    if folder is None:
        raise NotInstalledError("BCC is not installed", packages.install_bcc())
    if found is None:
        raise NotInstalledError("the kernel's headers are not installed", packages.install_headers())
    return Compiler(folder, found)


@functools.lru_cache(maxsize=1)  # a probe is tried in several ways, one after the other
def compiled(name: str) -> bytes:
    """The object of `probes/NAME.bpf.c` for this kernel. Raises NotInstalledError, or KernelError: what BCC said."""
    compiler = find()
    try:
        flags = [*_FLAGS, *compiler.headers.features()]
        key = _key(name, compiler, flags)
        if there := kept.find(name, key):
            log.debug("probe %s was compiled before", name)
            return there
        begun = time.monotonic()
        made = _compile(name, compiler, [*flags, f"-I{SOURCES / 'bcc'}"])
    except KernelError:
        raise
    except OSError as error:  # a file that cannot be read, a process that cannot be started
        raise KernelError(error.errno or 0, f"probe {name} cannot be compiled, {error.filename}") from error
    log.info("probe %s was compiled by BCC, in %.1f s", name, time.monotonic() - begun)
    kept.keep(name, key, made)
    return made


def _folders() -> Iterator[Path]:
    for place in _PLACES:
        for folder in sorted(glob.glob(place)):  # noqa: PTH207 - of absolute patterns
            if Path(folder, "bcc", "libbcc.py").is_file():
                yield Path(folder)


def _key(name: str, compiler: Compiler, flags: list[str]) -> str:
    """Of all that what is compiled depends on."""
    digest = hashlib.sha256()
    contents = (*_contents(SOURCES), *_contents(compiler.folder / "bcc"))
    for part in (name.encode(), *contents, *_libraries(), compiler.headers.identity(), *_environment()):
        digest.update(len(part).to_bytes(8, "little") + part)
    digest.update("\0".join(flags).encode())
    return digest.hexdigest()


def _contents(folder: Path) -> Iterator[bytes]:
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".c", ".h", ".py"}):
        yield str(path.relative_to(folder)).encode()
        yield path.read_bytes()


def _libraries() -> Iterator[bytes]:
    """Those of BCC and its compiler, by their names, sizes and times: they are a hundred megabytes."""
    for pattern in _LIBRARIES:
        for path in map(Path, sorted(glob.glob(pattern))):  # noqa: PTH207 - as above
            if path.is_file():
                told = path.stat()
                yield f"{path} {told.st_size} {int(told.st_mtime)}".encode()


def _environment() -> list[bytes]:
    """What BCC listens to, but for where the headers are."""
    names = sorted(name for name in os.environ if name.startswith("BCC_") and name != headers.OVERRIDE)
    return [f"{name}={os.environ[name]}".encode() for name in names]


def _compile(name: str, compiler: Compiler, flags: list[str]) -> bytes:
    with open(os.memfd_create(f"{name}.bpf.o"), "r+b", buffering=0) as file:  # noqa: PTH123 - it has no path
        number = str(file.fileno())
        source = str(SOURCES / f"{name}.bpf.c")
        command = [sys.executable or _PYTHON, "-I", str(_COMPILER), str(compiler.folder), source, number, *flags]
        what = f"BCC cannot compile probe {name}"
        # BCC would take ARCH for the machine's.
        environment = {variable: value for variable, value in os.environ.items() if variable != "ARCH"}
        try:
            done = subprocess.run(  # noqa: S603 - of files that only root can write to
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[file.fileno()],
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KernelError(errno.ETIMEDOUT, what) from error
        said = done.stdout.decode(errors="replace")
        file.seek(0)
        made = file.read()
    if done.returncode or not made:
        lines = said.splitlines() or [f"it ended with {done.returncode}"]
        why = next((line for line in lines if "error: " in line), lines[-1])
        raise KernelError(errno.ENOEXEC, f"{what}: {why}", said)
    return made

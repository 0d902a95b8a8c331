"""What BCC makes of the probes for guests' kernels, made on the host: `python -m guest.compiled`.

An emulated processor takes minutes where this one takes seconds. What is compiled depends on the headers and not on the
machine that runs, and the agent keeps it under a key that says so: so a guest's agent finds it in `.cache/bcc`, where
this has put it, by its own code. That a guest can do it itself is a test of its own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guest import kernels
from guest.kernels import ROOT, Kernel
from ingrain.kernel import bcc, headers

CACHE = ROOT / ".cache" / "bcc"
PROBES = tuple(sorted(path.name.removesuffix(".bpf.c") for path in (ROOT / "probes").glob("*.bpf.c")))


def sources(kernel: Kernel) -> Path | None:
    """The headers of a kernel in the cache, in one folder; None where they were not fetched."""
    folder = kernels.CACHE / kernel.version / "usr" / "src"
    if not kernel.version or not folder.is_dir():
        return None
    together = folder / "together"
    if not together.exists():
        partial = folder / f"together.{os.getpid()}"
        common = next(folder.glob("linux-headers-*-common"))
        for part in (common, folder / f"linux-headers-{kernel.release}"):
            for name in ("arch", "include"):
                _command("cp", "--recursive", f"{part / name}/.", str(_made(partial / name)))
        partial.rename(together)
    return together


@contextmanager
def here(kernel: Kernel) -> Iterator[None]:
    """Compile for that kernel, into the cache. Raises FileNotFoundError where its headers are not there."""
    folder = sources(kernel)
    if folder is None:
        raise FileNotFoundError(f"there are no headers of {kernel.suite}'s kernel; python -m guest.fetch fetches them")
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ |= {headers.OVERRIDE: str(folder), "CACHE_DIRECTORY": str(CACHE)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        bcc.compiled.cache_clear()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _command(*words: str) -> None:
    subprocess.run(words, check=True)


def main() -> None:
    """Compile every probe for the distribution's own kernel, where that is not done."""
    kernel = kernels.cached(kernels.own_suite())
    with here(kernel):
        for name in PROBES:
            bcc.compiled(name)
    print(f"probes for {kernel.version} are compiled by BCC", flush=True)  # noqa: T201 it says what it does


if __name__ == "__main__":
    main()

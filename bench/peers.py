"""What Debian has of the peers, unpacked into .cache/tracing/VERSION, VERSION being that of the kernel they run on.

auditd, since its installation would start it on this machine, now and at each boot; and the kernel's headers, with
which BCC compiles: Debian's kernels do not carry them. They are asked for as kernels are (guest.fetch). What is there
stays.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from guest import kernels
from guest.fetch import FetchError, Index, field
from guest.kernels import Kernel

CACHE = kernels.ROOT / ".cache" / "tracing"


def fetched(kernel: Kernel) -> Path:
    """The folder, once it has everything. Raises FetchError where something cannot be had."""
    folder = CACHE / kernel.version
    if not folder.exists():
        index = Index(kernel.suite, kernels.CACHE / "index" / kernel.suite)
        index.update()
        common = f"linux-headers-{kernel.release.rpartition('-')[0]}-common"
        packages = dict.fromkeys((f"linux-headers-{kernel.release}", common), kernel.version)
        packages |= {name: field(index.show(name), "Version") for name in ("auditd", "libaudit1", "libauparse0")}
        _unpack(index, packages, folder)
    return folder


def _unpack(index: Index, packages: dict[str, str], folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    archives = partial / "archives"
    archives.mkdir(parents=True)
    index.download(packages, archives)
    for archive in sorted(archives.iterdir()):
        done = subprocess.run(["dpkg", "--extract", archive, partial], capture_output=True, text=True, check=False)
        if done.returncode:
            raise FetchError(f"{archive.name} cannot be unpacked: {done.stderr.strip()}")
    shutil.rmtree(archives)
    partial.rename(folder)

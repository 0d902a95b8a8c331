"""The kernels that guests run: the newest of some of Debian's suites, as fetch.py left them below .cache/kernels.

A kernel's name is its series, `6.1`; that is what test ids and --kernels say.
"""

from __future__ import annotations

import functools
import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The top of the repository."""

CACHE = ROOT / ".cache" / "kernels"
SUITES = ("bullseye", "bookworm", "trixie", "sid")
"""The matrix, from the oldest kernel to the newest."""

NATIVE = "native"
"""The name of the kernel that runs this, where it is no guest's."""

_RECORD = "kernel.json"  # the last file made: where it is, the kernel is complete


class KernelsError(ValueError):
    """--kernels names what is not there; the message says what is."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel below the cache. image: where its vmlinuz is, its modules are below the same folder.

    `version` is that of Debian's package, `release` what uname tells. One without an image was not fetched.
    """

    suite: str
    version: str = ""
    release: str = ""
    image: Path | None = None

    @property
    def name(self) -> str:
        """Its series; the suite where no kernel of it was fetched."""
        return series(self.version) if self.version else self.suite


def series(version: str) -> str:
    """`6.1` of `6.1.192-2`."""
    return ".".join(version.split(".")[:2])


def own_suite() -> str:
    """The distribution's own suite; Debian 12's where the distribution is none of the matrix."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return codename if codename in SUITES else "bookworm"


def newest(versions: Iterable[str]) -> str:
    """The newest of some Debian versions, by dpkg's own order; there must be one."""
    return max(versions, key=functools.cmp_to_key(_compare))


def _compare(one: str, other: str) -> int:
    if one == other:
        return 0
    return 1 if subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0 else -1


def cached(suite: str, cache: Path = CACHE) -> Kernel:
    """The newest kernel of this suite in the cache; one without an image where there is none."""
    found = {record["version"]: record for record in _records(cache) if record["suite"] == suite}
    if not found:
        return Kernel(suite)
    record = found[newest(found)]
    return Kernel(suite, record["version"], record["release"], cache / record["version"] / record["image"])


def record(folder: Path, suite: str, version: str) -> None:
    """Complete a kernel's folder. Raises OSError where there is not exactly one image in it."""
    images = [*folder.glob("boot/vmlinuz-*"), *folder.glob("usr/lib/modules/*/vmlinuz")]
    if len(images) != 1:
        raise OSError(f"one vmlinuz was expected in the packages of {suite}'s kernel {version}, not {len(images)}")
    (image,) = images
    (modules,) = folder.glob("lib/modules/*")
    told = {"suite": suite, "version": version, "release": modules.name, "image": str(image.relative_to(folder))}
    (folder / _RECORD).write_text(json.dumps(told))


def superseded(suite: str, version: str, cache: Path = CACHE) -> list[Path]:
    """Folders of this suite's other kernels."""
    return [cache / one["version"] for one in _records(cache) if one["suite"] == suite and one["version"] != version]


def _records(cache: Path) -> list[dict[str, str]]:
    return [json.loads(path.read_text()) for path in sorted(cache.glob(f"*/{_RECORD}"))]


def select(wanted: str | None, there: Sequence[Kernel], own: str) -> list[str]:
    """Names of the kernels that --kernels means: `6.1,7.2` those; `all` every guest's; None the distribution's own.

    there: a kernel a suite, the newest. This machine's own is `native`, and has to be named: what traces hangs on the
    whole machine, also where it lets nothing through but what tests do. Raises KernelsError for a name that is none.
    """
    if wanted is None:
        return [kernel.name for kernel in there if kernel.suite == own]
    if wanted == "all":
        return [kernel.name for kernel in there]
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    known = [NATIVE, *(kernel.name for kernel in there)]
    for name in names:
        if name not in known:
            raise KernelsError(f"--kernels={wanted}: there is no {name} here; there are {', '.join(known)}, and all")
    return names

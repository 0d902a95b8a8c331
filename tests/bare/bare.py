"""Systems as debootstrap makes them, and dist/ingrain put into them; they are kept in .cache for the next time."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import debootstrap
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "dist" / "ingrain"
CACHE = "var/cache/ingrain"
SUITES = {
    "bullseye": "Debian 11",
    "bookworm": "Debian 12",
    "trixie": "Debian 13",
    "focal": "Ubuntu 20.04",
    "jammy": "Ubuntu 22.04",
    "noble": "Ubuntu 24.04",
}

_ENTER = """\
set -e
root=$1; shift
mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --bind /tmp "$root/tmp"
exec chroot "$root" "$@"
"""


@dataclass(frozen=True, slots=True)
class Bare:
    """A bare system; it sees the kernel and the /tmp of the one that the tests run on."""

    suite: str
    root: Path

    def command(self, *words: str | Path, also: str = "") -> list[str]:
        """A command that runs there, as one and the same process. also: shell commands before, in its own mounts."""
        script = _ENTER.replace("exec", f"{also}\nexec")
        return ["unshare", "--mount", "sh", "-c", script, "sh", str(self.root), *map(str, words)]

    def run(self, *words: str | Path, also: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
        """A command, done there."""
        return subprocess.run(
            self.command(*words, also=also), capture_output=True, text=True, check=False, timeout=240, **options
        )

    def forget(self) -> None:
        """Have nothing unpacked there."""
        shutil.rmtree(self.root / CACHE, ignore_errors=True)


def system(suite: str) -> Bare:
    """The bare system of that suite with the one file in /usr/local/bin. Skips where it, or the file, cannot be had."""
    if not PROGRAM.exists():
        pytest.skip("dist/ingrain is not there: make dist")
    if not shutil.which("debootstrap"):
        pytest.skip("debootstrap is not installed")
    root = ROOT / ".cache" / "bare" / suite
    if not root.exists():
        made = root.with_name(f"{suite}.new")
        try:
            debootstrap.make(suite, made)
        except debootstrap.BareError as error:
            pytest.skip(f"there is no {SUITES[suite]} to be had: {error}")
        made.rename(root)
    shutil.copy(PROGRAM, root / "usr/local/bin/ingrain")
    bare = Bare(suite, root)
    bare.forget()
    return bare

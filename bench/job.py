"""A job with many files: unpacking a source tree with tar, then reading every file of it. Timed from outside.

The tree is a part of the kernel's headers; the job's folders, one each time, lie in one that may be watched.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from agent import BenchError

TREE = "include/uapi/linux"
"""Of the kernel's headers."""

_SCRIPT = 'tar -xf "$1" -C "$2" && find "$2" -type f -exec cat {} + >/dev/null'
_PATIENCE_S = 120.0


@dataclass(slots=True)
class Job:
    """It can be done again and again. folder: where. paths: of all files that were read so far."""

    archive: Path
    folder: Path
    names: tuple[str, ...] = ()
    paths: set[str] = field(default_factory=set)
    _times: int = 0

    @classmethod
    def of(cls, archive: Path, folder: Path) -> Job:
        """The job with this archive, in a folder that is in memory, to which the archive is copied first."""
        watched = folder / "watched"
        watched.mkdir(parents=True)
        with tarfile.open(shutil.copy(archive, folder)) as tar:
            names = tuple(member.name for member in tar if member.isfile())
        if not names:
            raise BenchError(f"there are no files in {archive}")
        return cls(folder / archive.name, watched, names)

    def do(self) -> float:
        """Do it in a folder that is new; seconds."""
        self._times += 1
        here = self.folder / str(self._times)
        here.mkdir()
        command = ["sh", "-c", _SCRIPT, "sh", str(self.archive), str(here)]
        begun = time.monotonic()
        subprocess.run(command, check=True)
        taken = time.monotonic() - begun
        self.paths |= {f"{here}/{name}" for name in self.names}
        return taken

    def clear(self) -> None:
        """Remove what it left, and forget it."""
        for folder in self.folder.glob("*/"):
            shutil.rmtree(folder)
        self.paths = set()


def pack(headers: Path, archive: Path) -> None:
    """Make the archive; where files are slow to open, in a guest that has them from its host, it takes minutes."""
    subprocess.run(["tar", "-cf", archive, "-C", headers, TREE], check=True)


def settle() -> None:
    """Wait until this machine has nothing to do: what watched the last job must not be at it in the next.

    Raises BenchError where that does not come.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        idle, all_of_it = _ticks()
        time.sleep(1)
        idle_now, all_now = _ticks()
        if idle_now - idle > 0.9 * (all_now - all_of_it):
            return
    raise BenchError(f"what watched was still at work {_PATIENCE_S:.0f} s after the job")


def _ticks() -> tuple[int, int]:
    """Of all processors: idle, and in all (/proc/stat, proc(5))."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return ticks[3] + ticks[4], sum(ticks[:8])

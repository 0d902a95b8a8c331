"""What of the one file is native code: linked for the oldest system that it is to run on, once for each of its sources.

That is Debian 11, which has the same glibc as Ubuntu 20.04: what is linked with that runs with all later ones.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

GLIBC = (2, 31)
"""The C library that is linked with."""

_HERE = Path(__file__).parent


class NativeError(RuntimeError):
    """It could not be made; why, native.sh has said."""


def made(cache: Path) -> Path:
    """The folder with what native.sh makes, from the cache where it is there. Raises NativeError."""
    inputs = [_HERE / name for name in ("native.sh", "launcher.c", "compat.c")]
    key = hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()
    kept = cache / f"native-{key[:16]}"
    if kept.exists():
        return kept
    making = kept.with_name(f"{kept.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    print("fetching and linking what is native", flush=True)
    if subprocess.run(["sh", inputs[0], making], check=False).returncode:  # noqa: S603, S607 a file of ours
        raise NativeError(f"{inputs[0]} failed; what it was at is in {making}")
    making.rename(kept)
    return kept

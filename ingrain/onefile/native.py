"""What of the one file is native code: compiled in a Debian 11 of its own, once for each version of what it is made of.

Debian 11 has the oldest glibc of the systems that the file is to run on (2.31, as Ubuntu 20.04): what is linked there
runs on all later ones.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from ingrain.onefile import debian

SUITE, GLIBC = "bullseye", (2, 31)
"""Where it is compiled, and the C library there."""

_HERE = Path(__file__).parent
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class NativeError(RuntimeError):
    """It could not be compiled; what was said, stands in the output."""


def made(cache: Path) -> Path:
    """The folder with what native.sh makes, from the cache where it is there. Raises BareError, NativeError."""
    inputs = [_HERE / "native.sh", _HERE / "launcher.c"]
    key = hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()[:16]
    kept, root = cache / f"native-{key}", cache / f"building-{key}"
    if kept.exists():
        return kept
    print(f"compiling what is native, in a {SUITE} of its own: some 15 minutes, once", flush=True)
    debian.make(SUITE, root)
    for path in inputs:
        shutil.copy(path, root)
    (root / "etc" / "apt" / "keyrings").mkdir(exist_ok=True)
    shutil.copy(_KEYS, root / "etc" / "apt" / "keyrings" / "sources.gpg")
    if subprocess.run(["chroot", root, "sh", "/native.sh"], check=False).returncode:  # noqa: S603, S607 as above
        raise NativeError(f"native.sh failed; what it was at is in {root}/build")
    (root / "out").rename(kept)
    shutil.rmtree(root)
    return kept

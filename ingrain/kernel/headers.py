"""The running kernel's headers: where they are, what tells them from others, and what they say of this kernel."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

OVERRIDE = "BCC_KERNEL_SOURCE"
"""BCC's own variable: a folder that has the headers, where they are not in their place."""

_CONFIGURED = tuple(f"include/generated/{name}.h" for name in ("autoconf", "utsrelease", "utsversion", "compile"))

# What probes/bcc/ asks for, as HAS_NAME, and which header has it where this kernel does.
_ASKED = {
    "ancestor_ids": "linux/cgroup-defs.h",
    "get_func_ret": "uapi/linux/bpf.h",
    "mnt_userns": "linux/mount.h",
    "mnt_idmap": "linux/mount.h",
    "iter_type": "linux/uio.h",
    "ITER_UBUF": "linux/uio.h",
    "__iov": "linux/uio.h",
    "cqe": "linux/io_uring_types.h",
    "old_dentry": "linux/fs.h",
    "proto_accept_arg": "net/sock.h",
}


@dataclass(frozen=True, slots=True)
class Headers:
    """Folders that have them: where they were configured, and, where it is another, what is the same for all."""

    folders: tuple[Path, ...]

    def identity(self) -> bytes:
        """What differs between kernels, and builds of one: its release, its configuration, when it was built."""
        return "\0".join([os.uname().machine, *map(self._text, _CONFIGURED)]).encode()

    def features(self) -> list[str]:
        """Definitions for the compiler: HAS_NAME is 1 where these headers have that name, else 0."""
        return [f"-DHAS_{name}={int(self._has(name, f'include/{header}'))}" for name, header in _ASKED.items()]

    def _has(self, name: str, header: str) -> bool:
        """Whether a member, a constant or a type has the name: others may have it, too."""
        return re.search(rf"\b{name}(?:[;,)\[]| \*)", self._text(header)) is not None

    def _text(self, name: str) -> str:
        for folder in self.folders:
            path = folder / name
            if path.is_file():
                return path.read_text(errors="replace")
        return ""


def find() -> Headers | None:
    """Those of the running kernel; None where they are not installed."""
    if OVERRIDE in os.environ:
        folders = [Path(os.environ[OVERRIDE])]
    else:
        modules = Path("/lib/modules", os.uname().release)
        folders = [modules / "build", modules / "source"]
    there = tuple(folder for folder in folders if folder.is_dir())
    return Headers(there) if any((folder / "include/linux/kconfig.h").is_file() for folder in there) else None

"""What the running kernel calls its functions and variables, and where it has them: /proc/kallsyms."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

_CHUNK = 1 << 20
BTF = Path("/sys/kernel/btf/vmlinux")
"""Where the running kernel tells its own types."""


def has_btf() -> bool:
    """Whether the running kernel tells its own types (CONFIG_DEBUG_INFO_BTF)."""
    return BTF.exists()


def addresses(names: Collection[str]) -> dict[str, int]:
    """Address of each of these that there is; 0 of those that are hidden from this process (kernel.kptr_restrict).

    Those of modules are left out.
    """
    wanted = b"|".join(re.escape(name.encode()) for name in sorted(names))
    pattern = re.compile(rb"^([0-9a-f]+) \S (" + wanted + rb")$", re.MULTILINE)
    found: dict[str, int] = {}
    with Path("/proc/kallsyms").open("rb") as file:
        rest = b""
        while chunk := file.read(_CHUNK):  # all of it is some ten megabytes
            lines, _, rest = (rest + chunk).rpartition(b"\n")
            found |= {name.decode(): int(address, 16) for address, name in pattern.findall(lines)}
    return found

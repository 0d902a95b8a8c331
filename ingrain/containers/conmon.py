"""conmon, which stands by every container of Podman and CRI-O: its command line tells a container's name and store.

That finds containers in a store that was moved elsewhere (`podman --root`, `graphroot` in storage.conf).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ingrain.containers import paths
from ingrain.containers.documents import listing
from ingrain.containers.record import text

_PROCESSES = 1 << 16  # looked at
_LIMIT = 1 << 16  # bytes of a command line


@dataclass(frozen=True, slots=True)
class Conmon:
    """name: of the container (`-n`). store: folder of the store that its bundle (`-b`) is in."""

    name: str | None
    store: Path | None


def find(host: Path, container_id: str, user: int) -> Conmon | None:
    """The conmon of this container; it runs as `user` and in no container, where any process may call itself so."""
    proc = host / "proc"
    for pid in listing(proc, _PROCESSES):
        if pid.isdecimal():
            try:
                if (proc / pid / "comm").read_bytes() != b"conmon\n":
                    continue
                if (proc / pid).stat().st_uid != user or _is_contained(proc / pid):
                    continue
                with (proc / pid / "cmdline").open("rb") as file:
                    words = [os.fsdecode(word) for word in file.read(_LIMIT).split(b"\0")]
            except OSError:
                continue  # it is gone
            if _option(words, "-c") == container_id:
                return Conmon(text(_option(words, "-n")), _store(host, _option(words, "-b")))
    return None


def _option(words: list[str], option: str) -> str | None:
    try:
        return words[words.index(option) + 1]
    except (ValueError, IndexError):
        return None


def _is_contained(process: Path) -> bool:
    for line in (process / "cgroup").read_text(errors="surrogateescape").splitlines():
        if line.startswith("0::") and paths.place(line.removeprefix("0::")) is not None:
            return True
    return False


def _store(host: Path, bundle: str | None) -> Path | None:
    """`STORE/DRIVER-containers/ID/userdata` -> STORE."""
    parts = Path(bundle or "").parts
    if len(parts) < 5 or parts[-1] != "userdata" or not parts[-3].endswith("-containers") or ".." in parts:  # noqa: PLR2004
        return None
    return host.joinpath(*parts[1:-3])

"""conmon, which stands by every container of Podman and CRI-O: its command line tells a container's name and store.

That finds containers in a store that was moved elsewhere (`podman --root`, `graphroot` in storage.conf).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ingrain.containers import paths
from ingrain.containers.documents import listing
from ingrain.containers.record import ID, text

_PROCESSES = 1 << 16  # looked at
_OF_A_USER = 1 << 10  # kept
_LIMIT = 1 << 16  # bytes of a command line

_PAUSE_S, _SHARE = 0.1, 10
"""All processes are looked at again after so long at the earliest, and after so many times as long as it takes."""


@dataclass(frozen=True, slots=True)
class Conmon:
    """name: of the container (`-n`). store: folder of the store that its bundle (`-b`) is in, where that is root's."""

    name: str | None
    store: Path | None


class Monitors:
    """The conmons on `host`. Whoever asks for many that are not there has the processes looked at once for all."""

    def __init__(self, host: Path) -> None:
        self._host = host
        self._found: dict[int, dict[str, Conmon]] = {}
        self._until = 0.0

    def find(self, container_id: str, user: int) -> Conmon | None:
        """The conmon of this container; it runs as `user` and in no container, where any process may call itself so."""
        begun = time.monotonic()
        if begun >= self._until:
            self._look()
            ended = time.monotonic()
            self._until = ended + max(_PAUSE_S, _SHARE * (ended - begun))
        return self._found.get(user, {}).get(container_id)

    def _look(self) -> None:
        self._found = {}
        proc = self._host / "proc"
        for pid in listing(proc, _PROCESSES):
            if pid.isdecimal():
                try:
                    if (proc / pid / "comm").read_bytes() == b"conmon\n" and not _is_contained(proc / pid):
                        self._note(proc / pid)
                except OSError:
                    continue  # it is gone

    def _note(self, process: Path) -> None:
        user = process.stat().st_uid
        with (process / "cmdline").open("rb") as file:
            words = [os.fsdecode(word) for word in file.read(_LIMIT).split(b"\0")]
        container_id = _option(words, "-c")
        found = self._found.setdefault(user, {})
        if container_id is not None and ID.fullmatch(container_id) and len(found) < _OF_A_USER:
            store = None if user else _store(self._host, _option(words, "-b"))
            found[container_id] = Conmon(text(_option(words, "-n")), store)


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

"""Inputs that break a promise, kept so that they can be read again."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable
from pathlib import Path

SLOW_S = 10.0
"""CPU time that no input may take."""

TRACE = ".txt"
"""How the name of an input's traceback ends, which lies beside it."""


class Findings:
    """Tries inputs of one target, and keeps in a folder those that break a promise, one for each place of the code."""

    def __init__(self, folder: Path, run: Callable[[bytes], object]) -> None:
        self._folder = folder
        self._run = run
        self._seen: set[tuple[str, ...]] = set()

    def try_one(self, data: bytes) -> None:
        """Run it; whatever it raises is kept, unless another did the same before."""
        begun = time.process_time()
        try:
            self._run(data)
            assert time.process_time() - begun < SLOW_S
        except Exception as error:  # noqa: BLE001 whatever it is, it was not promised
            self._keep(data, error)

    def _keep(self, data: bytes, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = (type(error).__name__, *(f"{frame.filename}:{frame.lineno}" for frame in frames[-2:]))
        if place in self._seen:
            return
        self._seen.add(place)
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = self._folder / hashlib.sha256(data).hexdigest()[:16]
        kept.write_bytes(data)
        kept.with_suffix(TRACE).write_text("".join(traceback.format_exception(error)), errors="backslashreplace")


def found(folder: Path) -> list[str]:
    """Names of the inputs that were kept there."""
    return sorted(path.name for path in folder.glob("*") if path.suffix != TRACE)

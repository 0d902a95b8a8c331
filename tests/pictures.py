"""Pictures that tests take: kept in docs/pictures where `make pictures` runs them, else only looked at by the test."""

from __future__ import annotations

import os
from pathlib import Path

KEEP = "INGRAIN_PICTURES"
"""The environment's word for the folder in which they are kept."""


def picture(name: str, folder: Path) -> Path:
    """Where one of this name is to be: in this folder of the test's, where it is not kept."""
    kept = os.environ.get(KEEP)
    if kept:
        assert Path(kept).is_absolute(), f"{KEEP} is relative, and a test may be elsewhere"
        Path(kept).mkdir(parents=True, exist_ok=True)
    return Path(kept or folder) / name

"""Paths, from how the kernel half gathers them (probes/path.h): the last name first, each with a zero behind it."""

from __future__ import annotations

from functools import lru_cache

from ingrain.text import safe

_CUT = 1  # enum end of probes/path.h


@lru_cache(maxsize=16384)
def path_of(names: bytes, end: int) -> str:
    """The path as text; one that was cut begins with `.../` in place of what is missing."""
    parts = names.split(b"\0")[:-1]
    head = ".../" if end == _CUT else "/"
    return head + safe(b"/".join(reversed(parts)))

"""Paths, from how the kernel half gathers them (probes/path.h): the last name first, each with a zero behind it."""

from __future__ import annotations

from functools import lru_cache

from ingrain.text import safe

SHORT = 256
"""Bytes of what is remembered when it is decoded: longer ones are rare, and would let a few thousand take gigabytes."""

_CUT = 1  # enum end of probes/path.h


def path_of(names: bytes, end: int) -> str:
    """The path as text; one that was cut begins with `.../` in place of what is missing."""
    return _short(names, end) if len(names) <= SHORT else _path(names, end)


def _path(names: bytes, end: int) -> str:
    parts = names.split(b"\0")[:-1]
    head = ".../" if end == _CUT else "/"
    return head + safe(b"/".join(reversed(parts)))


_short = lru_cache(maxsize=16384)(_path)

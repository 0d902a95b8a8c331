"""What grains, steps and backends are listed by: `module:Class`, imported only when a configuration uses it."""

from __future__ import annotations

import importlib
from typing import Any


def find_class(place: str) -> Any:
    """The class at `module:Class`, imported now. Raises ImportError, or OSError where a shared library lacks."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)

"""Names that others chose, for measurements and columns: harmless everywhere, and none that means something here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import pyarrow as pa

from ingrain.batch import TEXT
from ingrain.tags import canonical

NAME_CHARACTERS = 200
"""The longest name: what Datadog keeps of one."""

_NOT_IN_NAMES = re.compile(r"[^0-9A-Za-z_.-]")
_NOT_IN_KEYS = re.compile(r"[^0-9A-Za-z_./-]")
_FIXED = {"timestamp", "measurement"}  # what backends put beside the columns


def name(raw: bytes) -> str:
    """A metric's name as StatsD's servers keep it. Raises ValueError for one that is empty or too long."""
    if not 0 < len(raw) <= NAME_CHARACTERS:
        raise ValueError(f"a name has 1 to {NAME_CHARACTERS} characters")
    return _NOT_IN_NAMES.sub("_", raw.decode("latin-1"))


def tag(text: str, taken: Collection[str]) -> str:
    """The name of a tag's column: the agent's own for what it knows, and none that is fixed or `taken`."""
    key = canonical(_NOT_IN_KEYS.sub("_", text[:NAME_CHARACTERS])) or "_"
    while key in _FIXED or key in taken:
        key += "_"
    return key


def text(values: Iterable[str | None]) -> pa.DictionaryArray:
    """A column of `TEXT` of harmless values; None is null."""
    return pa.array(values, pa.string()).dictionary_encode().cast(TEXT)

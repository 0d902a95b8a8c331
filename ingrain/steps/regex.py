"""Regex: replace the values of tags by pattern. In: any batch; out: the same rows, values that match replaced whole.

The patterns are tried on a column's distinct values, never on its rows, with Arrow's RE2, whose time is linear in the
length of the value: no value can stall the agent. A pattern can, whose repetitions multiply (`{900}` in each of 150
alternatives): it may cost milliseconds a letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.account import Station
from ingrain.batch import TEXT, Batch
from ingrain.columns import as_text
from ingrain.settings import Settings
from ingrain.stage import Downstream, Place, Step
from ingrain.tags import canonical
from ingrain.text import harmless

_REFUSED = "Invalid regular expression: "


def re2(regex: str) -> None:
    """Raise ValueError, with what RE2 said, for a regex that it does not take."""
    try:
        pc.match_substring_regex(pa.array([""]), regex)  # Arrow compiles it only when there is a value
    except pa.ArrowInvalid as refused:
        said = str(refused).removeprefix(_REFUSED)
        raise ValueError(
            f"RE2 does not take it: {said}. RE2 has no lookarounds and no backreferences; "
            "what it has is told at https://github.com/google/re2/wiki/Syntax"
        ) from refused


def constant(replace_with: str) -> None:
    """Raise ValueError for a replacement that no record may hold."""
    if harmless(replace_with) != replace_with:
        raise ValueError("holds a control character, which no value of a record may have")


class Pattern(Settings, frozen=True):
    """What is replaced, as in ingraind.

    key: the tag
    regex: searched for anywhere in the value (RE2 syntax)
    replace_with: the whole new value of a tag in which it is found; there are no references to groups
    """

    key: Annotated[str, msgspec.Meta(min_length=1)]
    regex: Annotated[str, msgspec.Meta(extra={"check": re2})]
    replace_with: Annotated[str, msgspec.Meta(extra={"check": constant})]


class RegexSettings(Settings, frozen=True):
    """What is replaced by what.

    patterns: applied in order, each to the result of the one before
    """

    patterns: list[Pattern]


class Regex(Step):
    """Values replaced by pattern. A tag that a batch does not have is left alone, and so is a null.

    Column types do not depend on what matched, so that they are the same in every batch: a tag that a pattern names
    keeps its type when it is text or a list of text, and becomes `TEXT` when it is a number (`d_port` 443 is matched as
    "443"). In a list each item is a value of its own; in a list of structs (`answers`) the field `data` is; a struct
    without `data` is left alone.
    """

    Settings = RegexSettings

    def __init__(self, settings: RegexSettings, station: Station, downstream: Downstream) -> None:
        super().__init__(station, downstream)
        self._patterns: dict[str, list[Pattern]] = {}
        for pattern in settings.patterns:
            self._patterns.setdefault(canonical(pattern.key), []).append(pattern)

    @classmethod
    def wants(cls, settings: RegexSettings, after: frozenset[str] | None) -> frozenset[str] | None:
        """What those after it want: it looks at no tag but the one that it changes."""
        del settings
        return after

    @classmethod
    def names(cls, settings: RegexSettings) -> Iterable[tuple[Place, str]]:
        """The tags whose values it replaces."""
        return ((("patterns", at, "key"), pattern.key) for at, pattern in enumerate(settings.patterns))

    def process(self, batch: Batch) -> Iterable[Batch]:
        """The batch with its values replaced."""
        records = batch.records
        for tag in batch.tags:
            patterns = self._patterns.get(tag)
            if patterns is not None:
                at = records.schema.get_field_index(tag)
                column = _replace(records.column(at), patterns)
                records = records.set_column(at, records.schema.field(at).with_type(column.type), column)
        yield batch if records is batch.records else batch.with_records(records)


def _replace(column: pa.Array, patterns: Sequence[Pattern]) -> pa.Array:
    kind = column.type
    if pa.types.is_list(kind):
        items = _replace(column.values, patterns)
        offsets = pa.array(column.offsets.to_numpy())  # Arrow takes no mask together with a slice of offsets
        kind = pa.list_(kind.value_field.with_type(items.type))
        return pa.ListArray.from_arrays(offsets, items, kind, mask=column.is_null())
    if pa.types.is_struct(kind):
        return _replace_field(column, "data", patterns)
    if kind == pa.string():
        return _replace_values(column.dictionary_encode(), patterns).dictionary_decode()
    return _replace_values(as_text(column), patterns)


def _replace_field(column: pa.StructArray, name: str, patterns: Sequence[Pattern]) -> pa.StructArray:
    at = column.type.get_field_index(name)
    if at < 0:
        return column
    arrays = column.flatten()
    arrays[at] = _replace(arrays[at], patterns)
    fields = [field.with_type(array.type) for field, array in zip(column.type, arrays, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=column.is_null())


def _replace_values(column: pa.DictionaryArray, patterns: Sequence[Pattern]) -> pa.DictionaryArray:
    values = column.dictionary
    for pattern in patterns:
        found = pc.match_substring_regex(values, pattern.regex)
        if pc.any(found).as_py():
            values = pc.if_else(found, pattern.replace_with, values)
    if values is column.dictionary:
        return column
    distinct = values.dictionary_encode()  # many values have become one: the dictionary holds it once
    replaced = pa.DictionaryArray.from_arrays(distinct.indices.take(column.indices), distinct.dictionary)
    return replaced.cast(TEXT)

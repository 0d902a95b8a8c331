"""The promises that more than one target holds its findings against, told in other ways than the code's own."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache

import pyarrow as pa

from ingrain.batch import Batch

_TERMINAL = {"Cc", "Cs", "Zl", "Zp"}  # controls, surrogates, separators of lines and paragraphs
_DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
_PLANE = 0x10000  # all of them are in the first one
_MARKS = set("\u061c\u200e\u200f\ufeff")
_INVISIBLE = {  # Default_Ignorable_Code_Point, which unicodedata does not have
    chr(code)
    for first, last in (
        (0xAD, 0xAD), (0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200D),
        (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8),
        (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    )
    for code in range(first, last + 1)
}  # fmt: skip


@cache
def _harmful() -> frozenset[str]:
    return frozenset(
        one
        for one in map(chr, range(_PLANE))
        if unicodedata.category(one) in _TERMINAL or unicodedata.bidirectional(one) in _DIRECTIONS
    )


def is_harmless(text: str) -> bool:
    """Whether it can do nothing to a terminal, a line or the direction of what stands beside it, and all is seen."""
    if text.isascii():
        return text.isprintable()
    return _harmful().isdisjoint(text) and _MARKS.isdisjoint(text) and _INVISIBLE.isdisjoint(text)


def check_text(*texts: str | None) -> None:
    """Each is harmless, where it is there."""
    for text in texts:
        assert text is None or is_harmless(text), text


def check_ascii(*texts: str) -> None:
    """Each is printable ASCII."""
    for text in texts:
        assert text.isascii(), text
        assert text.isprintable(), text


def check_batch(batch: Batch) -> None:
    """It is what its measurement says it is, and all text in it is harmless."""
    assert batch.records.schema == batch.measurement.schema
    batch.records.validate(full=True)
    for column in batch.records.columns:
        check_text(*_texts(column))


def _texts(column: pa.Array) -> Iterator[str | None]:
    kind = column.type
    if pa.types.is_list(kind):
        yield from _texts(column.flatten())
    elif pa.types.is_struct(kind):
        for field in column.flatten():
            yield from _texts(field)
    elif pa.types.is_dictionary(kind):
        yield from column.dictionary.to_pylist()
    elif pa.types.is_string(kind):
        yield from column.to_pylist()

"""Struct layouts from BTF: what the C compiler wrote into the object, as numpy dtypes. Nothing is typed twice.

The format is Documentation/bpf/btf.rst of the kernel: a header, an array of types, a table of strings.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

_MAGIC = 0xEB9F
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF = 1, 2, 3, 4, 5, 6, 7, 8
_FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _ENUM64 = 13, 14, 15, 17, 19
_QUALIFIERS = {_TYPEDEF, 9, 10, 11, 18}  # typedef, volatile, const, restrict, type tag
_SIGNED, _CHAR = 1, 2


class LayoutError(ValueError):
    """The BTF is broken, or has not what was asked for."""


@dataclass(frozen=True, slots=True)
class _Type:
    name: str
    kind: int
    size_or_type: int
    data: tuple[tuple[int, ...], ...]
    bitfields: bool


class Btf:
    """The types of one object."""

    def __init__(self, raw: bytes) -> None:
        self._strings = raw
        with _whole():
            self._types = _parse(raw)

    def dtype(self, name: str) -> np.dtype[np.void]:
        """The struct of that name: fields at their offsets; `char[N]` is `SN`, other arrays are subarrays.

        Raises LayoutError where there is no such struct, or it holds what numpy cannot (bit fields, unions).
        """
        for number, kind in enumerate(self._types):
            if kind.kind == _STRUCT and kind.name == name:
                with _whole():
                    return self._struct(number)
        raise LayoutError(f"no struct {name} in the object's BTF")

    def variables(self, section: str) -> dict[str, tuple[int, int]]:
        """Offset and size in bytes of each variable of a data section, `.rodata` for instance."""
        for kind in self._types:
            if kind.kind == _DATASEC and kind.name == section:
                with _whole():
                    return {self._types[variable].name: (offset, size) for variable, offset, size in kind.data}
        return {}

    def _struct(self, number: int) -> np.dtype[np.void]:
        kind = self._types[number]
        if kind.bitfields:
            raise LayoutError(f"struct {kind.name} has bit fields")
        names, formats, offsets = [], [], []
        for name_offset, member, bit_offset in kind.data:
            names.append(_string(self._strings, name_offset))
            formats.append(self._dtype(member))
            offsets.append(bit_offset // 8)
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": kind.size_or_type})

    def _dtype(self, number: int) -> np.dtype[np.generic]:  # noqa: PLR0911 - a line a kind of type
        kind = self._types[number]
        if kind.kind in _QUALIFIERS:
            return self._dtype(kind.size_or_type)
        if kind.kind == _INT:
            encoding = kind.data[0][0]
            if kind.name == "char" or encoding & _CHAR:  # clang leaves the flag out
                return np.dtype("S1")
            return np.dtype(f"{'i' if encoding & _SIGNED else 'u'}{kind.size_or_type}")
        if kind.kind in {_ENUM, _ENUM64}:
            return np.dtype(f"u{kind.size_or_type}")
        if kind.kind == _PTR:
            return np.dtype("u8")
        if kind.kind == _STRUCT:
            return self._struct(number)
        if kind.kind == _ARRAY:
            element, count = kind.data[0]
            inner = self._dtype(element)
            return np.dtype(f"S{count}") if inner == np.dtype("S1") else np.dtype((inner, (count,)))
        raise LayoutError(f"type {kind.name or number} (BTF kind {kind.kind}) has no numpy counterpart")


@contextmanager
def _whole() -> Iterator[None]:
    """Raise LayoutError for numbers that lead nowhere, to themselves, or to what numpy cannot lay out."""
    try:
        yield
    except LayoutError:
        raise
    except (struct.error, IndexError, ValueError, TypeError, RecursionError) as error:
        raise LayoutError(f"BTF is damaged: {error}") from error


def _string(raw: bytes, offset: int) -> str:
    header_len, str_off = struct.unpack_from("<4xI8xI", raw)
    start = header_len + str_off + offset
    return raw[start : raw.index(b"\0", start)].decode()


def _parse(raw: bytes) -> list[_Type]:
    magic, header_len, type_off, type_len = struct.unpack_from("<H2xIII", raw)
    if magic != _MAGIC:
        raise LayoutError("not BTF: wrong magic number")
    types = [_Type("void", 0, 0, (), bitfields=False)]
    at, end = header_len + type_off, header_len + type_off + type_len
    while at < end:
        name, info, size_or_type = struct.unpack_from("<III", raw, at)
        at += 12
        kind, count, flag = info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31)
        data: tuple[tuple[int, ...], ...] = ()
        if kind == _INT:
            (bits,) = struct.unpack_from("<I", raw, at)
            data, at = ((bits >> 24 & 0xF,),), at + 4
        elif kind == _ARRAY:
            element, _index, length = struct.unpack_from("<III", raw, at)
            data, at = ((element, length),), at + 12
        elif kind in {_STRUCT, _UNION, _DATASEC, _ENUM64}:
            data = tuple(struct.unpack_from("<III", raw, at + 12 * i) for i in range(count))
            at += 12 * count
        elif kind in {_ENUM, _FUNC_PROTO}:
            at += 8 * count
        elif kind in {_VAR, _DECL_TAG}:
            at += 4
        types.append(_Type(_string(raw, name), kind, size_or_type, data, bitfields=kind == _STRUCT and flag))
    return types

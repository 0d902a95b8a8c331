"""BTF that is damaged is LayoutError, whatever leads nowhere in it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import section

from ingrain.kernel.btf import Btf, LayoutError
from ingrain.kernel.program import OBJECTS

INT, ARRAY, STRUCT, DATASEC = 1, 3, 4, 15
WHOLE = section((OBJECTS / "dns.bpf.o").read_bytes(), b".BTF")


def btf(*types: bytes, strings: bytes = b"\0int\0packet\0") -> bytes:
    body = b"".join(types)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings)) + body + strings


def one(kind: int, name: int, size: int, *words: int, count: int = 0) -> bytes:
    return struct.pack(f"<III{len(words)}I", name, kind << 24 | count, size, *words)


PACKET = one(STRUCT, 5, 4, 1, 1, 0, count=1)
"""struct packet with a member `int`, which is of type 1."""


def test_what_is_whole_is_read() -> None:
    assert Btf(btf(one(INT, 1, 4, 32), one(STRUCT, 5, 4, 1, 1, 0, count=1))).dtype("packet")["int"].itemsize == 4
    assert Btf(WHOLE).dtype("packet").itemsize > 100


@pytest.mark.parametrize(
    "types",
    [
        (PACKET,),  # which is its own member
        (one(INT, 1, 4, 32), one(STRUCT, 5, 4, 1, 99, 0, count=1)),
        (one(INT, 1, 3, 24), one(STRUCT, 5, 4, 1, 1, 0, count=1)),
        (one(INT, 1, 4, 32), one(STRUCT, 5, 4, 1, 1, 80, count=1)),
        (one(INT, 1, 4, 32), one(STRUCT, 5, 4, 5000, 1, 0, count=1)),
        (one(ARRAY, 0, 0, 2, 2, 0xFFFFFFFF), one(INT, 1, 4, 32), one(STRUCT, 5, 4, 1, 1, 0, count=1)),
    ],
)
def test_a_struct_that_cannot_be_is_a_layout_error(types: tuple[bytes, ...]) -> None:
    with pytest.raises(LayoutError, match="damaged"):
        Btf(btf(*types)).dtype("packet")


def test_a_section_of_a_variable_that_is_not_there_is_a_layout_error() -> None:
    with pytest.raises(LayoutError, match="damaged"):
        Btf(btf(one(DATASEC, 1, 4, 99, 0, 4, count=1))).variables("int")


@pytest.mark.parametrize("strings", [b"", b"\0int", b"\0\xff\xfe\0packet\0"])
def test_names_that_are_none_are_a_layout_error(strings: bytes) -> None:
    with pytest.raises(LayoutError):
        Btf(btf(one(INT, 1, 4, 32), strings=strings))


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.integers(0, len(WHOLE)))
def test_a_byte_that_changed_or_an_end_that_is_missing_raises_nothing_else(at: int, byte: int, end: int) -> None:
    for damaged in (WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :], WHOLE[:end]):
        try:
            Btf(damaged).dtype("packet")
        except LayoutError:
            continue

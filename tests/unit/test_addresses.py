"""Addresses as text: what Python's own ipaddress says, for every address, in every mixture of the two families."""

from __future__ import annotations

import ipaddress

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ingrain.batch import TEXT
from ingrain.grains.addresses import addresses
from ingrain.wire import ipv6 as wire_ipv6

ipv4 = st.binary(min_size=4, max_size=4)
ipv6 = st.binary(min_size=16, max_size=16)


def column(raw: list[bytes]) -> pa.DictionaryArray:
    """The addresses as they stand in `struct flow`, where others stand between them."""
    wide = [(bytes(10) + b"\xff\xff" + one if len(one) == 4 else one) + b"\xee" * 16 for one in raw]
    return addresses(np.frombuffer(b"".join(wide), np.uint8).reshape(-1, 32)[:, :16])


def expected(raw: bytes) -> str:
    if len(raw) == 4:
        return str(ipaddress.IPv4Address(raw))
    mapped = ipaddress.IPv6Address(raw).ipv4_mapped
    return str(mapped or ipaddress.IPv6Address(raw))


@given(st.one_of(st.lists(ipv4), st.lists(ipv6), st.lists(st.one_of(ipv4, ipv6))))
def test_every_address_reads_as_ipaddress_writes_it(raw: list[bytes]) -> None:
    texts = column(raw)
    texts.validate(full=True)
    assert texts.type == TEXT
    assert texts.to_pylist() == [expected(one) for one in raw]


def test_every_octet_stands_in_every_place() -> None:
    raw = [bytes([a, b, c, d]) for n in range(256) for a, b, c, d in [(n, 0, 255, 10), (1, n, n, 1), (99, 100, 9, n)]]
    assert column(raw).to_pylist() == [".".join(str(octet) for octet in one) for one in raw]


def test_an_address_stands_once_in_the_dictionary_however_often_it_comes() -> None:
    one, other, third = b"\x0a\x00\x00\x01", b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", bytes(15) + b"\x01"
    texts = column([one, other, one, third, other] * 100)
    assert sorted(texts.dictionary.to_pylist()) == ["10.0.0.1", "2001:db8::1", "::1"]


@given(st.tuples(st.integers(0, 16), ipv6).map(lambda one: bytes(one[0]) + one[1][one[0] :]))
def test_addresses_that_begin_with_zeros_read_as_ipaddress_writes_them(raw: bytes) -> None:
    mapped = ipaddress.IPv6Address(raw).ipv4_mapped
    assert wire_ipv6.text(raw) == (f"::ffff:{mapped}" if mapped else str(ipaddress.IPv6Address(raw)))

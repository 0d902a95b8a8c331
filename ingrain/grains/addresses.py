"""A column of addresses as text: 16 bytes each as `struct flow` has them, IPv4 as IPv4-mapped IPv6 (probes/flow.h).

Each distinct address of a batch is written once. IPv4, of which a busy host sees thousands at a time, is written by
array operations for all of them together; IPv6 one by one, remembered.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.wire import ipv6 as wire_ipv6

_WIDTH = 16
_MAPPED = np.frombuffer(bytes(10) + b"\xff\xff", np.uint32)  # RFC 4291 section 2.5.5.2, as the three words in memory

_NUMBERS = [str(number) for number in range(256)]
_DOTTED = np.array([f"{number}." for number in _NUMBERS], "S4").view(np.uint32)
_LAST = np.array(_NUMBERS, "S4").view(np.uint32)
_LENGTHS = np.array([len(number) for number in _NUMBERS], np.int32)
_DOTS = 3


def addresses(column: npt.NDArray[np.uint8]) -> pa.DictionaryArray:
    """A column of addresses, `uint8[n, 16]`, as `TEXT`: dotted decimal for IPv4, RFC 5952 for IPv6."""
    words = np.ascontiguousarray(column).view(np.uint32)
    if (words[:, :3] == _MAPPED).all():  # four bytes are hashed faster than sixteen
        encoded = pa.array(np.ascontiguousarray(words[:, 3])).dictionary_encode()
        distinct = encoded.dictionary.to_numpy().view(np.uint8).reshape(-1, 4)
        return pa.DictionaryArray.from_arrays(encoded.indices, _dotted(distinct))
    packed = pa.Array.from_buffers(pa.binary(_WIDTH), len(words), [None, pa.py_buffer(words)])
    encoded = packed.dictionary_encode()
    _, data = encoded.dictionary.buffers()
    distinct = np.frombuffer(data, np.uint8, len(encoded.dictionary) * _WIDTH).reshape(-1, _WIDTH)
    return pa.DictionaryArray.from_arrays(encoded.indices, _texts(distinct))


def _texts(distinct: npt.NDArray[np.uint8]) -> pa.StringArray:
    is_ipv4 = (distinct.view(np.uint32)[:, :3] == _MAPPED).all(axis=1)
    ipv4, ipv6 = np.flatnonzero(is_ipv4), np.flatnonzero(~is_ipv4)
    texts = pa.concat_arrays(
        [
            _dotted(np.ascontiguousarray(distinct[ipv4, 12:])),
            pa.array([wire_ipv6.text(raw.tobytes()) for raw in distinct[ipv6]], pa.string()),
        ]
    )
    place = np.empty(len(distinct), np.int32)
    place[np.concatenate([ipv4, ipv6])] = np.arange(len(distinct), dtype=np.int32)
    return texts.take(pa.array(place))


def _dotted(octets: npt.NDArray[np.uint8]) -> pa.StringArray:
    """Addresses, `uint8[n, 4]`, in dotted decimal: digits and dot of each octet from a table, without its zeros."""
    words = _DOTTED.take(octets)
    words[:, 3] = _LAST.take(octets[:, 3])
    characters = words.view(np.uint8).ravel()
    lengths = _LENGTHS.take(octets)
    offsets = np.zeros(len(octets) + 1, np.int32)
    np.cumsum(lengths[:, 0] + lengths[:, 1] + lengths[:, 2] + lengths[:, 3] + _DOTS, out=offsets[1:])
    data = characters.compress(characters != 0)
    return pa.StringArray.from_buffers(len(octets), pa.py_buffer(offsets), pa.py_buffer(data))

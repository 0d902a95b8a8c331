"""Lines as text that does no harm: what `safe` (ingrain/text.py) makes of each, for a whole batch at a time.

In: `Lines`. Out: a `TEXT` column. Each of the backslashes and control characters that are there is escaped by a pass
over all lines that have one. Lines that are no ASCII are decoded together, and one by one only where one of them is to
be escaped.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.batch import TEXT
from ingrain.grains.lines import Lines, Numbers
from ingrain.text import harmless, safe

_ESCAPED, _FOREIGN = 1, 2  # ASCII that does not stand for itself; no ASCII
_ESCAPES = {byte: safe(bytes([byte])) for byte in range(0x80) if safe(bytes([byte])) != chr(byte)}
_KINDS = bytes(_FOREIGN if byte >= 0x80 else _ESCAPED * (byte in _ESCAPES) for byte in range(256))  # noqa: PLR2004 - ASCII
_ASCII = bytes(range(0x80))
_OTHERS = bytes(set(range(256)) - set(_ESCAPES))


def text_of(lines: Lines, rows: Numbers) -> pa.DictionaryArray:
    """The lines of these rows."""
    if not len(rows):
        return pa.array([], TEXT)
    starts, ends = lines.starts[rows], lines.ends[rows]
    edges = np.empty(2 * len(rows), np.int32)  # of each line, and of what stands between it and the next
    edges[0::2], edges[1::2] = starts - starts[0], ends - starts[0]
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(lines.text[starts[0] : ends[-1]])]
    all_of_it = pa.Array.from_buffers(pa.binary(), len(edges) - 1, buffers)
    encoded = all_of_it.take(pa.array(np.arange(0, len(edges), 2, dtype=np.int32))).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, _safe(encoded.dictionary))


def _safe(lines: pa.BinaryArray) -> pa.StringArray:
    kinds = _kinds(lines)
    if kinds.any():
        lines = _instead(lines, kinds & _ESCAPED != 0, _escaped)
        lines = _instead(lines, kinds & _FOREIGN != 0, _decoded)
    _validity, offsets, data = lines.buffers()
    return pa.Array.from_buffers(pa.string(), len(lines), [None, offsets, data])


def _bytes_of(lines: pa.BinaryArray) -> tuple[bytes, npt.NDArray[np.int32]]:
    """All lines' bytes, and where each line ends in them; the first begins at 0."""
    _validity, offsets, data = lines.buffers()
    ends = np.frombuffer(offsets, np.int32, len(lines) + 1)[1:]
    return memoryview(data)[: ends[-1]].tobytes() if data else b"", ends


def _kinds(lines: pa.BinaryArray) -> npt.NDArray[np.uint8]:
    """Of each line the kinds that its bytes are of, together."""
    text, ends = _bytes_of(lines)
    kinds, sizes = np.frombuffer(text.translate(_KINDS), np.uint8), np.diff(ends, prepend=0)
    found = np.zeros(len(ends), np.uint8)
    if text:
        found[sizes > 0] = np.bitwise_or.reduceat(kinds, (ends - sizes)[sizes > 0])
    return found


def _instead(
    lines: pa.BinaryArray, which: npt.NDArray[np.bool_], make: Callable[[pa.BinaryArray], pa.BinaryArray]
) -> pa.BinaryArray:
    if not which.any():
        return lines
    mask = pa.array(which)
    return pc.replace_with_mask(lines, mask, make(lines.filter(mask)))


def _escaped(lines: pa.BinaryArray) -> pa.BinaryArray:
    """The backslash first, since escapes begin with one."""
    text, _ends = _bytes_of(lines)
    for byte in sorted(set(text.translate(None, _OTHERS)), key=lambda byte: byte != ord("\\")):
        lines = pc.replace_substring(lines, bytes([byte]), _ESCAPES[byte])
    return lines


def _decoded(lines: pa.BinaryArray) -> pa.BinaryArray:
    """Those that are valid UTF-8 and harmless are what they were."""
    each = lines.to_pylist()
    together = b" ".join(each)  # no character goes across a space, valid or not
    try:
        together.decode()
        foreign = together.translate(None, _ASCII).decode()
        if harmless(foreign) == foreign:
            return lines
    except UnicodeDecodeError:
        pass
    return pa.array([harmless(one.decode("utf-8", "surrogateescape")).encode() for one in each], pa.binary())

"""One CPU's perf buffer: the memory that the kernel writes and this side reads, as bytes.

The layout is `struct perf_event_mmap_page` of linux/perf_event.h: a page with the head (where the kernel will write)
and the tail (what was read), then the data, a power of two in size.
"""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import numpy.typing as npt

_HEAD, _TAIL, _DATA_OFFSET, _DATA_SIZE = 1024, 1032, 1040, 1048

Bytes = npt.NDArray[np.uint8]


class Ring:
    """A perf buffer at `address`, mapped shared. One thread reads it."""

    def __init__(self, address: int) -> None:
        self._head = ctypes.c_uint64.from_address(address + _HEAD)
        self._tail = ctypes.c_uint64.from_address(address + _TAIL)
        offset = ctypes.c_uint64.from_address(address + _DATA_OFFSET).value
        self.size = ctypes.c_uint64.from_address(address + _DATA_SIZE).value
        self._data = np.ctypeslib.as_array((ctypes.c_uint8 * self.size).from_address(address + offset))
        self._barrier = threading.Lock()
        self._seen = self._tail.value

    def waiting(self) -> int:
        """Bytes that wait to be read. `move_out` takes this many, however many come meanwhile."""
        head = self._head.value
        with self._barrier:  # the head is read before the data: a full barrier on every architecture
            self._seen = head
        return int(head - self._tail.value)

    def move_out(self, into: Bytes) -> None:
        """Copy what `waiting` saw to `into`, as whole records; then the kernel may write there again."""
        tail = self._tail.value
        size = self._seen - tail
        start = tail % self.size
        first = min(size, self.size - start)
        into[:first] = self._data[start : start + first]
        if first < size:
            into[first:size] = self._data[: size - first]
        with self._barrier:  # the data is read before the tail is published
            self._tail.value = self._seen

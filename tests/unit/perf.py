"""A perf buffer by hand: records as the kernel writes them, and its memory, as linux/perf_event.h says."""

from __future__ import annotations

import ctypes
import mmap
import struct

from ingrain.kernel.records import LOST, SAMPLE

SIZE = 4096
"""Bytes of a buffer's data."""


def sample(raw: bytes) -> bytes:
    """A PERF_RECORD_SAMPLE as the kernel writes it: padded to 8 bytes, with garbage."""
    padding = -(len(raw) + 4) % 8
    return struct.pack("<IHHI", SAMPLE, 0, 12 + len(raw) + padding, len(raw) + padding) + raw + b"\xee" * padding


def lost(count: int) -> bytes:
    return struct.pack("<IHHQQ", LOST, 0, 24, 7, count)


class Memory:
    """The kernel's side of a ring."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096 + SIZE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._put(1040, 4096)
        self._put(1048, SIZE)

    def _put(self, offset: int, value: int) -> None:
        ctypes.c_uint64.from_address(self.address + offset).value = value

    @property
    def tail(self) -> int:
        return ctypes.c_uint64.from_address(self.address + 1032).value

    def write(self, data: bytes) -> None:
        head = ctypes.c_uint64.from_address(self.address + 1024).value
        for i, byte in enumerate(data):
            self._memory[4096 + (head + i) % SIZE] = byte
        self._put(1024, head + len(data))

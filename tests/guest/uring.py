"""Reads and writes by ways that no ordinary program takes: io_uring's rings, and a file handle instead of a path.

    uring.py FILE

Prints its process id, and how many bytes each request of io_uring moved. The last two of these are of requests that
have no completion, where the kernel has such.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

SETUP, ENTER, NAME_TO_HANDLE, OPEN_BY_HANDLE = 425, 426, 303, 304  # x86-64: arch/x86/entry/syscalls/syscall_64.tbl
READ, WRITE = 22, 23  # of linux/io_uring.h, like all that follows
ENTRIES, GET_EVENTS = 8, 1
SILENT, CAN_BE_SILENT = 1 << 6, 1 << 11  # IOSQE_CQE_SKIP_SUCCESS, IORING_FEAT_CQE_SKIP
SQ_RING, CQ_RING, SQES = 0, 0x8000000, 0x10000000
LIBC = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    result = int(LIBC.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Ring:
    """One ring, one request at a time."""

    def __init__(self) -> None:
        parameters = ctypes.create_string_buffer(120)
        self._fd = call(SETUP, ENTRIES, parameters)
        offsets = struct.unpack("30I", parameters.raw)
        self.can_be_silent = bool(offsets[5] & CAN_BE_SILENT)
        _head, self._tail, _mask, _entries, _flags, _dropped, self._array = offsets[10:17]
        self._taken, _tail, _mask, self._entries, _overflow, self._done = offsets[20:26]
        self._sq = mmap.mmap(self._fd, self._array + 4 * ENTRIES, offset=SQ_RING)
        self._cq = mmap.mmap(self._fd, self._done + 16 * 2 * ENTRIES, offset=CQ_RING)
        self._requests = mmap.mmap(self._fd, 64 * ENTRIES, offset=SQES)
        self._count = self._submitted = 0

    def __call__(self, operation: int, file: int, memory: ctypes.Array[ctypes.c_char], offset: int) -> int:
        self._submit(operation, file, memory, offset)
        call(ENTER, self._fd, 1, 1, GET_EVENTS, None, 0)
        (moved,) = struct.unpack_from("i", self._cq, self._done + 16 * (self._count % (2 * ENTRIES)) + 8)
        self._count += 1
        struct.pack_into(
            "I", self._cq, self._taken, self._count
        )  # else the next call waits for this one, which is there
        return int(moved)

    def silently(
        self, operation: int, file: int, memory: ctypes.Array[ctypes.c_char], offset: int, done: Callable[[], bool]
    ) -> int:
        """The last ones: no other may follow. done: whether all of it was moved."""
        self._submit(operation, file, memory, offset, SILENT)
        call(ENTER, self._fd, 1, 0, 0, None, 0)
        while not done():
            time.sleep(0.01)
            call(ENTER, self._fd, 0, 0, GET_EVENTS, None, 0)
        return len(memory)

    def _submit(
        self, operation: int, file: int, memory: ctypes.Array[ctypes.c_char], offset: int, flags: int = 0
    ) -> None:
        index = self._submitted % ENTRIES
        request = struct.pack("<BBHiQQII", operation, flags, 0, file, offset, ctypes.addressof(memory), len(memory), 0)
        self._requests[index * 64 : index * 64 + 64] = request.ljust(64, b"\0")
        struct.pack_into("I", self._sq, self._array + 4 * index, index)
        self._submitted += 1
        struct.pack_into("I", self._sq, self._tail, self._submitted)


path = Path(sys.argv[1])
ring = Ring()
file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
moved = [ring(WRITE, file, ctypes.create_string_buffer(1000), 0), ring(READ, file, ctypes.create_string_buffer(700), 0)]
moved.append(ring(READ, file, ctypes.create_string_buffer(9), 990))
if ring.can_be_silent:
    put, got = ctypes.create_string_buffer(b"x" * 500, 500), ctypes.create_string_buffer(300)
    moved.append(ring.silently(WRITE, file, put, 1000, lambda: os.fstat(file).st_size == 1500))
    moved.append(ring.silently(READ, file, got, 1000, lambda: got.raw == b"x" * 300))
os.close(file)

handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 8 + 128)
mount = ctypes.c_int()
call(NAME_TO_HANDLE, -100, bytes(path), handle, ctypes.byref(mount), 0)
folder = os.open(path.parent, os.O_RDONLY)
os.close(call(OPEN_BY_HANDLE, folder, handle, os.O_WRONLY))
print(os.getpid(), *moved)  # noqa: T201 its answer

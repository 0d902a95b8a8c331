"""BPF maps, read and written from the user side; per-CPU values as an array."""

from __future__ import annotations

import ctypes
import errno

import numpy as np
import numpy.typing as npt

from ingrain.kernel import libbpf
from ingrain.kernel.libbpf import KernelError

NOEXIST = 1
_BATCH = 1024


def per_cpu(fd: int, index: int, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """One entry of a per-CPU array: a row for each possible CPU."""
    cpus = libbpf.call("libbpf_num_possible_cpus", what="the number of CPUs is unknown")
    stride = (dtype.itemsize + 7) // 8 * 8  # the kernel rounds each CPU's value up (bpf_percpu_array_copy)
    buffer = np.zeros(cpus * stride, dtype=np.uint8)
    key = ctypes.c_uint32(index)
    libbpf.call("bpf_map_lookup_elem", fd, ctypes.byref(key), buffer.ctypes.data, what="a per-CPU map cannot be read")
    return np.ndarray((cpus,), dtype, buffer.data, strides=(stride,))


def get(fd: int, key: int, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """One entry of an array map: of shape ()."""
    return find(fd, key.to_bytes(4, "little"), dtype)


def find(fd: int, key: bytes, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """One entry of a map: of shape (). Raises KernelError (ENOENT where there is none)."""
    buffer = np.zeros((), dtype)
    libbpf.call("bpf_map_lookup_elem", fd, key, buffer.ctypes.data, what="an entry of a map cannot be read")
    return buffer


def get_first(fd: int, count: int, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """The first entries of an array map: a row an entry. Needs Linux 5.6."""
    values, keys = np.empty(count, dtype), np.empty(count, np.uint32)
    position, size = ctypes.c_uint64(), ctypes.c_uint32(count)
    libbpf.call(
        "bpf_map_lookup_batch",
        fd,
        None,
        ctypes.addressof(position),
        keys.ctypes.data,
        values.ctypes.data,
        ctypes.byref(size),
        None,
        what="an array map cannot be read in batches",
    )
    return values


def put_first(fd: int, values: npt.NDArray[np.void]) -> None:
    """Write the first entries of an array map. Needs Linux 5.6."""
    keys = np.arange(len(values), dtype=np.uint32)
    size = ctypes.c_uint32(len(values))
    what = "an array map cannot be written in batches"
    libbpf.call("bpf_map_update_batch", fd, keys.ctypes.data, values.ctypes.data, ctypes.byref(size), None, what=what)


def remove(fd: int, key: bytes) -> None:
    """Take one entry out of a map. Raises KernelError (ENOENT where there is none)."""
    libbpf.call("bpf_map_delete_elem", fd, key, what="a map's entry cannot be deleted")


def put(fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Write one entry. Raises KernelError (EEXIST with NOEXIST where there is one)."""
    libbpf.call("bpf_map_update_elem", fd, key, value, flags, what="a map cannot be written")


def swap(outer: int, inner: int) -> None:
    """Put the map `inner` into the only slot of the array of maps `outer`.

    When this returns, no program still writes to the map that was there before: the kernel waits for those that run
    (kernel/bpf/syscall.c, maybe_wait_bpf_programs), some milliseconds, and a hundred on a busy machine.
    """
    put(outer, bytes(4), inner.to_bytes(4, "little"))


def take_all(
    fd: int, key: np.dtype[np.void], value: np.dtype[np.void]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """All keys and values of a hash map, which is empty afterwards: a row an entry. Needs Linux 5.6.

    The map must have no writer meanwhile; `swap` sees to that.
    """
    keys, values = [np.empty(0, key)], [np.empty(0, value)]
    size = _BATCH
    position = (ctypes.c_uint64 * 8)()
    while True:
        some_keys, some = np.empty(size, key), np.empty(size, value)
        count = ctypes.c_uint32(size)
        last = False
        try:
            libbpf.call(
                "bpf_map_lookup_and_delete_batch",
                fd,
                None if len(keys) == 1 else ctypes.addressof(position),
                ctypes.addressof(position),
                some_keys.ctypes.data,
                some.ctypes.data,
                ctypes.byref(count),
                None,
                what="a map cannot be read in batches",
            )
        except KernelError as error:
            if error.errno == errno.ENOSPC:  # a bucket larger than the batch: again, with more room
                size *= 2
                continue
            if error.errno != errno.ENOENT:
                raise
            last = True
        keys.append(some_keys[: count.value])
        values.append(some[: count.value])
        if last:
            return np.concatenate(keys), np.concatenate(values)

"""Reading BPF maps a column at a time: per-CPU values as an array, and whole hash maps in batches."""

from __future__ import annotations

import ctypes
import errno

import numpy as np
import numpy.typing as npt

from ingrain.kernel import libbpf
from ingrain.kernel.libbpf import KernelError

NOEXIST = 1

_BATCH = 8192


def per_cpu(fd: int, index: int, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """One entry of a per-CPU array: a row for each possible CPU."""
    cpus = libbpf.call("libbpf_num_possible_cpus", what="the number of CPUs is unknown")
    stride = (dtype.itemsize + 7) // 8 * 8  # the kernel rounds each CPU's value up (bpf_percpu_array_copy)
    buffer = np.zeros(cpus * stride, dtype=np.uint8)
    key = ctypes.c_uint32(index)
    libbpf.call("bpf_map_lookup_elem", fd, ctypes.byref(key), buffer.ctypes.data, what="a per-CPU map cannot be read")
    return np.ndarray((cpus,), dtype, buffer.data, strides=(stride,))


def take_all(fd: int, key: np.dtype[np.void], value: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """All values of a hash map, which is empty afterwards: a row an entry. Needs Linux 5.6.

    The map must have no writer meanwhile; `swap` sees to that.
    """
    found: list[npt.NDArray[np.void]] = []
    size = _BATCH
    position = (ctypes.c_uint64 * 8)()
    begun = False
    while True:
        keys, values = np.empty(size, key), np.empty(size, value)
        count = ctypes.c_uint32(size)
        try:
            libbpf.call(
                "bpf_map_lookup_and_delete_batch",
                fd,
                ctypes.addressof(position) if begun else None,
                ctypes.addressof(position),
                keys.ctypes.data,
                values.ctypes.data,
                ctypes.byref(count),
                None,
                what="a map cannot be read in batches",
            )
        except KernelError as error:
            if error.errno == errno.ENOSPC:  # a bucket larger than the batch: again, with more room
                size *= 2
                continue
            if error.errno != errno.ENOENT:  # ENOENT: that was the last batch
                raise
            found.append(values[: count.value])
            return np.concatenate(found)
        found.append(values[: count.value])
        begun = True


def put(fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Write one entry. Raises KernelError (EEXIST with NOEXIST where there is one)."""
    libbpf.call("bpf_map_update_elem", fd, key, value, flags, what="a map cannot be written")


def swap(outer: int, inner: int) -> None:
    """Put the map `inner` into the only slot of the array of maps `outer`.

    When this returns, no program still writes to the map that was there before: the kernel waits for those that run
    (kernel/bpf/syscall.c, maybe_wait_bpf_programs).
    """
    put(outer, bytes(4), inner.to_bytes(4, "little"))

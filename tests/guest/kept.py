"""What programs keep of threads, processes and pipes: how many entries a hash map has, which have to go with them."""

from __future__ import annotations

import ctypes
import errno
import time
from pathlib import Path

import numpy as np
import pytest

from ingrain.kernel import libbpf
from ingrain.kernel.libbpf import KernelError
from ingrain.probe import LiveProbe

MOST = 32768


def kept(probe: LiveProbe, name: str, key: str, value: str) -> int:
    """Entries of the map of this name. key, value: their structs, or types of numpy."""
    keys, values = (np.empty(MOST, _dtype(probe, one)) for one in (key, value))
    position, count = (ctypes.c_uint64 * 8)(), ctypes.c_uint32(MOST)
    try:
        libbpf.call(
            "bpf_map_lookup_batch", probe.program.maps[name], None, ctypes.addressof(position), keys.ctypes.data,
            values.ctypes.data, ctypes.byref(count), None, what=f"map {name} cannot be read",
        )  # fmt: skip
    except KernelError as error:
        if error.errno != errno.ENOENT:  # that was all
            raise
    return count.value


def nothing_kept(probe: LiveProbe, name: str, key: str, value: str) -> bool:
    """Whether the map becomes empty: the kernel lets go of what has ended some time after that."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not kept(probe, name, key, value):
            return True
        time.sleep(0.1)
    return False


def until_asleep(pid: int, threads: int) -> None:
    """Wait until a process has so many threads, and all of them sleep."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
        if states == ["S"] * threads:
            return
        time.sleep(0.1)
    pytest.fail(f"not all of {threads} threads sleep: {states}")


def _dtype(probe: LiveProbe, name: str) -> np.dtype[np.generic]:
    return np.dtype(name) if name.startswith("u") and name[1:].isdecimal() else probe.program.dtype(name)

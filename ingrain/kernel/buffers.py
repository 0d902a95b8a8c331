"""A probe's per-CPU perf buffers: opened, waited for, drained, and the probe's own counts of what went in.

Wake-ups come by watermark (a quarter of a buffer), not an event; the reader's 100 ms tick takes what is below it.
"""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ingrain.kernel import libbpf, maps
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained, fixed, with_packets
from ingrain.kernel.ring import Bytes, Ring

_TYPE_SOFTWARE, _BPF_OUTPUT, _SAMPLE_RAW = 1, 10, 1 << 10
_WATERMARK = 1 << 14  # bit of perf_event_attr's flags


class _Attributes(ctypes.Structure):
    """`struct perf_event_attr` of linux/perf_event.h, PERF_ATTR_SIZE_VER5 long."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_watermark", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 60),
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """What a probe's programs counted, all CPUs together, since they were loaded."""

    handed_over: int
    refused: int
    uncounted: int
    uncounted_bytes: int


class Buffers:
    """The per-CPU buffers behind a program's `events` map, each of `kilobytes` (rounded up to a power of two of pages).

    struct: name of the event struct. packets: whether the packet's bytes stand behind it. Raises KernelError.
    """

    def __init__(self, program: Program, struct: str, kilobytes: int, *, packets: bool) -> None:
        self._program = program
        self.dtype = program.dtype(struct)
        self._split: Callable[[Bytes, np.dtype[np.void]], Drained] = with_packets if packets else fixed
        pages = 1 << max(0, (kilobytes * 1024 // mmap.PAGESIZE - 1).bit_length())
        attributes = _Attributes(
            type=_TYPE_SOFTWARE,
            size=ctypes.sizeof(_Attributes),
            config=_BPF_OUTPUT,
            sample_period=1,
            sample_type=_SAMPLE_RAW,
            flags=_WATERMARK,
            wakeup_watermark=pages * mmap.PAGESIZE // 4,
        )
        self._handle = libbpf.pointer(
            "perf_buffer__new_raw",
            program.maps["events"],
            pages,
            ctypes.addressof(attributes),
            None,
            None,
            None,
            what=f"perf buffers of {pages * mmap.PAGESIZE >> 10} KiB a CPU for probe {program.name} cannot be opened",
        )
        count = int(libbpf.library().perf_buffer__buffer_cnt(self._handle))
        self.rings = [Ring(self._address(i)) for i in range(count)]
        # Kept from drain to drain: memory that is new to the process costs more to touch than the copy itself.
        self._memory = np.empty(0, dtype=np.uint8)
        self.begun = 0
        """When the last drain began (ns, of the events' clock): what happened before was in it, or in one before."""
        self.descriptors = [int(libbpf.library().perf_buffer__buffer_fd(self._handle, i)) for i in range(count)]
        """One to wait on for each CPU."""

    def drain(self) -> Drained | None:
        """All that waits in all CPUs' buffers; None where nothing does.

        The events lie in memory that the next call writes over: what is kept of them is copied.
        """
        self.begun = time.monotonic_ns()
        waiting = [(ring, size) for ring in self.rings if (size := ring.waiting())]
        if not waiting:
            return None
        total = sum(size for _ring, size in waiting)
        if total > len(self._memory):
            self._memory = np.empty(total, dtype=np.uint8)
        at = 0
        for ring, size in waiting:
            ring.move_out(self._memory[at : at + size])
            at += size
        return self._split(self._memory[:total], self.dtype)

    def counts(self) -> Counts:
        """The programs' own counts: the truth about loss."""
        dtype = self._program.dtype("counts")
        total = maps.per_cpu(self._program.maps["counts"], 0, dtype)
        return Counts(*(int(total[name].sum()) for name in ("handed_over", "refused", "uncounted", "uncounted_bytes")))

    def close(self) -> None:
        """Give the memory back; `drain` must not be called any more."""
        if self._handle:
            self.rings = []
            libbpf.library().perf_buffer__free(self._handle)
            self._handle = 0

    def _address(self, index: int) -> int:
        base, size = ctypes.c_void_p(), ctypes.c_size_t()
        libbpf.call(
            "perf_buffer__buffer",
            self._handle,
            index,
            ctypes.byref(base),
            ctypes.byref(size),
            what=f"perf buffer {index} cannot be mapped",
        )
        return int(base.value or 0)

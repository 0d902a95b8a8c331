"""One CPU's perf buffer behind a map of perf events: opened and mapped by libbpf, read by ring.py."""

from __future__ import annotations

import ctypes
import mmap

from ingrain.kernel import libbpf
from ingrain.kernel.ring import Ring

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


class _Options(ctypes.Structure):
    """`struct perf_buffer_raw_opts` of bpf/libbpf.h: for which CPUs, and where in the map."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("cpu_cnt", ctypes.c_int),
        ("cpus", ctypes.POINTER(ctypes.c_int)),
        ("map_keys", ctypes.POINTER(ctypes.c_int)),
    )


class Opened:
    """The buffer of a CPU in the map `events`, of so many pages (a power of two), until `close`.

    ring: what is in it. descriptor: to wait for it to be a quarter full. Raises KernelError, of ENODEV where the CPU is
    not online.
    """

    def __init__(self, events: int, cpu: int, pages: int) -> None:
        attributes = _Attributes(
            type=_TYPE_SOFTWARE,
            size=ctypes.sizeof(_Attributes),
            config=_BPF_OUTPUT,
            sample_period=1,
            sample_type=_SAMPLE_RAW,
            flags=_WATERMARK,
            wakeup_watermark=pages * mmap.PAGESIZE // 4,
        )
        one = ctypes.pointer(ctypes.c_int(cpu))
        options = _Options(sz=ctypes.sizeof(_Options), cpu_cnt=1, cpus=one, map_keys=one)
        self._handle = libbpf.pointer(
            "perf_buffer__new_raw",
            events,
            pages,
            ctypes.addressof(attributes),
            None,
            None,
            ctypes.addressof(options),
            what=f"a perf buffer of {pages * mmap.PAGESIZE >> 10} KiB cannot be opened for CPU {cpu}",
        )
        self.descriptor = int(libbpf.library().perf_buffer__buffer_fd(self._handle, 0))
        base, size = ctypes.c_void_p(), ctypes.c_size_t()
        what = f"the perf buffer of CPU {cpu} cannot be mapped"
        try:
            arguments = (self._handle, 0, ctypes.byref(base), ctypes.byref(size))
            libbpf.call("perf_buffer__buffer", *arguments, what=what)
        except BaseException:
            self.close()
            raise
        self.ring = Ring(int(base.value or 0))

    def close(self) -> None:
        """Give the memory back; the ring must not be read any more."""
        if self._handle:
            libbpf.library().perf_buffer__free(self._handle)
            self._handle = 0

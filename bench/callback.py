"""A Python function an event, by BCC's own reader: `callback.py FD PAGES`, where FD is a perf event array's descriptor.

For the distribution's Python, which has the distribution's BCC (python3-bpfcc). Says `ready`, reads until SIGTERM, then
says in JSON how many events came, how many BCC heard to be lost, and the processor seconds that it took.
"""

import ctypes
import json
import os
import signal
import sys
import time
from types import SimpleNamespace

from bcc.libbcc import lib  # type: ignore[import-not-found] # it is the distribution's Python that has BCC
from bcc.table import PerfEventArray  # type: ignore[import-not-found]


class Flow(ctypes.Structure):
    """`struct flow` of probes/flow.h, as BCC makes it of a struct in C."""

    _fields_ = (
        ("time", ctypes.c_uint64),
        ("cgroup_id", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("comm", ctypes.c_char * 16),
        ("s_ip", ctypes.c_uint8 * 16),
        ("d_ip", ctypes.c_uint8 * 16),
        ("s_port", ctypes.c_uint16),
        ("d_port", ctypes.c_uint16),
        ("proto", ctypes.c_uint8),
        ("direction", ctypes.c_uint8),
        ("unused", ctypes.c_uint16),
    )


class Events(PerfEventArray):  # type: ignore[misc] # BCC has no types
    """The map as a table of BCC's, which it otherwise makes for maps of programs that it has compiled itself."""

    def __init__(self, descriptor: int) -> None:
        self.bpf = SimpleNamespace(perf_buffers={})
        self.map_fd = descriptor
        self.Key, self.Leaf = ctypes.c_int, ctypes.c_uint
        self.max_entries = os.cpu_count()
        self._event_class = Flow
        self._cbs: dict[int, object] = {}
        self._open_key_fds: dict[int, int] = {}


def main() -> None:
    """Read until SIGTERM."""
    events = Events(int(sys.argv[1]))
    told = {"received": 0, "lost": 0, "pids": 0}

    def on_event(_cpu: int, data: int, _size: int) -> None:
        event = events.event(data)
        told["pids"] += event.pid
        told["received"] += 1

    def on_lost(count: int) -> None:
        told["lost"] += count

    stopping: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    events.open_perf_buffer(on_event, int(sys.argv[2]), on_lost)
    buffers = events.bpf.perf_buffers.values()
    readers = (ctypes.c_void_p * len(buffers))(*buffers)
    print("ready", flush=True)
    used = time.process_time()
    while not stopping:
        lib.perf_reader_poll(len(readers), readers, 100)
    print(json.dumps(told | {"cpu_s": time.process_time() - used}))


main()

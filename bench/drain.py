"""What it costs to take an event out of the kernel's buffer: ours, libbpf's reader in C, a Python callback an event.

All three read the same 80-byte events of the same flood, as fast as the kernel makes them on another CPU, for the same
time and from buffers of the same size. The cost is the reader's processor time, the kernel's share of it included, by
the events that it received.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from native import Generator

from ingrain.kernel import libbpf
from ingrain.kernel.buffers import Buffers
from ingrain.kernel.program import Program
from ingrain.kernel.reader import TICK

KILOBYTES = 4096
"""Of each CPU's buffer."""

_PAGES = KILOBYTES // 4


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader did in one run."""

    received: int
    lost: int
    cpu_s: float
    seconds: float

    @property
    def nanoseconds(self) -> float:
        """Processor time an event."""
        return self.cpu_s * 1e9 / max(1, self.received)


class _Flow(ctypes.Structure):
    """`struct flow` of probes/flow.h, as a user of BCC writes it down."""

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


@contextmanager
def _on_first_cpu() -> Iterator[int]:
    """Keep to the first CPU that this process may use; the value is the one that is left to the generator."""
    may = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {may[0]})
    try:
        yield may[-1]
    finally:
        os.sched_setaffinity(0, may)


def ours(folder: Path, seconds: float) -> Reading:
    """The agent's way: one wake-up a quarter of a buffer, all that waits taken out as bytes and viewed as an array."""
    with Program(str(folder / "flood"), {}) as flood, _on_first_cpu() as other:
        buffers = Buffers(flood, "flow", KILOBYTES, packets=False)
        received = 0
        with select.epoll() as epoll, Generator(folder, [flood.fd("flood")], cpu=other) as generator:
            for descriptor in buffers.descriptors:
                epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)
            begun, used = time.monotonic(), time.thread_time()
            while time.monotonic() - begun < seconds:
                epoll.poll(TICK)
                drained = buffers.drain()
                received += len(drained.events) if drained else 0
            taken = time.monotonic() - begun
            generator.stop()
            drained = buffers.drain()
            received += len(drained.events) if drained else 0
            used = time.thread_time() - used
        reading = Reading(received, buffers.counts().refused, used, taken)
        _check(received, buffers.counts().handed_over)
        buffers.close()
    return reading


def libbpf_c(folder: Path, seconds: float) -> Reading:
    """Libbpf's perf_buffer in C (reader.c)."""
    with Program(str(folder / "flood"), {}) as flood, _on_first_cpu() as other:
        events = flood.maps["events"]
        command = [str(folder / "reader"), str(events), str(_PAGES)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[events]) as reader:
            if reader.stdout is None or reader.stdout.readline() != "ready\n":
                raise RuntimeError("libbpf's reader in C did not start")
            with Generator(folder, [flood.fd("flood")], cpu=other):
                time.sleep(seconds)
            reader.terminate()
            told = json.loads(reader.stdout.read())
        return Reading(told["received"], told["lost"], told["cpu_s"], seconds)


def callback(folder: Path, seconds: float) -> Reading:
    """A Python function for each event, called by libbpf's perf_buffer through ctypes, as BCC's open_perf_buffer does.

    BCC itself needs kernel headers, which not every host has; what it does for an event is this: a ctypes callback from
    C, the user's own function in a try, and in it a cast to the struct's pointer type, looked up each time.
    """
    received = lost = total = 0

    def on_event(_cpu: int, data: int, _size: int) -> None:
        nonlocal received, total
        event = ctypes.cast(data, ctypes.POINTER(_Flow)).contents
        total += event.pid
        received += 1

    def sample(_context: int, cpu: int, data: int, size: int) -> None:
        try:
            on_event(cpu, data, size)
        except OSError:
            raise SystemExit(1) from None

    def dropped(_context: int, _cpu: int, count: int) -> None:
        nonlocal lost
        lost += count

    library = libbpf.library()
    on_sample = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)(sample)
    on_lost = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64)(dropped)
    library.perf_buffer__new.restype = ctypes.c_void_p
    library.perf_buffer__new.argtypes = (ctypes.c_int, ctypes.c_size_t, *[ctypes.c_void_p] * 4)
    library.perf_buffer__poll.argtypes = (ctypes.c_void_p, ctypes.c_int)
    with Program(str(folder / "flood"), {}) as flood, _on_first_cpu() as other:
        functions = [ctypes.cast(function, ctypes.c_void_p) for function in (on_sample, on_lost)]
        handle = libbpf.pointer(
            "perf_buffer__new", flood.maps["events"], _PAGES, *functions, None, None, what="the callback's buffers"
        )
        with Generator(folder, [flood.fd("flood")], cpu=other):
            begun, used = time.monotonic(), time.thread_time()
            while time.monotonic() - begun < seconds:
                library.perf_buffer__poll(handle, 100)
            used, taken = time.thread_time() - used, time.monotonic() - begun
        library.perf_buffer__free(handle)
    return Reading(received, lost, used, taken)


def _check(received: int, handed_over: int) -> None:
    if received != handed_over:
        raise RuntimeError(f"the account is wrong: {handed_over:,} events handed over, {received:,} received")

"""What it costs to take an event out of the kernel's buffer: ours, libbpf's reader in C, BCC's Python callback.

All three read the same 80-byte events of the same flood, as fast as the kernel makes them on another CPU, for the same
time and from buffers of the same size. The cost is the reader's processor time, the kernel's share of it included, by
the events that it received.
"""

from __future__ import annotations

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

from ingrain.kernel.buffers import Buffers
from ingrain.kernel.program import Program
from ingrain.kernel.reader import TICK

KILOBYTES = 4096
"""Of each CPU's buffer."""

_PAGES = KILOBYTES // 4

DISTRIBUTION_PYTHON = "/usr/bin/python3"
"""The one that has BCC: Debian's python3-bpfcc."""


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
    return _other(folder, seconds, folder / "reader")


def callback(folder: Path, seconds: float) -> Reading:
    """A Python function an event, called by BCC (callback.py)."""
    return _other(folder, seconds, DISTRIBUTION_PYTHON, Path(__file__).parent / "callback.py")


def _other(folder: Path, seconds: float, *command: str | Path) -> Reading:
    """What another program reads, that takes the map's descriptor and the buffers' pages, and tells in JSON."""
    with Program(str(folder / "flood"), {}) as flood, _on_first_cpu() as other:
        events = flood.maps["events"]
        words = [*map(str, command), str(events), str(_PAGES)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, pass_fds=[events]) as reader:
            if reader.stdout is None or reader.stdout.readline() != "ready\n":
                raise RuntimeError(f"{command[-1]} did not start")
            with Generator(folder, [flood.fd("flood")], cpu=other):
                time.sleep(seconds)
            reader.terminate()
            told = json.loads(reader.stdout.read())
        return Reading(told["received"], told["lost"], told["cpu_s"], seconds)


def _check(received: int, handed_over: int) -> None:
    if received != handed_over:
        raise RuntimeError(f"the account is wrong: {handed_over:,} events handed over, {received:,} received")

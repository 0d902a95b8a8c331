"""A probe's per-CPU perf buffers: opened, waited for, drained, and the probe's own counts of what went in.

Wake-ups come by watermark (a quarter of a buffer), not an event; the reader's 100 ms tick takes what is below it.
"""

from __future__ import annotations

import errno
import mmap
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingrain.kernel import maps
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.opened import Opened
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained, fixed, with_packets
from ingrain.kernel.ring import Bytes

_ONLINE = Path("/sys/devices/system/cpu/online")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a probe's programs counted, all CPUs together, since they were loaded."""

    handed_over: int
    refused: int
    uncounted: int
    uncounted_bytes: int


class Buffers:
    """The buffers behind a program's `events` map, each of `kilobytes` (rounded up to a power of two of pages).

    struct: name of the event struct. packets: whether the packet's bytes stand behind it. Raises KernelError.
    """

    def __init__(self, program: Program, struct: str, kilobytes: int, *, packets: bool) -> None:
        self._program = program
        self.dtype = program.dtype(struct)
        self._split: Callable[[Bytes, np.dtype[np.void]], Drained] = with_packets if packets else fixed
        self._pages = 1 << max(0, (kilobytes * 1024 // mmap.PAGESIZE - 1).bit_length())
        # Kept from drain to drain: memory that is new to the process costs more to touch than the copy itself.
        self._memory = np.empty(0, dtype=np.uint8)
        self.begun = 0
        """When the last drain began (ns, of the events' clock): what happened before was in it, or in one before."""
        self.opened: dict[int, Opened] = {}
        """By CPU."""
        self._unbuffered = self._counted()["unbuffered"]
        self._epoll = select.epoll()
        try:
            self.follow()
        except BaseException:
            self.close()
            raise

    @property
    def descriptors(self) -> list[int]:
        """To wait on, edge-triggered: one for all CPUs, also those that come online later."""
        return [self._epoll.fileno()]

    def follow(self) -> None:
        """Have a buffer for each CPU that is online by now, and none for others. Raises KernelError.

        A CPU that went and came again needs a new one: the kernel has taken the event behind the old one off it. Where
        both happened between two calls, what it could not hand over since tells that.
        """
        online, unbuffered = _online(), self._counted()["unbuffered"]
        stale = {int(cpu) for cpu in np.flatnonzero(unbuffered != self._unbuffered)}
        self._unbuffered = unbuffered
        for cpu, opened in [*self.opened.items()]:
            if (cpu not in online or cpu in stale) and not opened.ring.waiting():
                opened.close()
                del self.opened[cpu]
        for cpu in sorted(online - self.opened.keys()):
            self._open(cpu)

    def drain(self) -> Drained | None:
        """All that waits in all CPUs' buffers; None where nothing does.

        The events lie in memory that the next call writes over: what is kept of them is copied.
        """
        self.begun = time.monotonic_ns()
        rings = [opened.ring for opened in self.opened.values()]
        waiting = [(ring, size) for ring in rings if (size := ring.waiting())]
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
        total = self._counted()
        return Counts(*(int(total[name].sum()) for name in ("handed_over", "refused", "uncounted", "uncounted_bytes")))

    def close(self) -> None:
        """Give the memory back; `drain` must not be called any more."""
        for opened in self.opened.values():
            opened.close()
        self.opened.clear()
        self._epoll.close()

    def _counted(self) -> npt.NDArray[np.void]:
        """A row for each possible CPU."""
        return maps.per_cpu(self._program.maps["counts"], 0, self._program.dtype("counts"))

    def _open(self, cpu: int) -> None:
        try:
            opened = Opened(self._program.maps["events"], cpu, self._pages)
        except KernelError as error:
            if error.errno == errno.ENODEV:  # it has just gone
                return
            raise
        self._epoll.register(opened.descriptor, select.EPOLLIN | select.EPOLLET)
        self.opened[cpu] = opened


def _online() -> set[int]:
    """Numbers of the CPUs that are online."""
    numbers: set[int] = set()
    for part in _ONLINE.read_text().strip().split(","):  # 0-3,8
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers

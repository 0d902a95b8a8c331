"""Syscall: how often processes make the system calls that are monitored.

In: the counts of probes/syscall.bpf.c, read every `interval_ms`. Out: `syscall.enter`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Annotated

import msgspec
import numpy as np
import pyarrow as pa

from ingrain.batch import TEXT, Batch, Column, Measurement
from ingrain.grains.common import PROCESS, TracingSettings, processes, timestamps
from ingrain.grains.grain import Grain
from ingrain.grains.syscall_names import NUMBERS, check, numbers
from ingrain.grains.text_columns import texts
from ingrain.kernel.keyed import Keyed
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained

ENTER = Measurement(
    "syscall.enter",
    "calls of one system call by one process in the interval; the timestamp is that of the first",
    (
        *PROCESS,
        Column("syscall", TEXT, "name in the kernel's table, e.g. setuid; for a 32-bit program e.g. setuid32"),
        Column("abi", TEXT, "system call table: x86_64, i386 or x32; aarch64 or arm"),
    ),
    unit="calls",
    values=(Column("value", pa.int64(), "number of calls, failed ones included"),),
)

RARE = (
    "bpf capset delete_module finit_module init_module kexec_file_load kexec_load mount move_mount perf_event_open "
    "pivot_root process_vm_readv process_vm_writev ptrace setfsgid setfsuid setgid setgroups setns setregid setresgid "
    "setresuid setreuid setuid umount2 unshare userfaultfd"
)
"""Calls by which a process gets other rights, reaches into another one, changes the kernel or what it sees of it."""

_DISTURBED_SINCE = 7  # version of Linux

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, extra={"check": check})]


class SyscallSettings(TracingSettings, frozen=True):
    """Which system calls are counted, and how often counts are read.

    monitor_syscalls: names as in syscalls(2), or of the kernel's functions (`newfstat`) as in ingraind's files; by
        default rare calls that matter to security
    symbol_map: accepted for ingraind's files, without effect
    interval_ms: how often counts are read from the kernel
    buffer_kb: size of each CPU's perf buffer; no event goes through it, so it is small
    """

    monitor_syscalls: list[Name] = msgspec.field(default_factory=RARE.split)
    symbol_map: str | None = None
    interval_ms: Annotated[int, msgspec.Meta(ge=10, le=3_600_000)] = 1000
    buffer_kb: Annotated[int, msgspec.Meta(ge=8, le=262_144)] = 8

    def __post_init__(self) -> None:
        """Raise ValueError where no call is listed."""
        super().__post_init__()
        if not self.monitor_syscalls:
            raise ValueError(
                "monitor_syscalls: no system call is listed; leave it out for those that matter to security"
            )


class Syscall(Grain):
    """System calls, counted by process in the kernel. A process that begins another program counts anew."""

    Settings = SyscallSettings
    measurements = (ENTER,)
    program = "syscall"
    event = "called"

    @cached_property
    def _meant(self) -> dict[int, tuple[str, str]]:
        return numbers(self.settings.monitor_syscalls)

    def unused(self) -> Collection[str]:
        """Before Linux 7.0, where both run undisturbed, the program that costs more (probes/syscall.bpf.c)."""
        return {"tracepoint" if int(os.uname().release.partition(".")[0]) < _DISTURBED_SINCE else "raw_tp"}

    def constants(self) -> Mapping[str, int]:
        """Which numbers are counted, as bits."""
        if not self._meant:
            machine = os.uname().machine
            raise KernelError(errno.EOPNOTSUPP, f"the system calls of {machine} are not known by their names")
        return {
            "monitored": sum(1 << number for number in self._meant),
            "monitored_in_any": sum(1 << number for number in {number % NUMBERS for number in self._meant}),
        }

    def open(self, program: Program) -> None:
        """The counts are the programs'."""
        self._counted = Keyed(program, "called", "caller", "called")

    def decode(self, drained: Drained) -> Iterator[Batch]:
        """The kernel half hands nothing over."""
        self.malformed += len(drained.events)
        return iter(())

    def poll(self) -> Iterator[Batch]:
        """What was called since the last time."""
        callers, called = self._counted.take()
        if not len(callers):
            return
        order = sorted(self._meant)
        at = np.searchsorted(order, callers["number"])
        names, abis = zip(*(self._meant[number] for number in order), strict=True)
        yield self.batch(
            ENTER,
            processes(called["process"], self.containers)
            | {
                "timestamp": timestamps(called["process"], self.clock),
                "value": pa.array(called["calls"].astype(np.int64)),
                "syscall": texts(names).take(at),
                "abi": texts(abis).take(at),
            },
        )

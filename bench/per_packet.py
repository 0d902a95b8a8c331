"""What a packet costs the kernel in each probe's programs: the kernel's own statistics, `run_time_ns / run_cnt`.

The probes are attached to a cgroup in which data packets go over loopback, none of them DNS or a TLS hello. With a
datagram of a socket that is not connected a program of the owners' runs, too. The kernel's clock readings around each
run are part of what it counts: a program that does nothing (empty.bpf.c) runs beside them and tells how much that is.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import group

from ingrain.kernel import libbpf
from ingrain.kernel.program import Program

PROBES = ("dns", "tls", "network")
EMPTY = "empty"
KINDS = {"tcp": "TCP data packet", "udp": "UDP data packet", "datagrams": "datagram of an unconnected socket"}
"""Kinds of traffic.py -> what goes over the loopback then."""
WAYS = {
    "out": ("cgroup_skb/egress", "cgroup/sendmsg4"),
    "in": ("cgroup_skb/ingress", "cgroup/recvmsg4"),
}
"""Hooks that a packet passes."""
_RUN_TIME = 0  # enum bpf_stats_type of linux/bpf.h


@dataclass(frozen=True, slots=True)
class Cost:
    """One program's runs in one kind of traffic."""

    program: str
    hook: str
    runs: int
    nanoseconds: float


@contextmanager
def statistics() -> Iterator[None]:
    """The kernel measures every program's runs meanwhile. Raises KernelError where it does not let this process ask."""
    library = libbpf.library()
    library.bpf_enable_stats.argtypes = [ctypes.c_int]
    descriptor = libbpf.call("bpf_enable_stats", _RUN_TIME, what="the kernel does not measure programs' runs")
    try:
        yield
    finally:
        os.close(descriptor)


def measure(compiled: Path, seconds: float) -> dict[str, list[Cost]]:
    """For each of the `KINDS`: the cost of every program that ran. `compiled`: the folder of empty.bpf.o."""
    costs = {}
    with ExitStack() as stack:
        folder = stack.enter_context(group.own())
        owner = stack.enter_context(Program("owner", {"self": os.getpid()}))
        shared = {"owners": owner.maps["owners"]}
        programs = [owner, *(stack.enter_context(Program(name, {"self": os.getpid()}, shared)) for name in PROBES)]
        programs.append(stack.enter_context(Program(str(compiled / EMPTY), {})))
        for program in programs:
            program.attach(folder)
        stack.enter_context(statistics())
        for kind in KINDS:
            before = spent(programs)
            traffic = Path(__file__).parent / "traffic.py"
            with group.start(folder, sys.executable, traffic, kind, str(seconds), stdin=subprocess.DEVNULL) as running:
                if running.wait():
                    raise RuntimeError(f"the {kind} traffic failed")
            costs[kind] = _difference(programs, before, spent(programs))
    return costs


def total(costs: list[Cost], way: str) -> float:
    """Nanoseconds a packet going this way (of `WAYS`), all programs together."""
    return sum(cost.nanoseconds for cost in _at_work(costs, way))


def of_measuring(costs: list[Cost], way: str) -> float:
    """Nanoseconds of the `total` that go into the measurement itself."""
    empty = next(cost for cost in costs if cost.hook in WAYS[way] and cost.program.startswith(EMPTY))
    return len(_at_work(costs, way)) * empty.nanoseconds


def _at_work(costs: list[Cost], way: str) -> list[Cost]:
    return [cost for cost in costs if cost.hook in WAYS[way] and not cost.program.startswith(EMPTY)]


def spent(programs: list[Program]) -> dict[str, tuple[int, int]]:
    """Program -> nanoseconds and runs since it was loaded, from fdinfo (kernel/bpf/syscall.c, bpf_prog_show_fdinfo)."""
    found = {}
    for program in programs:
        for name in program.hooks:
            text = Path(f"/proc/self/fdinfo/{program.fd(name)}").read_text()
            fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
            found[name] = int(fields["run_time_ns"]), int(fields["run_cnt"])
    return found


def _difference(
    programs: list[Program], before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> list[Cost]:
    costs = []
    for program in programs:
        for name, hook in program.hooks.items():
            nanoseconds, runs = (end - begin for begin, end in zip(before[name], after[name], strict=True))
            if runs:
                costs.append(Cost(name, hook, runs, nanoseconds / runs))
    return costs

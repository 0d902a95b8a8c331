"""What an operation costs the kernel in a probe's programs: an open, a container's write, an exec. For a guest.

As per_packet does: the kernel's own statistics, summed over all programs of the probe that the operation runs. One that
does nothing (empty_traced.bpf.c) tells how much of a run is the kernel's reading of the clock. Nobody reads what is
handed over meanwhile: that is the user side's cost.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import per_packet
from agent import BenchError

from ingrain.grains.common import TracingSettings
from ingrain.grains.container import Container, ContainerSettings
from ingrain.grains.files import Files, FilesSettings
from ingrain.grains.grain import Grain
from ingrain.grains.process import Process
from ingrain.kernel.program import Program
from ingrain.tracing import TracingProbe, start

ROUNDS = 5
_BUFFER_KB = 16384  # so that none is refused: a refused event costs less
_LINE = b"one line of sixty-four bytes, as a program in a container prints\n"[-64:]

Work = Callable[[int], None]
"""Does the operation so many times, in other processes: a probe does not see its own."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind. events: how many of them one operation is; only programs on hooks with `hook` in their name count."""

    key: str
    name: str
    work: Work
    count: int
    events: float
    hook: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation: nanoseconds in all programs that it runs, how many these are, what of it is measuring."""

    key: str
    name: str
    nanoseconds: float
    runs: float
    measuring: float


@dataclass(slots=True)
class _Taken:
    operation: Operation
    nanoseconds: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)


def measure(empty: Path, folder: Path) -> Iterator[Cost]:
    """Every operation's cost. empty: the object's path, without `.bpf.o`. Raises BenchError where one is not seen."""
    watched, other = folder / "watched", folder / "other"
    for directory in (watched, other):
        directory.mkdir(parents=True)
        (directory / "file").touch()
    lines, true = folder / "lines", folder / "true"
    lines.write_bytes(_LINE * 2000)
    shutil.copy(shutil.which("busybox") or "busybox", true)  # from memory, and needs no library: only the exec is slow
    files = FilesSettings(monitor_dirs=[str(watched)], buffer_kb=_BUFFER_KB)
    with Program(str(empty), {}) as program, per_packet.statistics():
        program.attach()
        for grain, settings, operations in (
            (Files, files, _opens(watched / "file", other / "file")),
            (Container, ContainerSettings(buffer_kb=_BUFFER_KB), _writes(lines)),
            (Process, TracingSettings(buffer_kb=_BUFFER_KB), _execs(true)),
        ):
            with _probe(grain, settings) as probe:
                for one in _measure(probe, operations):
                    ((nanoseconds, runs),) = per_packet.spent([program]).values()
                    many = statistics.median(one.runs)
                    measuring = many * nanoseconds / runs
                    yield Cost(
                        one.operation.key, one.operation.name, statistics.median(one.nanoseconds), many, measuring
                    )


@contextmanager
def _probe(grain: Callable[[], Grain], settings: TracingSettings) -> Iterator[TracingProbe]:
    probe = start(grain, settings, [])
    try:
        yield probe
    finally:
        probe.program.detach()
        probe.close()


def _measure(probe: TracingProbe, operations: tuple[Operation, ...]) -> list[_Taken]:
    taken = [_Taken(operation) for operation in operations]
    for turn in range(ROUNDS + 1):  # the first warms up
        for one in taken:
            operation = one.operation
            before, told = per_packet.spent([probe.program]), probe.buffers.counts()
            operation.work(operation.count)
            after, counts = per_packet.spent([probe.program]), probe.buffers.counts()
            probe.buffers.drain()
            events = counts.handed_over - told.handed_over
            if counts.refused != told.refused or not _about(events, operation):
                raise BenchError(
                    f"{operation.count:,} times {operation.name} should be {operation.events * operation.count:,.0f} "
                    f"events, and were {events:,}; refused: {counts.refused - told.refused:,}"
                )
            if turn:
                ran = [name for name, hook in probe.program.hooks.items() if operation.hook in hook]
                one.nanoseconds.append(sum(after[name][0] - before[name][0] for name in ran) / operation.count)
                one.runs.append(sum(after[name][1] - before[name][1] for name in ran) / operation.count)
    return taken


def _about(events: int, operation: Operation) -> bool:
    """Whether they are as many as they should be; a few may be of those that do it, and others."""
    return 0 <= events - operation.events * operation.count <= operation.count / 20


def _in_child(work: Callable[[], None]) -> None:
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise BenchError("the process that was to be seen failed")


def _opens(watched: Path, other: Path) -> tuple[Operation, ...]:
    def opening(path: Path) -> Work:
        def work(count: int) -> None:
            def all_of_them() -> None:
                for _ in range(count):
                    os.close(os.open(path, os.O_RDONLY))

            _in_child(all_of_them)

        return work

    return (
        Operation("open_watched", "an open in a watched directory", opening(watched), 2000, 1, "open"),
        Operation("open_elsewhere", "an open elsewhere", opening(other), 2000, 0, "open"),
    )


def _writes(lines: Path) -> tuple[Operation, ...]:
    def writing(*prefix: str) -> Work:
        def work(count: int) -> None:
            """The first process of a pid namespace, with a pipe as its output, is what an engine makes."""
            command = [*prefix, "dd", f"if={lines}", f"bs={len(_LINE)}", f"count={count}", "status=none"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            if len(done.stdout) != count * len(_LINE):
                raise BenchError(f"{len(done.stdout):,} bytes came out of a pipe, not {count * len(_LINE):,}")

        return work

    return (
        Operation(
            "container_write",
            "a container's write of a line",
            writing("unshare", "--pid", "--fork"),
            2000,
            1,
            "pipe_write",
        ),
        Operation("pipe_write", "a write to any other pipe", writing(), 2000, 0, "pipe_write"),
    )


def _execs(true: Path) -> tuple[Operation, ...]:
    """Each is two events, exec and exit; the process that starts them ends, too."""

    def work(count: int) -> None:
        def all_of_them() -> None:
            for _ in range(count):
                os.waitpid(os.posix_spawn(true, ["true"], {}), 0)

        _in_child(all_of_them)

    return (
        Operation("exec", "an exec", work, 200, 2, "sched_process_exec"),
        Operation("exit", "a process's end", work, 200, 2, "sched_process_exit"),
    )

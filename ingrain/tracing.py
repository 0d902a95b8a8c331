"""Probes that trace the kernel: their programs hang on its functions and tracepoints, and ask for the process's cgroup.

Where a function can be traced in two ways, both are in the object, and which one this kernel has is found by trial.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from ingrain.account import ProbeAccount
from ingrain.grains.common import TracingSettings
from ingrain.grains.grain import Grain
from ingrain.kernel import cgroup, maps
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.loaders import Loader, by_trial
from ingrain.kernel.program import Program, functions
from ingrain.kernel.symbols import has_btf
from ingrain.pipeline import Outlet
from ingrain.probe import LiveProbe

log = logging.getLogger(__name__)

WAYS = {"fentry": ("kprobe", "kretprobe", "raw_tracepoint"), "kprobe": ("fentry", "fexit", "iter")}
"""Way to hang on a function -> the kinds of programs that it does without. The first is the cheaper one.

Raw tracepoints by that long name of their section are those that only kprobes need; others are called `raw_tp`."""


class TracingProbe(LiveProbe):
    """One `[[probe]]` that traces, in one of the `WAYS`. Raises CgroupError or KernelError where it cannot be."""

    def __init__(
        self,
        grain: Grain,
        settings: TracingSettings,
        pipelines: Sequence[Outlet],
        way: str,
        loader: Loader = "core",
    ) -> None:
        grain.settings = settings
        super().__init__(grain, settings, pipelines, {}, {}, skip=left_out(grain, way), loader=loader)

    def account(self) -> ProbeAccount:
        """The account so far; the calls that the programs could not follow to their end are missed, too."""
        account = super().account()
        misses = maps.per_cpu(self.program.maps["misses"], 0, self.program.dtype("misses"))
        account.missed += int(misses["calls"].sum())
        return account

    def aim(self) -> None:
        """Have the programs see the cgroup's processes; the first time, hang them on their hooks."""
        look_at(self.program, self.cgroup)
        if not self.program.attached:
            self.program.attach()
            self.grain.attached()


def start(
    grain: Callable[[], Grain], settings: TracingSettings, pipelines: Sequence[Outlet], loader: Loader = "auto"
) -> TracingProbe:
    """A probe at work, in the first way that this kernel can. Raises the last way's error where it can none."""
    return by_trial(loader, lambda chosen: _start(grain, settings, pipelines, chosen))


def _start(
    grain: Callable[[], Grain], settings: TracingSettings, pipelines: Sequence[Outlet], loader: Loader
) -> TracingProbe:
    for way in ways(settings.hooks):
        probe = None
        try:
            probe = TracingProbe(grain(), settings, pipelines, way, loader)
            probe.attach()
        except KernelError as error:
            if probe:
                probe.close()
            failure = error
            log.debug("hooks %s cannot be used: %s", way, error)
        else:
            return probe
    raise failure


def ways(hooks: str) -> Collection[str]:
    """Those that the setting `hooks` allows, the cheaper one first. Only of a kernel with BTF can fentry be asked."""
    if hooks != "auto":
        return (hooks,)
    return WAYS if has_btf() else ("kprobe",)


def left_out(grain: Grain, way: str) -> Collection[str]:
    """Which of a grain's programs are not loaded: kinds of them, and functions.

    The kinds are those of other ways, the functions those that its settings do not need, or that this kernel has not.
    Of a group of which it has none, all stay: the kernel's refusal names them.
    """
    absent: set[str] = set()
    for group in grain.some_of:
        lacking = {*group} - {*functions(group)}
        absent |= lacking if len(lacking) < len(group) else set()
    return {*WAYS[way], *absent, *grain.unused()}


def look_at(program: Program, folder: Path) -> None:
    """Have a tracing program see the processes of this cgroup (struct scope of probes/task.h)."""
    scope = np.zeros((), program.dtype("scope"))
    scope["cgroup_id"], scope["level"] = cgroup.place(folder)
    maps.put(program.maps["scope"], bytes(4), scope.tobytes())

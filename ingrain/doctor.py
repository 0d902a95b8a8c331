"""`ingrain doctor`: can each probe run here, by which hooks, and if not, why and what would fix it.

Found out by trial, never by version number: each kernel half is loaded and attached, for a cgroup made for the trial
which holds no process, so nothing is seen and nothing is disturbed.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import textwrap
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import groupby

from ingrain import tracing
from ingrain.grains import GRAINS
from ingrain.grains.common import TracingSettings
from ingrain.grains.grain import Grain
from ingrain.kernel import cgroup
from ingrain.kernel.buffers import Buffers
from ingrain.kernel.cgroup import CgroupError
from ingrain.kernel.host import CAPABILITIES, Host, look
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.loaders import Loader, by_trial, why
from ingrain.kernel.packages import NotInstalledError
from ingrain.kernel.program import Program
from ingrain.owners import load_owners, trace_accepts
from ingrain.probe import own_id
from ingrain.registry import find_class

log = logging.getLogger(__name__)

_LOG = 4000
"""Characters of the verifier's log that are worth keeping: its verdict stands at the end."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Whether a probe can run here. reason, fix and log (the verifier's last words) tell why not.

    Where it can, reason tells what was not tried, if anything; loader is which object was loaded, and why that.
    """

    probe: str
    runs: bool
    hooks: list[str] = field(default_factory=list)
    reason: str = ""
    fix: str = ""
    log: str = ""
    loader: str = ""
    loader_why: str = ""


def examine(probes: Collection[str] = (), loader: Loader = "auto") -> tuple[Host, list[Diagnosis]]:
    """Look at the host and try these probes by this loader; without any, all that there are."""
    host = look()
    found = [_try(name, host, loader) for name in GRAINS if name in probes or not probes]
    return host, found


def text(host: Host, found: list[Diagnosis]) -> str:
    """For people."""
    lines = [
        f"kernel        {host.kernel}",
        f"BTF           {host.btf}",
        f"BCC           {host.bcc}",
        f"lockdown      {host.lockdown}",
        f"cgroup v2     {host.cgroup}",
        f"capabilities  {', '.join(host.held) or 'none of those needed'}",
    ]
    lines += [f"  missing     {name}: to {CAPABILITIES[name][1]}" for name in host.missing]
    lines.append("")
    for diagnosis in found:
        lines.append(f"{diagnosis.probe:<9} {'runs' if diagnosis.runs else 'CANNOT RUN'}")
        if diagnosis.runs:
            lines += textwrap.wrap(diagnosis.reason, 110, initial_indent=" " * 10, subsequent_indent=" " * 13)
            lines.append(f"{'':<9} loader {diagnosis.loader}: {diagnosis.loader_why}")
            told = f"by {_by_kind(diagnosis.hooks)}"
            lines += textwrap.wrap(told, 110, initial_indent=" " * 10, subsequent_indent=" " * 13)
        else:
            lines.append(f"{'':<9} why: {diagnosis.reason}")
            lines.append(f"{'':<9} fix: {diagnosis.fix}")
    return "\n".join(lines)


def _by_kind(hooks: list[str]) -> str:
    """Of many of one kind, that is named once: `cgroup/connect4, connect6; raw_tp/sys_enter`."""
    kinds = groupby(sorted(hooks), key=lambda hook: hook.partition("/")[0])
    return "; ".join(f"{kind}/{', '.join(hook.partition('/')[2] for hook in ours)}" for kind, ours in kinds)


def as_json(host: Host, found: list[Diagnosis]) -> str:
    """For machines: `host`, `probes`."""
    return json.dumps({"host": asdict(host), "probes": [asdict(one) for one in found]}, indent=2)


def _try(name: str, host: Host, wanted: Loader) -> Diagnosis:
    grain = find_class(GRAINS[name])
    attempt = _traced if issubclass(grain.Settings, TracingSettings) else _hung_on_a_cgroup
    try:
        loader, hooks, not_tried = by_trial(wanted, lambda loader: (loader, *attempt(grain, loader)))
        told = why(wanted, loader)
        return Diagnosis(name, runs=True, hooks=hooks, reason=not_tried, loader=loader, loader_why=told)
    except KernelError as error:
        return Diagnosis(name, runs=False, reason=_why(error), fix=_fix(error, host), log=error.log[-_LOG:])
    except OSError as error:  # CgroupError, or the trial's cgroup could not be made
        fix = (
            "mount cgroup v2"
            if isinstance(error, CgroupError)
            else "run the doctor as the agent's user, as root for instance"
        )
        return Diagnosis(name, runs=False, reason=f"{error}", fix=fix)


def _hung_on_a_cgroup(grain: type[Grain], loader: Loader) -> tuple[list[str], str]:
    """The hooks of a network probe; and what was not tried, if anything."""
    with ExitStack() as stack:
        owner = stack.enter_context(load_owners(loader))
        accepts = trace_accepts(owner)
        more = accepts.hooks.values() if accepts else ()
        if accepts:
            stack.enter_context(accepts)
        shared = {"owners": owner.maps["owners"]}
        with Program(grain.program, {"self": own_id()}, shared, loader=loader) as program:
            Buffers(program, grain.event, 64, packets=grain.packets).close()
            hooks = sorted({*program.hooks.values(), *owner.hooks.values(), *more})
            try:
                with cgroup.temporary(_name()) as folder:
                    owner.attach(folder)
                    program.attach(folder)
            except PermissionError as error:
                # No right to make a cgroup for the trial, which the agent itself never does.
                return hooks, f"loaded, not tried on a cgroup: {error}"
            return hooks, ""


def _traced(grain: type[Grain], loader: Loader) -> tuple[list[str], str]:
    """The hooks of a tracing probe, in the first way that this kernel can; raises the last way's error."""
    for way in tracing.ways("auto"):
        try:
            skip = tracing.left_out(grain(), way)
            with Program(grain.program, {"self": own_id()}, skip=skip, loader=loader) as program:
                Buffers(program, grain.event, 64, packets=grain.packets).close()
                hooks = sorted(set(program.hooks.values()))
                try:
                    with cgroup.temporary(_name()) as folder:
                        tracing.look_at(program, folder)
                        program.attach()
                except PermissionError as error:
                    return hooks, f"loaded, not tried on a cgroup: {error}"
                return hooks, ""
        except KernelError as error:
            failure = error
            log.debug("%s by %s: %s", grain.program, way, error)
    raise failure


def _name() -> str:
    return f"ingrain-doctor-{os.getpid()}"


def _why(error: KernelError) -> str:
    """The kernel's errno, and the verifier's last word if it spoke."""
    said = [line.strip() for line in error.log.splitlines() if line.strip()]
    verdict = next((line for line in reversed(said) if "unknown func" in line or "invalid" in line.lower()), "")
    return f"{error.strerror}{' (' + verdict + ')' if verdict else ''}"


def _fix(error: KernelError, host: Host) -> str:  # noqa: PLR0911 - a line a cause
    if isinstance(error, NotInstalledError):
        return error.fix
    if error.errno == errno.ENOEXEC:
        return "`log` of --json has the compiler's own words; are the headers those of the running kernel?"
    if host.missing and error.errno in {errno.EPERM, errno.EACCES}:
        return f"run with {', '.join(host.missing)} (as root, or by AmbientCapabilities= of the service)"
    if error.errno == errno.EPERM and not host.lockdown.startswith("none"):
        return f"a kernel lockdown may be why (here: {host.lockdown}); boot without it, or with lockdown=integrity"
    if error.errno in {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT, errno.EACCES}:
        return (
            "this kernel lacks a hook or helper that the probe needs (Linux 5.10 has all), or tracefs is not mounted: "
            "mount -t tracefs tracefs /sys/kernel/tracing"
        )
    if error.errno == errno.ENOMEM:
        return "free memory, or give the service a larger MemoryMax="
    return "`log` of --json has the verifier's own words, and `dmesg` may have more"

"""What this host lets a tracing agent do: kernel, BTF, lockdown, cgroup v2, capabilities; read, never guessed.

Where something cannot be found out (no right to read it, a file system that is not mounted), the answer says that.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from ingrain.kernel import cgroup
from ingrain.kernel.cgroup import CgroupError
from ingrain.kernel.packages import NotInstalledError
from ingrain.kernel.symbols import BTF, has_btf

CAPABILITIES = {
    "CAP_BPF": (39, "load programs and make maps"),
    "CAP_PERFMON": (38, "open the perf buffers, and let programs read kernel memory"),
    "CAP_NET_ADMIN": (12, "load and attach network programs to cgroups"),
    "CAP_DAC_READ_SEARCH": (2, "look cgroups up by their id, and read what engines know of their containers"),
    "CAP_SYS_PTRACE": (19, "find the owners of sockets that are older than the agent"),
    "CAP_SYSLOG": (34, "learn where the kernel has its pages: there stands what containers write by sendfile"),
}
"""What the agent needs: name -> (bit of linux/capability.h, what for)."""

SYS_ADMIN = 21  # has stood for CAP_BPF and CAP_PERFMON since before Linux 5.8 split them off


@dataclass(frozen=True, slots=True)
class Host:
    """What was found out; a text that begins with `unknown` says why something was not."""

    kernel: str
    btf: str
    bcc: str
    lockdown: str
    cgroup: str
    held: list[str]
    missing: list[str]


_SO_NETNS_COOKIE = 71  # linux/socket.h
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of linux/proc_ns.h


def is_first_pid_namespace() -> bool:
    """Whether process ids here are those that the kernel's programs see."""
    return Path("/proc/self/ns/pid").stat().st_ino == _FIRST_PID_NAMESPACE


def netns_cookie() -> int:
    """What the kernel tells this network namespace by; 0 where it does not say that (before Linux 5.14)."""
    with socket.socket(socket.AF_UNIX) as one:
        try:
            return int.from_bytes(one.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError:
            return 0


def is_first_netns() -> bool:
    """Whether this is the network namespace of process 1; true where that does not show."""
    try:
        return Path("/proc/1/ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    except OSError:
        return True


def look() -> Host:
    """Look at this host."""
    held, missing = capabilities()
    return Host(_kernel(), _btf(), _bcc(), _lockdown(), _cgroup(), held, missing)


def capabilities() -> tuple[list[str], list[str]]:
    """Which of `CAPABILITIES` this process holds, and which not (effective set of /proc/self/status)."""
    effective = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    admin = bool(effective >> SYS_ADMIN & 1)
    held = [
        name
        for name, (bit, _about) in CAPABILITIES.items()
        if effective >> bit & 1 or (admin and name in {"CAP_BPF", "CAP_PERFMON"})
    ]
    return held, [name for name in CAPABILITIES if name not in held]


def _kernel() -> str:
    name = os.uname()
    return f"{name.sysname} {name.release} {name.machine}"


def _btf() -> str:
    return f"{BTF}, {BTF.stat().st_size} bytes" if has_btf() else "none: BCC compiles the probes here, if it can"


def _bcc() -> str:
    from ingrain.kernel import bcc  # noqa: PLC0415 its imports cost memory that an agent has no use for

    try:
        compiler = bcc.find()
    except NotInstalledError as error:
        return f"none: {error.strerror}"
    return f"{compiler.version}, headers in {compiler.headers.folders[0]}"


def _lockdown() -> str:
    try:
        text = Path("/sys/kernel/security/lockdown").read_text()
    except FileNotFoundError:
        if not any(Path("/sys/kernel/security").glob("*")):
            return "unknown: securityfs is not mounted (mount -t securityfs securityfs /sys/kernel/security)"
        return "none: this kernel has no lockdown"
    except OSError as error:
        return f"unknown: {error.strerror}"
    return text.partition("[")[2].partition("]")[0] or "unknown: not told"


def _cgroup() -> str:
    try:
        return str(cgroup.mount())
    except CgroupError as error:
        return f"none: {error}"

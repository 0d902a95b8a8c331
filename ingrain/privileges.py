"""What the process may do beyond others: all that the agent does not need is given up, for ever, before it begins.

A thread has its capabilities from the one that started it, so this comes before there is a second one: also before
numpy is imported, which starts some.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Collection
from pathlib import Path

from ingrain.kernel.host import CAPABILITIES, SYS_ADMIN

KILL, IPC_LOCK = 5, 14  # of linux/capability.h

# linux/prctl.h
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _IS_SET = 47, 1
_VERSION_3 = 0x20080522  # of linux/capability.h: two words of 32 bits each
_BITS = 64
_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
_WITH_PERFMON = 2  # the kernel's own highest level; Debian's and Ubuntu's patches have more


class _Header(ctypes.Structure):
    """`struct __user_cap_header_struct`."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    """`struct __user_cap_data_struct`."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop() -> None:
    """Keep of what there is `CAPABILITIES` alone, and CAP_SYS_ADMIN where perf buffers are `withheld`.

    CAP_KILL is kept where it is ambient: nobody gives it so but for Exec, whose commands inherit it. No program that is
    started gets more. The limit of locked memory, by which the kernel counts perf buffers, and before Linux 5.11 maps
    too, is lifted first. Where it cannot be, as without CAP_SYS_RESOURCE, CAP_IPC_LOCK is kept.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    kept = {bit for bit, _about in CAPABILITIES.values()} | ({SYS_ADMIN} if withheld() else set())
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        kept.add(IPC_LOCK)
    inherited = {KILL} if libc.prctl(_PR_CAP_AMBIENT, _IS_SET, KILL, 0, 0) == 1 else set()
    kept |= inherited
    for bit in set(range(_BITS)) - kept:
        libc.prctl(_PR_CAPBSET_DROP, bit, 0, 0, 0)  # fails for bits that this kernel lacks, and without CAP_SETPCAP
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    if libc.capget(ctypes.byref(header), data):
        return
    for word, part in enumerate(data):
        part.effective &= _mask(kept, word)
        part.permitted &= _mask(kept, word)
        part.inheritable &= _mask(inherited, word)
    libc.capset(ctypes.byref(header), data)


def _mask(bits: Collection[int], word: int) -> int:
    """Those of the bits that are in one of the two words."""
    return sum(1 << bit - 32 * word for bit in bits if bit // 32 == word)


def withheld() -> bool:
    """Whether this kernel lets CAP_SYS_ADMIN alone open perf buffers, not CAP_PERFMON: Debian's does by default.

    It has a level 3 of kernel.perf_event_paranoid, which it asks about before capabilities (kernel/events/core.c of
    its source, perf_paranoid_any).
    """
    try:
        return int(_PARANOID.read_text()) > _WITH_PERFMON
    except (OSError, ValueError):
        return False

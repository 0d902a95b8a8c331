"""Can this machine's own kernel trace? Found by trial: the smallest program for the entry of a function is loaded.

It is attached to nothing, and gone again when the answer is given.
"""

from __future__ import annotations

import ctypes
import os
import struct

from ingrain.kernel import libbpf
from ingrain.kernel.libbpf import KernelError

_SYSCALL = {"x86_64": 321, "aarch64": 280}  # bpf(2): arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h
_PROG_LOAD, _TRACING, _FENTRY = 5, 26, 24  # linux/bpf.h
_FUNCTION = b"security_file_open"

_RETURN_0 = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)


def can_trace() -> bool:
    """Whether it loads."""
    number = _SYSCALL.get(os.uname().machine)
    if number is None:
        return False
    try:
        find = libbpf.library().libbpf_find_vmlinux_btf_id
    except KernelError:
        return False
    function = find(_FUNCTION, _FENTRY)
    if function <= 0:
        return False
    program = ctypes.create_string_buffer(_RETURN_0, len(_RETURN_0))
    licence = ctypes.create_string_buffer(b"GPL")
    # union bpf_attr of BPF_PROG_LOAD, up to attach_btf_id
    load = struct.pack(
        "<IIQQ IIQ II16sI IIIQII QII",
        _TRACING, len(_RETURN_0) // 8, ctypes.addressof(program), ctypes.addressof(licence),
        0, 0, 0,
        0, 0, b"trial", 0,
        _FENTRY, 0, 0, 0, 0, 0,
        0, 0, function,
    )  # fmt: skip
    loaded = ctypes.CDLL(None, use_errno=True).syscall(number, _PROG_LOAD, load, len(load))
    if loaded < 0:
        return False
    os.close(loaded)
    return True

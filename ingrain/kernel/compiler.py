"""The process in which BCC compiles a probe: started by bcc.py with any Python, and gone when the object is written.

    python -I compiler.py FOLDER SOURCE DESCRIPTOR FLAG...

FOLDER has the Python package of BCC. The object goes to the descriptor; what BCC has to say, to stdout and stderr.

BCC compiles in memory, with LLVM's just-in-time compiler, and keeps of what comes out only instructions. But that
compiler tells debuggers of every object that it made ("Debugging JIT-ed Code With GDB" of LLVM's documentation; "JIT
Compilation Interface" of GDB's): there it is whole, with its maps, types and relocations, as clang would write it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_VERSION = 1  # of the interface
_BPF = (247).to_bytes(2, "little")  # EM_BPF of elf.h
_MACHINE = slice(18, 20)


class _Entry(ctypes.Structure):
    """`struct jit_code_entry`."""


_Entry._fields_ = (  # it points to its own kind
    ("next", ctypes.POINTER(_Entry)),
    ("previous", ctypes.POINTER(_Entry)),
    ("address", ctypes.c_void_p),
    ("size", ctypes.c_uint64),
)


class _Descriptor(ctypes.Structure):
    """`struct jit_descriptor`."""

    _fields_ = (
        ("version", ctypes.c_uint32),
        ("action", ctypes.c_uint32),
        ("relevant", ctypes.POINTER(_Entry)),
        ("first", ctypes.POINTER(_Entry)),
    )


def main(folder: str, source: str, descriptor: str, *flags: str) -> None:
    """Compile, and write the object. Ends with a message where there is none."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the agent blocks some while it starts
    sys.path.insert(0, folder)
    import bcc  # type: ignore[import-not-found] # noqa: PLC0415 the distribution's, from its own folder

    module = bcc.BPF(text=f'#include "{source}"\n'.encode(), cflags=list(flags))
    try:
        told = _Descriptor.in_dll(bcc.lib, "__jit_debug_descriptor")
    except ValueError:
        sys.exit("this build of BCC hides what its compiler tells debuggers")
    entry = told.first if told.version == _VERSION else None
    while entry:
        compiled = ctypes.string_at(entry.contents.address, entry.contents.size)
        if compiled[_MACHINE] == _BPF:
            with os.fdopen(int(descriptor), "wb") as file:
                file.write(compiled)
            return
        entry = entry.contents.next
    sys.exit(f"this build of BCC ({module}) does not tell debuggers what it compiled")


if __name__ == "__main__":
    main(*sys.argv[1:])

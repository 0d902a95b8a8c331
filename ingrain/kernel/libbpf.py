"""A thin binding of the libbpf functions that the agent uses, by ctypes.

The wheel carries libbpf and the libelf that it needs, so the target needs neither; a source tree without them uses
the system's libbpf.so.1. Every function that can fail raises `KernelError` with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any


class KernelError(OSError):
    """The kernel, or libbpf on its behalf, refused. `log` holds what it said, the verifier's lines included."""

    def __init__(self, error: int, what: str, log: str = "") -> None:
        super().__init__(error, f"{what}: {os.strerror(error)}")
        self.log = log


_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "libbpf_set_print": (c_void_p, (_PRINT,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "libbpf_version_string": (c_char_p, ()),
    "libbpf_find_vmlinux_btf_id": (c_int, (c_char_p, c_int)),
    "bpf_object__open_mem": (c_void_p, (c_char_p, c_size_t, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__btf": (c_void_p, (c_void_p,)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "btf__raw_data": (c_void_p, (c_void_p, POINTER(c_uint32))),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__section_name": (c_char_p, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, ctypes.c_bool)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "bpf_program__attach_cgroup": (c_void_p, (c_void_p, c_int)),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_iter_create": (c_int, (c_int,)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_lookup_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_update_batch": (c_int, (c_int, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map_lookup_and_delete_batch": (
        c_int,
        (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p),
    ),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "perf_buffer__new_raw": (c_void_p, (c_int, c_size_t, c_void_p, c_void_p, c_void_p, c_void_p)),
    "perf_buffer__free": (None, (c_void_p,)),
    "perf_buffer__buffer_fd": (c_int, (c_void_p, c_size_t)),
    "perf_buffer__buffer": (c_int, (c_void_p, c_int, POINTER(c_void_p), POINTER(c_size_t))),
}


def _load() -> ctypes.CDLL:
    carried = Path(__file__).parent / "lib"
    elf = carried / "libelf.so.1"
    if elf.exists():
        ctypes.CDLL(str(elf), mode=ctypes.RTLD_GLOBAL)  # found by its soname when libbpf asks for it
    path = carried / "libbpf.so.1"
    try:
        library = ctypes.CDLL(str(path) if path.exists() else "libbpf.so.1", use_errno=True)
    except OSError as error:
        raise KernelError(
            error.errno or 2, f"libbpf cannot be loaded ({error}); install libbpf1, or use the project's wheel"
        ) from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class _Log:
    """What libbpf prints: kept, so that it can stand in an error, instead of going to the terminal."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, _level: int, text: bytes, arguments: int) -> int:
        buffer = ctypes.create_string_buffer(1 << 16)
        _vsnprintf(buffer, len(buffer), text, arguments)
        self.lines.append(buffer.value.decode(errors="replace").rstrip("\n"))
        del self.lines[:-400]
        return 0

    def take(self) -> str:
        text = "\n".join(self.lines)
        self.lines.clear()
        return text


_vsnprintf = ctypes.CDLL(None).vsnprintf
_vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)

_library: ctypes.CDLL | None = None
_log = _Log()
_print = _PRINT(_log)


def library() -> ctypes.CDLL:
    """libbpf, loaded at the first call."""
    global _library  # noqa: PLW0603 one library a process, loaded when the first probe needs it
    if _library is None:
        _library = _load()
        _library.libbpf_set_print(_print)
    return _library


def pointer(function: str, *arguments: Any, what: str) -> int:
    """Call a function that returns a pointer; NULL becomes a `KernelError`."""
    _log.take()
    result = getattr(library(), function)(*arguments)
    if not result:
        raise KernelError(ctypes.get_errno(), what, _log.take())
    return int(result)


def call(function: str, *arguments: Any, what: str) -> int:
    """Call a function that returns a negative errno, or -1 with errno; failure becomes a `KernelError`."""
    _log.take()
    result = int(getattr(library(), function)(*arguments))
    if result < 0:
        raise KernelError(ctypes.get_errno() or -result, what, _log.take())
    return result


class _OpenOptions(ctypes.Structure):
    """`struct bpf_object_open_opts` of bpf/libbpf.h, as far as the name."""

    _fields_ = (("sz", c_size_t), ("object_name", c_char_p))


def open_memory(name: str, compiled: bytes) -> int:
    """A compiled object, opened; its bytes must stay until it is loaded. Raises KernelError where they are none."""
    options = _OpenOptions(sz=ctypes.sizeof(_OpenOptions), object_name=name.encode())
    what = f"object {name} cannot be opened"
    return pointer("bpf_object__open_mem", compiled, len(compiled), ctypes.addressof(options), what=what)


def each(next_function: str, handle: int) -> list[int]:
    """All programs or maps of an object, by libbpf's `next` function."""
    step: Callable[[int, int | None], int | None] = getattr(library(), next_function)
    found: list[int] = []
    item = step(handle, None)
    while item:
        found.append(item)
        item = step(handle, item)
    return found


def name_of(function: str, handle: int) -> str:
    """A name that libbpf gives."""
    text: bytes = getattr(library(), function)(handle)
    return text.decode()


def initial_value(map_handle: int) -> tuple[int, int]:
    """Address and size of a map's contents before load, of `.rodata` for instance."""
    size = c_size_t()
    address = pointer("bpf_map__initial_value", map_handle, byref(size), what="no initial value")
    return address, size.value

"""A compiled probe in the kernel: opened, its constants set, loaded, attached to cgroups, and let go of.

`shared` maps are those that several probes use together (the sockets' owners): the first object to load makes one, the
others are given its descriptor.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ingrain.kernel import libbpf, symbols
from ingrain.kernel.btf import Btf
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.loaders import Loader

log = logging.getLogger(__name__)

OBJECTS = Path(__file__).parent / "objects"
"""Where the compiled probes are."""

_ADDRESS = "address_of_"
"""How constants begin that are given the address of what the kernel calls by the rest of their name; 0: unknown."""

_EVERYWHERE = 0
"""No cgroup has this id."""

_BPF_TRACE_FENTRY = 24  # enum bpf_attach_type of linux/bpf.h: functions are what is looked for


class Program:
    """One object file, `probes/NAME.bpf.c` compiled, in the kernel.

    constants: values of its `const volatile` variables. skip: kinds of hooks (what stands before the first `/` of a
    section's name) and functions (what stands behind the last) whose programs are left out. loader: `core` or `bcc`,
    which compiles it first. Raises KernelError where the object is missing or the kernel refuses it; nothing stays
    behind then.
    """

    def __init__(
        self,
        name: str,
        constants: Mapping[str, int],
        shared: Mapping[str, int] | None = None,
        skip: Collection[str] = (),
        loader: Loader = "core",
    ) -> None:
        self.name, self.loader = name, loader
        self.swaps: list[Callable[[], None]] = []
        """Each has the programs count in the other one of two maps (`Swapped`)."""
        self._links: dict[int, dict[str, int]] = {}  # by the cgroup's id, or _EVERYWHERE; program name -> link
        self._object = libbpf.open_memory(Path(name).name, _compiled(name) if loader == "bcc" else _shipped(name))
        try:
            self.btf = self._read_btf()
            maps = {libbpf.name_of("bpf_map__name", m): m for m in libbpf.each("bpf_object__next_map", self._object)}
            self._programs = {
                libbpf.name_of("bpf_program__name", program): program
                for program in libbpf.each("bpf_object__next_program", self._object)
            }
            for left_out in [one for one, hook in self.hooks.items() if _is_in(hook, skip)]:
                program = self._programs.pop(left_out)
                libbpf.call("bpf_program__set_autoload", program, False, what=f"{left_out} cannot be left out")  # noqa: FBT003 a C function
            self._set_constants(maps, constants)
            for map_name, fd in (shared or {}).items():
                if map_name in maps:
                    libbpf.call("bpf_map__reuse_fd", maps[map_name], fd, what=f"map {map_name} cannot be shared")
            libbpf.call("bpf_object__load", self._object, what=f"the kernel refuses probe {name}")
        except BaseException:
            self.close()
            raise
        self.maps = {name: int(libbpf.library().bpf_map__fd(handle)) for name, handle in maps.items()}
        """Map name -> descriptor."""

    @property
    def hooks(self) -> dict[str, str]:
        """Program name -> the hook that its section names, `cgroup_skb/egress` for instance."""
        return {name: libbpf.name_of("bpf_program__section_name", p) for name, p in self._programs.items()}

    def fd(self, program: str) -> int:
        """Descriptor of one of its programs."""
        return int(libbpf.library().bpf_program__fd(self._programs[program]))

    def attach(self, cgroup: Path | None = None) -> None:
        """Attach every program to its hook, as links that vanish with this process.

        cgroup: folder of the one that the programs are for, where they are for one; each has links of its own. Raises
        KernelError, and FileNotFoundError where there is no such folder; what was attached by this call before the
        failure is detached again.
        """
        if cgroup is None:
            self._links[_EVERYWHERE] = self._link("bpf_program__attach")
            return
        folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            links = self._link("bpf_program__attach_cgroup", folder)
            where = os.fstat(folder).st_ino
        finally:
            os.close(folder)
        self.detach_from(where)
        self._links[where] = links

    def iterate(self, program: str) -> None:
        """Run an iterator (`SEC("iter/...")`) that is attached, over everything that there is. Raises KernelError."""
        link = libbpf.library().bpf_link__fd(self._links[_EVERYWHERE][program])
        what = f"{self.hooks[program]} of probe {self.name} cannot be run"
        descriptor = libbpf.call("bpf_iter_create", link, what=what)
        try:
            while os.read(descriptor, mmap.PAGESIZE):
                pass
        except OSError as error:
            raise KernelError(error.errno or 0, what) from error
        finally:
            os.close(descriptor)

    def missed(self) -> int:
        """Runs that the kernel left out, because the program was running on that CPU (fdinfo, since Linux 5.12)."""
        lines = [
            line for name in self._programs for line in _told(self.fd(name)) if line.startswith("recursion_misses:")
        ]
        return sum(int(line.split()[1]) for line in lines)

    @property
    def attached(self) -> bool:
        """Whether any of its programs hangs on anything."""
        return bool(self._links)

    def detach(self) -> None:
        """Detach from everything; maps and buffers stay."""
        for where in [*self._links]:
            self.detach_from(where)

    def detach_from(self, cgroup: int) -> None:
        """Detach from the cgroup of this id, if attached to it. Its links are not gone with it."""
        _destroy(self._links.pop(cgroup, {}))

    def keep(self, maps: Collection[str]) -> dict[str, int]:
        """Descriptors of those of these maps that it has, which outlive it: whoever asks closes them."""
        return {name: os.dup(fd) for name, fd in self.maps.items() if name in maps}

    def close(self) -> None:
        """Detach and unload."""
        self.detach()
        if self._object:
            libbpf.library().bpf_object__close(self._object)
            self._object = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _link(self, how: str, *where: int) -> dict[str, int]:
        links: dict[str, int] = {}
        try:
            for name, handle in self._programs.items():
                what = f"{self.hooks[name]} of probe {self.name} cannot be attached"
                links[name] = libbpf.pointer(how, handle, *where, what=what)
        except KernelError:
            _destroy(links)
            raise
        return links

    def _read_btf(self) -> Btf:
        handle = libbpf.pointer("bpf_object__btf", self._object, what=f"probe {self.name} has no BTF")
        size = ctypes.c_uint32()
        address = libbpf.pointer("btf__raw_data", handle, ctypes.byref(size), what="BTF cannot be read")
        return Btf(ctypes.string_at(address, size.value))

    def _set_constants(self, maps: Mapping[str, int], constants: Mapping[str, int]) -> None:
        variables = self.btf.variables(".rodata")
        section = next((handle for name, handle in maps.items() if name.endswith(".rodata")), None)
        if section is None:
            return
        address, _size = libbpf.initial_value(section)
        wanted = {name.removeprefix(_ADDRESS) for name in variables if name.startswith(_ADDRESS)}
        known = symbols.addresses(wanted) if wanted else {}
        if hidden := [name for name, value in known.items() if not value]:
            what = "probe %s: without CAP_SYSLOG this kernel hides its %s, so of some writes only the size is known"
            log.warning(what, self.name, " and ".join(sorted(hidden)))
        placed = {f"{_ADDRESS}{name}": value for name, value in known.items()}
        for name, value in {**constants, **placed}.items():
            if name in variables:
                offset, size = variables[name]
                ctypes.memmove(address + offset, value.to_bytes(size, "little"), size)

    def dtype(self, struct: str) -> np.dtype[np.void]:
        """Layout of one of its structs."""
        return self.btf.dtype(struct)


def _destroy(links: Mapping[str, int]) -> None:
    for link in links.values():
        libbpf.library().bpf_link__destroy(link)


def _compiled(name: str) -> bytes:
    from ingrain.kernel import bcc  # noqa: PLC0415 its imports cost memory that most agents have no use for

    return bcc.compiled(name)


def _shipped(name: str) -> bytes:
    path = OBJECTS / f"{name}.bpf.o"
    try:
        return path.read_bytes()
    except OSError as error:
        raise KernelError(error.errno or 0, f"probe object {path} cannot be opened") from error


def _told(fd: int) -> list[str]:
    return Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()


def _is_in(hook: str, skip: Collection[str]) -> bool:
    return hook.partition("/")[0] in skip or hook.rpartition("/")[2] in skip


def functions(names: Collection[str]) -> Collection[str]:
    """Those of these functions that the running kernel has, by what its BTF says, or else its names."""
    if not symbols.has_btf():
        return symbols.addresses(names)
    find = libbpf.library().libbpf_find_vmlinux_btf_id
    return {name for name in names if int(find(name.encode(), _BPF_TRACE_FENTRY)) > 0}

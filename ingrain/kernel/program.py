"""A compiled probe in the kernel: opened, its constants set, loaded, attached to cgroups, and let go of.

`shared` maps are those that several probes use together (the sockets' owners): the first object to load makes one, the
others are given its descriptor.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ingrain.kernel import libbpf
from ingrain.kernel.btf import Btf
from ingrain.kernel.libbpf import KernelError

_FUNCTION = 12  # BTF_KIND_FUNC of linux/btf.h

OBJECTS = Path(__file__).parent / "objects"
"""Where the compiled probes are."""


class Program:
    """One object file, `probes/NAME.bpf.c` compiled, in the kernel.

    constants: values of its `const volatile` variables. skip: kinds of hooks (what stands before the first `/` of a
    section's name) whose programs are left out. A program whose section begins with `?` is left out where the kernel
    has no function of the name. Raises KernelError where the object is missing or the kernel refuses it; nothing stays
    behind then.
    """

    def __init__(
        self,
        name: str,
        constants: Mapping[str, int],
        shared: Mapping[str, int] | None = None,
        skip: Collection[str] = (),
    ) -> None:
        self.name = name
        path = OBJECTS / f"{name}.bpf.o"
        self._links: dict[str, int] = {}
        self._object = libbpf.pointer(
            "bpf_object__open_file", str(path).encode(), None, what=f"probe object {path} cannot be opened"
        )
        try:
            self.btf = self._read_btf()
            maps = {libbpf.name_of("bpf_map__name", m): m for m in libbpf.each("bpf_object__next_map", self._object)}
            self._programs = {
                libbpf.name_of("bpf_program__name", program): program
                for program in libbpf.each("bpf_object__next_program", self._object)
            }
            self._choose(skip)
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

    def attach(self, cgroup: int | None = None) -> None:
        """Attach every program to its hook, as links that vanish with this process.

        cgroup: descriptor of the folder of the one that the programs are for, where they are for one. Raises
        KernelError; what was attached by this call before the failure is detached again.
        """
        done: dict[str, int] = {}
        try:
            for name, handle in self._programs.items():
                what = f"{self.hooks[name]} of probe {self.name} cannot be attached"
                if cgroup is None:
                    done[name] = libbpf.pointer("bpf_program__attach", handle, what=what)
                else:
                    done[name] = libbpf.pointer("bpf_program__attach_cgroup", handle, cgroup, what=what)
        except KernelError:
            for link in done.values():
                libbpf.library().bpf_link__destroy(link)
            raise
        self._links |= done

    def iterate(self, program: str) -> None:
        """Run an iterator (`SEC("iter/...")`) that is attached, over everything that there is. Raises KernelError."""
        link = libbpf.library().bpf_link__fd(self._links[program])
        what = f"{self.hooks[program]} of probe {self.name} cannot be run"
        descriptor = libbpf.call("bpf_iter_create", link, what=what)
        try:
            while os.read(descriptor, mmap.PAGESIZE):
                pass
        except OSError as error:
            raise KernelError(error.errno or 0, what) from error
        finally:
            os.close(descriptor)

    @property
    def attached(self) -> bool:
        """Whether any of its programs hangs on anything."""
        return bool(self._links)

    def detach(self) -> None:
        """Detach from everything; maps and buffers stay."""
        while self._links:
            libbpf.library().bpf_link__destroy(self._links.popitem()[1])

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

    def _choose(self, skip: Collection[str]) -> None:
        """Say which programs are loaded, and forget the others."""
        hooks = self.hooks
        asked = {
            name for name, program in self._programs.items() if not libbpf.library().bpf_program__autoload(program)
        }
        there = _functions({hooks[name].partition("/")[2] for name in asked})
        for name, program in list(self._programs.items()):
            kind, _, function = hooks[name].partition("/")
            chosen = kind not in skip and (name not in asked or function in there)
            libbpf.call("bpf_program__set_autoload", program, chosen, what=f"{name} cannot be chosen or left out")
            if not chosen:
                del self._programs[name]

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
        for name, value in constants.items():
            if name in variables:
                offset, size = variables[name]
                ctypes.memmove(address + offset, value.to_bytes(size, "little"), size)

    def dtype(self, struct: str) -> np.dtype[np.void]:
        """Layout of one of its structs."""
        return self.btf.dtype(struct)


def _functions(names: Collection[str]) -> set[str]:
    """Those of the names that are functions of this kernel, by its BTF."""
    if not names:
        return set()
    btf = libbpf.pointer("btf__load_vmlinux_btf", what="this kernel's BTF cannot be read")
    try:
        return {name for name in names if libbpf.library().btf__find_by_name_kind(btf, name.encode(), _FUNCTION) > 0}
    finally:
        libbpf.library().btf__free(btf)

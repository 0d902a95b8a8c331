"""What BCC makes of the probes, from the headers of guests' kernel: programs, maps and layouts are those of clang's."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from guest import compiled, kernels

from ingrain.kernel import bcc, kept, libbpf
from ingrain.kernel.btf import Btf, LayoutError
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.packages import NotInstalledError
from ingrain.kernel.program import OBJECTS

PROBES = Path(__file__).parents[2] / "probes"
DECLARED = {
    name for path in PROBES.glob("*.[ch]") for name in re.findall(r"^struct (\w+) {", path.read_text(), re.MULTILINE)
}


@pytest.fixture
def compiling() -> Iterator[None]:
    with compiled.here(kernels.cached(kernels.own_suite())):
        yield


@contextmanager
def opened(name: str, code: bytes) -> Iterator[int]:
    handle = libbpf.open_memory(name, code)
    try:
        yield handle
    finally:
        libbpf.library().bpf_object__close(handle)


def programs(handle: int) -> dict[str, str]:
    found = libbpf.each("bpf_object__next_program", handle)
    name, section = "bpf_program__name", "bpf_program__section_name"
    return {libbpf.name_of(name, one): libbpf.name_of(section, one) for one in found}


def maps(handle: int) -> set[str]:
    return {libbpf.name_of("bpf_map__name", one) for one in libbpf.each("bpf_object__next_map", handle)}


def layouts(handle: int, *names: str) -> dict[str, np.dtype[np.void] | None]:
    """Of these structs, or of all that the sources declare; None of those that Python never looks into."""
    size = ctypes.c_uint32()
    address = libbpf.library().btf__raw_data(libbpf.library().bpf_object__btf(handle), ctypes.byref(size))
    btf = Btf(ctypes.string_at(address, size.value))
    found: dict[str, np.dtype[np.void] | None] = {}
    for name in names or DECLARED:
        try:
            found[name] = btf.dtype(name)
        except LayoutError as error:
            if "no struct" not in str(error):
                found[name] = None
    return found


@pytest.mark.parametrize("name", compiled.PROBES)
def test_what_bcc_makes_has_the_same_programs_maps_and_layouts(name: str, compiling: None) -> None:
    made, shipped = bcc.compiled(name), (OBJECTS / f"{name}.bpf.o").read_bytes()
    with opened(name, made) as ours, opened(name, shipped) as theirs:
        assert programs(ours) == programs(theirs)
        assert maps(ours) == maps(theirs)
        by_bcc, by_clang = layouts(ours), layouts(theirs)
    assert {"counts"} <= by_clang.keys() & by_bcc.keys()
    assert {one: by_bcc[one] for one in by_clang.keys() & by_bcc.keys()} == {
        one: by_clang[one] for one in by_clang.keys() & by_bcc.keys()
    }


def test_what_bcc_cannot_compile_is_told_in_its_own_words(
    compiling: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.bpf.c").write_text("int f(void) { return nothing; }\n")
    monkeypatch.setattr(bcc, "SOURCES", tmp_path)
    with pytest.raises(
        KernelError, match=r"BCC cannot compile probe broken: .*undeclared identifier 'nothing'"
    ) as raised:
        bcc.compiled("broken")
    assert "1 error generated" in raised.value.log
    assert not list(compiled.CACHE.glob("broken*"))


def test_what_was_compiled_is_kept_until_a_source_differs(
    compiling: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, cache = tmp_path / "sources", tmp_path / "cache"
    sources.mkdir()
    cache.mkdir(mode=0o700)
    source = sources / "small.bpf.c"
    monkeypatch.setattr(bcc, "SOURCES", sources)
    monkeypatch.setenv("CACHE_DIRECTORY", str(cache))

    def compile_it(text: str) -> bytes:
        source.write_text(text)
        bcc.compiled.cache_clear()
        return bcc.compiled("small")

    first = compile_it("int first = 1;\n")
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(bcc, "_COMPILER", Path("/nonexistent"))
    assert compile_it("int first = 1;\n") == first
    with pytest.raises(KernelError):
        compile_it("int first = 2;\n")


def test_where_headers_are_missing_their_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    with pytest.raises(NotInstalledError, match=rf"apt-get install linux-headers-{re.escape(os.uname().release)}"):
        bcc.compiled("dns")


def test_where_bcc_is_missing_or_another_package_has_its_name_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text("lattice = True\n")
    monkeypatch.setattr(bcc, "_PLACES", (str(tmp_path),))
    with pytest.raises(NotInstalledError, match="BCC is not installed: apt-get install python3-bpfcc"):
        bcc.compiled("dns")


def test_kept_is_only_what_nobody_else_could_have_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    tmp_path.chmod(0o700)
    kept.keep("dns", "key", b"object")
    assert kept.find("dns", "key") == b"object"
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert kept.find("dns", "key") is None
    path.write_bytes(whole)
    path.chmod(0o620)
    assert kept.find("dns", "key") is None
    path.chmod(0o600)
    os.chown(path, 1, -1)
    assert kept.find("dns", "key") is None
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(whole)
    path.symlink_to(tmp_path / "elsewhere")
    assert kept.find("dns", "key") is None
    path.unlink()
    path.write_bytes(whole)
    path.chmod(0o600)
    assert kept.find("dns", "key") == b"object"
    tmp_path.chmod(0o770)
    assert kept.find("dns", "key") is None


def test_the_oldest_make_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    tmp_path.chmod(0o700)
    for number in range(6):
        kept.keep("dns", f"key{number}", b"object")
        os.utime(tmp_path / f"dns-key{number}.o", (number, number))
    kept.keep("tls", "key", b"object")
    assert {path.name for path in tmp_path.iterdir()} == {
        "tls-key.o",
        *(f"dns-key{number}.o" for number in range(2, 6)),
    }

"""Layouts read from an object's BTF equal those that bpftool reads from it."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

from ingrain.kernel.btf import LayoutError
from ingrain.kernel.program import OBJECTS, Program

BPFTOOL = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin")


@pytest.mark.skipif(not BPFTOOL, reason="bpftool is not installed")
@pytest.mark.parametrize(("name", "struct"), [("network", "flow"), ("network", "volume"), ("dns", "packet")])
def test_offsets_and_sizes_are_those_that_bpftool_reads(name: str, struct: str) -> None:
    with Program(name, {}) as program:
        ours = program.dtype(struct)
    dump = subprocess.run(
        [str(BPFTOOL), "--json", "btf", "dump", "file", str(OBJECTS / f"{name}.bpf.o")], check=True, capture_output=True
    )
    types = json.loads(dump.stdout)["types"]
    theirs = next(t for t in types if t["kind"] == "STRUCT" and t["name"] == struct)
    assert ours.itemsize == theirs["size"]
    assert {n: offset for n, (_kind, offset, *_) in (ours.fields or {}).items()} == {
        member["name"]: member["bits_offset"] // 8 for member in theirs["members"]
    }


def test_a_struct_that_is_not_there_is_named_in_the_error() -> None:
    with Program("dns", {}) as program, pytest.raises(LayoutError, match="no struct nothing"):
        program.dtype("nothing")


def test_arrays_of_characters_are_strings_and_arrays_of_bytes_are_arrays() -> None:
    with Program("network", {}) as program:
        flow = program.dtype("flow")
    assert flow["comm"] == np.dtype("S16")
    assert flow["s_ip"] == np.dtype(("u1", (16,)))

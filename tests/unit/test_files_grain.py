"""Files: what the kernel half hands over, as records; and counts with the process and path that they belong to."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import layout, rows

from ingrain.grains import paths
from ingrain.grains.files import _FUNCTIONS, _MOVING, MEASUREMENTS, Files, FilesSettings
from ingrain.grains.moved import Counted, Known, Whose
from ingrain.grains.opening import device_name, kind_of, open_flags, permissions, protection
from ingrain.grains.paths import path_of
from ingrain.kernel.program import OBJECTS
from ingrain.kernel.records import Drained

OPENED, MAPPED, RENAMED, LINKED, CREATED, DELETED, MODE, OWNER, TRUNCATED, NAMED = range(10)
IS_CUT, IS_DELETED, IS_NEW, NEW_IS_CUT = 1, 2, 4, 8


def text(path: str) -> bytes:
    """As the kernel half gathers it: the last name first."""
    return b"".join(name + b"\0" for name in reversed(path.encode().split(b"/")) if name)


def access(kind: int, path: str, new_path: str = "", **fields: Any) -> tuple[np.ndarray, bytes]:
    event = np.zeros(1, layout("files", "access"))
    event["process"]["time"] = time.monotonic_ns()
    event["process"]["pid"], event["process"]["start"], event["process"]["comm"] = 7, 11, b"cat"
    event["file"]["inode"], event["file"]["device"] = 12, 8 << 20 | 1
    event["kind"], event["path"] = kind, len(text(path))
    for name, value in fields.items():
        event[name] = value
    return event, text(path) + text(new_path)


def decoded(*accesses: tuple[np.ndarray, bytes]) -> list[dict[str, Any]]:
    drained = Drained(np.concatenate([event for event, _ in accesses]), [behind for _, behind in accesses])
    return rows(*Files().decode(drained))


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            access(OPENED, "/etc/passwd", detail=[os.O_RDWR | os.O_CREAT | 0o100000, 0], marks=IS_NEW),
            {"measurement": "file.open", "path": "/etc/passwd", "flags": "O_RDWR|O_CREAT", "created": True},
        ),
        (access(OPENED, "/gone", marks=IS_DELETED), {"path": "/gone", "deleted": True, "flags": "O_RDONLY"}),
        (
            access(MAPPED, "/lib/x.so", detail=[5, 2]),
            {"measurement": "file.mmap", "protection": "PROT_READ|PROT_EXEC", "shared": False},
        ),
        (access(MAPPED, "/db", detail=[3, 1]), {"protection": "PROT_READ|PROT_WRITE", "shared": True}),
        (
            access(RENAMED, "/etc/new", "/etc/passwd"),
            {"measurement": "file.rename", "path": "/etc/new", "new_path": "/etc/passwd", "path_cut": False},
        ),
        (access(RENAMED, "/a", "/b", marks=NEW_IS_CUT), {"path": "/a", "new_path": ".../b", "path_cut": True}),
        (access(LINKED, "/a", "/b/c"), {"measurement": "file.link", "path": "/a", "new_path": "/b/c"}),
        (access(CREATED, "/d", detail=[0o040755, 0]), {"measurement": "file.create", "kind": "directory"}),
        (access(DELETED, "/d"), {"measurement": "file.delete", "path": "/d"}),
        (access(MODE, "/d", detail=[0o104755, 0]), {"measurement": "file.chmod", "mode": "04755"}),
        (access(OWNER, "/d", detail=[0xFFFFFFFF, 5]), {"measurement": "file.chown", "owner": None, "group": 5}),
        (access(TRUNCATED, "/d", size=9), {"measurement": "file.truncate", "size": 9, "path": "/d"}),
    ],
)
def test_each_kind_of_access_is_a_record_with_what_was_done(
    event: tuple[np.ndarray, bytes], told: dict[str, Any]
) -> None:
    (row,) = decoded(event)
    always = {"process": "cat", "process_id": 7, "inode": 12, "device": "8:1", "value": 1}
    assert always | told == {name: row[name] for name in always | told}


def test_columns_that_no_pipeline_lets_through_are_not_made() -> None:
    """A path that is made is remembered: these are not."""
    events = [access(OPENED, "/never/made"), access(RENAMED, "/never/made/either", "/nor/this")]
    drained = Drained(np.concatenate([event for event, _ in events]), [behind for _, behind in events])
    grain = Files()
    grain.want(frozenset({"process", "inode", "created"}))
    before = paths._short.cache_info()
    made = list(grain.decode(drained))
    assert [batch.tags for batch in made] == [["process", "inode", "created"], ["process", "inode"]]
    assert paths._short.cache_info() == before
    grain.want(None)
    assert [row["path"] for row in rows(*grain.decode(drained))] == ["/never/made", "/never/made/either"]
    assert paths._short.cache_info().misses == before.misses + 3


def functions(*measurements: str) -> set[str]:
    """What is traced for these."""
    grain = Files()
    grain.settings = FilesSettings(measurements=list(measurements) or None)  # type: ignore[arg-type] # names
    return {function for functions in _FUNCTIONS.values() for function in functions} - {*grain.unused()}


def test_only_what_is_asked_for_is_traced() -> None:
    assert functions("file.open") == {"do_filp_open", "do_file_open", "do_file_open_root", "fd_install"}
    assert functions("file.read") == {"vfs_read", "vfs_readv", "io_read", *_MOVING}
    assert functions("file.read", "file.chmod") == {"vfs_read", "vfs_readv", "io_read", "chmod_common", *_MOVING}
    assert functions() == {function for functions in _FUNCTIONS.values() for function in functions}
    assert {*_FUNCTIONS} == {measurement.name for measurement in Files.measurements}


def test_every_program_of_the_kernel_half_is_of_a_measurement_or_sees_to_the_others() -> None:
    sections = subprocess.run(
        ["llvm-objdump", "-h", OBJECTS / "files.bpf.o"], check=True, capture_output=True, text=True
    )
    hooks = {
        word.rpartition("/")[2]
        for word in re.findall(r" ((?:fentry|fexit|kprobe|kretprobe|raw_\w+)/\w+)", sections.stdout)
    }
    assert hooks - functions() == {"sys_exit", "sched_process_exit"}
    assert functions() - hooks == set()


@pytest.mark.parametrize(
    ("asked", "directions"),
    [(["file.read"], 1), (["file.write"], 2), (["file.open"], 0), (["file.write", "file.read"], 3), (None, 3)],
)
def test_only_directions_that_are_asked_for_are_counted(asked: list[Any] | None, directions: int) -> None:
    grain = Files()
    grain.settings = FilesSettings(measurements=asked)
    assert grain.constants() == {"counted_directions": directions}


raw_names = st.lists(st.binary(min_size=1, max_size=30).filter(lambda name: not {0, 47} & set(name)), max_size=6)


@given(st.lists(st.tuples(st.integers(0, 12), raw_names, raw_names, st.integers(0, 15)), max_size=12))
def test_every_event_is_told_or_counted_with_its_own_paths(
    what: list[tuple[int, list[bytes], list[bytes], int]],
) -> None:
    drained = Drained(np.zeros(len(what), layout("files", "access")), [])
    for event, (kind, first, second, marks) in zip(drained.events, what, strict=True):
        texts = [b"".join(name + b"\0" for name in names) for names in (first, second)]
        event["kind"], event["path"], event["marks"] = kind, len(texts[0]), marks
        drained.payloads.append(b"".join(texts) if kind in {RENAMED, LINKED} else texts[0])
    grain = Files()
    told = rows(*grain.decode(drained))
    assert len(told) + grain.malformed + grain.parts == len(what)
    for kind, measurement in MEASUREMENTS.items():
        expected = [path_of(b"".join(n + b"\0" for n in first), marks & 1) for k, first, _, marks in what if k == kind]
        assert [row["path"] for row in told if row["measurement"] == measurement.name] == expected


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["named", "counted", "unnamed"]), st.integers(0, 4), st.integers(1, 9))),
        max_size=12,
    )
)
def test_counts_are_told_once_whenever_their_event_comes_and_never_with_anothers(
    intervals: list[list[tuple[str, int, int]]],
) -> None:
    whose, told = Whose(), []
    put: list[tuple[bytes, int]] = []
    for interval in intervals:
        counted = []
        for what, key, amount in interval:
            if what == "named":
                whose.learn(bytes([key]), Known(b"event", b"%d\0" % key))
            else:
                counted.append((bytes([key]), bytes([amount]), what == "counted"))
                put.append((bytes([key]), amount))
        told += whose.join(counted)
    told += [one for _ in range(2) for one in whose.join([])]
    assert sorted((one.key, one.moved[0]) for one in told) == sorted(put)
    assert all(one.known is None or one.known.names == b"%d\0" % one.key[0] for one in told)


def joined(whose: Whose, *counted: tuple[bytes, bytes, bool]) -> Sequence[Counted]:
    return whose.join(counted)


def test_an_event_that_comes_after_its_counts_were_read_is_waited_for() -> None:
    whose = Whose()
    assert joined(whose, (b"key", b"1", True)) == []
    whose.learn(b"key", Known(b"event", b"passwd\0etc\0"))
    assert joined(whose) == [Counted(b"key", b"1", Known(b"event", b"passwd\0etc\0"))]


def test_counts_whose_event_was_lost_are_told_at_once_without_it() -> None:
    assert joined(Whose(), (b"key", b"1", False)) == [Counted(b"key", b"1", None)]


def test_counts_that_wait_at_the_end_are_told() -> None:
    whose = Whose()
    assert joined(whose, (b"key", b"1", True)) == []
    whose.finish()
    assert joined(whose, (b"other", b"2", True)) == [Counted(b"key", b"1", None), Counted(b"other", b"2", None)]


def test_what_is_remembered_of_files_is_bounded() -> None:
    whose = Whose()
    for number in range(20_000):
        whose.learn(number.to_bytes(4, "big"), Known(bytes(200), b"x" * 4096))
    assert whose._bytes <= 33 << 20
    for _ in range(4):
        whose.join([])
    assert (whose._bytes, whose._known) == (0, {})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (0, "O_RDONLY"),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, "O_WRONLY|O_CREAT|O_TRUNC"),
        (os.O_RDWR | os.O_TMPFILE, "O_RDWR|O_TMPFILE"),
        (os.O_RDONLY | os.O_DIRECTORY, "O_RDONLY|O_DIRECTORY"),
        (os.O_RDWR | os.O_SYNC, "O_RDWR|O_SYNC"),
        (os.O_RDWR | os.O_DSYNC, "O_RDWR|O_DSYNC"),
        (os.O_PATH | os.O_NOFOLLOW, "O_RDONLY|O_NOFOLLOW|O_PATH"),
        (0o40, "O_RDONLY|O_EXEC"),
    ],
)
def test_flags_of_open_are_told_by_their_names(flags: int, words: str) -> None:
    assert open_flags(flags) == words


@given(st.integers(0, 2**32 - 1))
def test_any_number_has_words(number: int) -> None:
    words = [function(number) for function in (open_flags, protection, permissions, kind_of, device_name)]
    assert all(word and word.isprintable() for word in words)

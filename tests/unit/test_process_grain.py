"""Process: from what the kernel half hands over to records."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import layout

from ingrain.grains import paths
from ingrain.grains.paths import SHORT, path_of
from ingrain.grains.process import Process, _args
from ingrain.kernel.records import Drained
from ingrain.text import safe

EXEC, EXIT, OOM = range(3)


class Told:
    """Stands for a loaded program: what its grain asks of one is layouts."""

    @staticmethod
    def dtype(name: str) -> np.dtype[np.void]:
        return layout("process", name)


@cache
def grain() -> Process:
    made = Process()
    made.open(Told())  # type: ignore[arg-type] # all that it asks for
    return made


def names(path: str) -> bytes:
    return b"".join(name.encode() + b"\0" for name in reversed(path.strip("/").split("/")))


def ancestor(pid: int, start: int, comm: bytes) -> bytes:
    one = np.zeros((), layout("process", "ancestor"))
    one["pid"], one["start"], one["comm"] = pid, start, comm
    return one.tobytes()


def event(kind: int, *, args: bytes = b"", exe: bytes = b"", cwd: bytes = b"", line: bytes = b"", **more: Any) -> Any:
    made = np.zeros((), layout("process", "task"))
    made["process"]["pid"], made["process"]["start"], made["process"]["comm"] = 7, 100, b"prog"
    made["kind"], made["args"], made["exe"], made["cwd"], made["args_all"] = (
        kind,
        len(args),
        len(exe),
        len(cwd),
        len(args),
    )
    for name, value in more.items():
        made[name] = value
    return made, args + exe + cwd + line


def decoded(events: Sequence[Any]) -> dict[str, list[dict[str, Any]]]:
    drained = Drained(np.array([one for one, _behind in events]), [behind for _one, behind in events])
    found = {}
    for batch in grain().decode(drained):
        assert batch.records.schema == batch.measurement.schema
        batch.records.validate(full=True)
        table = batch.records.drop_columns(["timestamp"])
        found[batch.measurement.name] = table.to_pylist()
    return found


def test_what_was_started_has_its_arguments_paths_and_ancestors() -> None:
    line = ancestor(5, 50, b"sh") + ancestor(1, 1, b"init")
    one = event(EXEC, args=b"prog\0-x\0", exe=names("/usr/bin/prog"), cwd=names("/srv/data"), line=line)
    (row,) = decoded([one])["process.exec"]
    assert (row["executable"], row["args"], row["cwd"]) == ("/usr/bin/prog", ["prog", "-x"], "/srv/data")
    assert (row["parent"], row["parent_id"], row["args_cut"]) == ("sh", 5, False)
    assert [(one["process"], one["process_id"]) for one in row["ancestors"]] == [("sh", 5), ("init", 1)]
    assert len({row["process_uid"], *(one["process_uid"] for one in row["ancestors"])}) == 3


def test_what_stood_behind_a_name_before_is_no_part_of_it() -> None:
    """As Linux 5.10 leaves it there: `strlcpy` in fs/exec.c."""
    line = ancestor(5, 50, b"sh\0ng-init") + ancestor(1, 1, b"init\0bert")
    (row,) = decoded([event(EXEC, args=b"prog\0", exe=names("/usr/bin/prog"), line=line)])["process.exec"]
    assert row["parent"] == "sh"
    assert [one["process"] for one in row["ancestors"]] == ["sh", "init"]


def test_records_of_all_kinds_come_apart_in_their_order() -> None:
    found = decoded(
        [event(EXIT, code=1 << 8, ran=5), event(EXEC, exe=names("/a")), event(OOM), event(EXIT, code=0x8B, ran=6)]
    )
    assert {name: len(rows) for name, rows in found.items()} == {"process.exec": 1, "process.exit": 2, "process.oom": 1}
    returned, killed = found["process.exit"]
    assert (returned["status"], returned["signal"], returned["core_dumped"], returned["run_ns"]) == (1, None, False, 5)
    assert (killed["status"], killed["signal"], killed["core_dumped"], killed["run_ns"]) == (None, "SIGSEGV", True, 6)


def test_columns_that_no_pipeline_lets_through_are_not_made() -> None:
    """This grain was never told how ancestors are laid out, and no path that is made is forgotten."""
    made = Process()
    made.want(frozenset({"args", "status"}))
    before = paths._short.cache_info()
    one = event(EXEC, args=b"prog\0", exe=names("/not/made"), cwd=names("/nor/this"), line=ancestor(5, 50, b"sh"))
    drained = Drained(np.array([one[0], event(EXIT)[0]]), [one[1], b""])
    assert [batch.tags for batch in made.decode(drained)] == [["args"], ["status"]]
    assert paths._short.cache_info() == before


@pytest.mark.parametrize(("long", "count"), [(SHORT, 20_000), (SHORT + 1, 20_000), (4096, 5_000)])
def test_what_is_remembered_of_paths_and_arguments_is_some_megabytes(long: int, count: int) -> None:
    """Whoever runs programs chooses both; here all of them differ."""
    tracemalloc.start()
    try:
        for number in range(count):
            raw = f"{number:08}".encode() + b"x" * (long - 9) + b"\0"
            path_of(raw, 0)
            _args(raw)
        kept, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 16 << 20


def test_the_root_and_paths_that_were_cut() -> None:
    assert path_of(b"", 0) == "/"
    assert path_of(b"c\0b\0", 0) == "/b/c"
    assert path_of(b"c\0b\0", 1) == ".../b/c"


@given(
    st.lists(st.binary().filter(lambda one: b"\0" not in one), min_size=1),
    st.lists(st.binary(min_size=1, max_size=255).filter(lambda one: b"\0" not in one and b"/" not in one)),
    st.lists(st.tuples(st.integers(1, 1 << 22), st.integers(1, 1 << 40), st.binary(max_size=15)), max_size=32),
)
def test_any_bytes_become_safe_values_and_stay_apart(
    args: list[bytes], parts: list[bytes], line: list[tuple[int, int, bytes]]
) -> None:
    path = b"".join(part + b"\0" for part in reversed(parts))
    ancestors = b"".join(ancestor(*one) for one in line)
    (row,) = decoded([event(EXEC, args=b"".join(one + b"\0" for one in args), exe=path, line=ancestors)])[
        "process.exec"
    ]
    assert row["args"] == [safe(one) for one in args]
    assert row["executable"] == "/" + "/".join(safe(part) for part in parts)
    assert [one["process_id"] for one in row["ancestors"]] == [pid for pid, _start, _comm in line]
    assert row["parent_id"] == (line[0][0] if line else None)


@given(st.integers(0, 0xFFFFFFFF))
def test_any_status_is_told(code: int) -> None:
    (row,) = decoded([event(EXIT, code=code)])["process.exit"]
    assert (row["status"] is None) == bool(code & 0x7F)
    assert (row["signal"] is None) == (not code & 0x7F)


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (33, "SIG33"), (34, "SIGRTMIN"), (40, "SIGRTMIN+6")])
def test_a_signal_has_the_name_that_others_know_it_by(number: int, name: str) -> None:
    (row,) = decoded([event(EXIT, code=number)])["process.exit"]
    assert row["signal"] == name


def test_an_event_of_no_known_kind_is_counted_as_malformed() -> None:
    before = grain().malformed
    assert decoded([event(OOM), event(OOM + 1), event(0xFFFFFFFF)]).keys() == {"process.oom"}
    assert grain().malformed - before == 2


@given(
    st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 4096), st.integers(0, 4096), st.binary(max_size=200)))
)
def test_sizes_that_do_not_fit_make_records_all_the_same(rows: list[tuple[int, int, int, bytes]]) -> None:
    events = [event(EXEC, line=behind, args_all=total) for total, _args, _exe, behind in rows]
    for (made, _behind), (_total, args, exe, _) in zip(events, rows, strict=True):
        made["args"], made["exe"] = args, exe
    if events:
        assert len(decoded(events)["process.exec"]) == len(rows)


def test_an_id_that_is_used_again_has_another_process_uid() -> None:
    events = []
    for start in (100, 101):
        made, behind = event(EXIT)
        made["process"]["start"] = start
        events.append((made, behind))
    rows = decoded(events)["process.exit"]
    assert rows[0]["process_id"] == rows[1]["process_id"]
    assert rows[0]["process_uid"] != rows[1]["process_uid"]


def test_its_columns_go_into_parquet_as_they_are() -> None:
    batch = next(iter(grain().decode(Drained(np.array([event(EXEC, args=b"a\0")[0]]), [b"a\0"]))))
    assert pa.Table.from_batches([batch.records]).num_rows == 1
    assert struct.calcsize("<Q") == batch.records.schema.field("process_uid").type.bit_width // 8

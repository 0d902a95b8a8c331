"""Container: from what the kernel half hands over to records; and which containers are watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import layout

from ingrain.batch import Batch
from ingrain.grains.container import Container, ContainerSettings
from ingrain.grains.selection import Selection, container_of
from ingrain.kernel import cgroup, maps
from ingrain.kernel.records import Drained
from ingrain.text import bytes_of, safe

ID = "0123456789abcdef" * 4
OTHER = "f" * 64


class Told:
    """Stands for a loaded program: what its grain asks of one is layouts, and where streams are."""

    maps = {"streams": 9}  # noqa: RUF012 it is only read

    @staticmethod
    def dtype(name: str) -> np.dtype[np.void]:
        return layout("container", name)


def grain(settings: ContainerSettings | None = None) -> Container:
    made = Container()
    made.settings = settings or ContainerSettings()
    made.open(Told())  # type: ignore[arg-type] # all that it asks for
    return made


def event(text: bytes, *, number: int = 1, missing: int = 0, comm: bytes = b"sh", **more: int) -> tuple[Any, bytes]:
    made = np.zeros((), layout("container", "output"))
    made["process"]["pid"], made["process"]["start"], made["process"]["comm"] = 7, 100, comm
    made["stream"], made["number"] = number, number
    made["captured"], made["covers"] = len(text), len(text) + missing
    for name, value in more.items():
        made[name] = value
    return made, text


def drained(events: Sequence[tuple[Any, bytes]]) -> Drained:
    return Drained(np.array([one for one, _text in events]), [text for _one, text in events])


def rows(batches: Iterator[Batch]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for batch in batches:
        assert batch.records.schema == batch.measurement.schema
        batch.records.validate(full=True)
        found.setdefault(batch.measurement.name, []).extend(batch.records.drop_columns(["timestamp"]).to_pylist())
    return found


def test_a_line_has_its_stream_its_length_and_the_process_that_wrote_it() -> None:
    made = grain()
    found = rows(made.decode(drained([event(b"one\n\n", comm=b"web"), event(b"wrong\n", number=2)])))
    assert [(row["line"], row["bytes"], row["value"], row["partial"]) for row in found["container.stdout"]] == [
        ("one", 3, 1, False),
        ("", 0, 1, False),
    ]
    assert [(row["process"], row["process_id"]) for row in found["container.stdout"]] == [("web", 7)] * 2
    assert [row["line"] for row in found["container.stderr"]] == ["wrong"]


def test_every_event_is_accounted_for() -> None:
    """received + further = told + parts, whether events hold many lines or parts of one."""
    made = grain()
    told = sum(len(batch) for batch in made.decode(drained([event(b"a\nb\nc\n")])))
    assert (told, made.parts, made.further) == (3, 0, 2)
    told += sum(len(batch) for batch in made.decode(drained([event(b"x", position=6), event(b"y", position=7)])))
    assert 3 + made.further == told + made.parts


def test_what_is_left_is_told_at_the_end() -> None:
    made = grain()
    assert not rows(made.decode(drained([event(b"no newline")])))
    made.finish()
    (row,) = rows(made.poll())["container.stdout"]
    assert (row["line"], row["partial"]) == ("no newline", True)
    assert not rows(made.poll())


def test_lines_of_a_stream_are_told_in_its_order_although_cpus_clocks_differ() -> None:
    made = grain()
    early, late, third = event(b"one\n"), event(b"two\n", position=4), event(b"three\n", position=8)
    early[0]["process"]["time"], late[0]["process"]["time"], third[0]["process"]["time"] = 5000, 3000, 4000
    batches = [*made.decode(drained([late, early])), *made.decode(drained([third]))]
    stamps = [stamp.value for batch in batches for stamp in batch.records.column("timestamp")]
    told = [line for batch in batches for line in batch.records.column("line").to_pylist()]
    assert told == ["one", "two", "three"]
    assert len(stamps) == 3
    assert len(set(stamps)) == 1


def test_control_characters_and_escapes_do_no_harm_and_are_not_lost() -> None:
    line = b"\x1b]0;owned\x07 \xff\xfe \\x41 \xc2\x9b \xe2\x80\xae caf\xc3\xa9\t\0"
    (row,) = rows(grain().decode(drained([event(line + b"\n")])))["container.stdout"]
    assert row["line"].isprintable()
    assert row["line"] == r"\x1b]0;owned\x07 \xff\xfe \\x41 \u009b \u202e café\x09\x00"
    assert bytes_of(row["line"]) == line


@given(st.binary(max_size=60))
def test_any_bytes_come_back_from_their_safe_text(raw: bytes) -> None:
    assert bytes_of(safe(raw)) == raw


def test_more_lines_than_go_into_a_batch_come_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingrain.grains.container._AT_A_TIME", 10)
    batches = list(grain().decode(drained([event(b"".join(b"%d\n" % number for number in range(35)))])))
    assert [len(batch) for batch in batches] == [10, 10, 10, 5]
    assert [row["line"] for row in rows(iter(batches))["container.stdout"]] == [str(number) for number in range(35)]


def test_containers_are_chosen_by_id_the_beginning_of_it_and_name() -> None:
    names = {1: (ID, "web-1"), 2: (OTHER, "db"), 3: None}
    for patterns, wanted in (
        ([ID], {1}),
        ([ID[:12]], {1}),
        (["web-*"], {1}),
        (["web-?", "db"], {1, 2}),
        (["*"], {1, 2}),
        (["we"], set()),
    ):
        selection = Selection(patterns, names.__getitem__)
        assert {number for number in names if selection.watches(number)} == wanted
    assert all(map(Selection(None, names.__getitem__).watches, names))


def test_a_container_is_looked_for_once() -> None:
    asked: list[int] = []

    def resolve(cgroup_id: int) -> tuple[str, ...]:
        asked.append(cgroup_id)
        return (ID,)

    selection = Selection([ID], resolve)
    assert [selection.watches(1) for _ in range(3)] == [True] * 3
    assert asked == [1]


def test_others_are_left_out_and_the_kernel_half_is_told_to_forget_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made = grain(ContainerSettings(containers=["web"]))
    made._selection = Selection(["web"], {5: ("web",), 6: ("db",)}.__getitem__)
    forgotten: list[bytes] = []

    def find(_fd: int, key: bytes, dtype: np.dtype[np.void]) -> Any:
        stream = np.zeros((), dtype)
        stream["id"] = 2 if key == (11).to_bytes(8, "little") else 77
        return stream

    monkeypatch.setattr(maps, "find", find)
    monkeypatch.setattr(maps, "remove", lambda _fd, key: forgotten.append(key))
    found = rows(
        made.decode(
            drained(
                [
                    event(b"seen\n", container=5, key=10),
                    event(b"not\n", number=2, container=6, key=11),
                    event(b"nor this\n", number=3, container=6, key=12),  # whose place is another stream's by now
                ]
            )
        )
    )
    assert [row["line"] for row in found["container.stdout"]] == ["seen"]
    assert forgotten == [(11).to_bytes(8, "little")]


@pytest.mark.parametrize("name", [f"libpod-{ID}", f"docker-{ID}.scope", f"cri-containerd-{ID}.scope"])
def test_a_container_s_id_stands_in_its_cgroup_s_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cgroup, "mount", lambda: tmp_path)
    inner = tmp_path / "machine.slice" / name / "container"
    inner.mkdir(parents=True)
    (tmp_path / "user.slice").mkdir()
    assert container_of(inner.stat().st_ino) == (ID,)
    assert container_of(inner.parent.stat().st_ino) == (ID,)
    assert container_of((tmp_path / "user.slice").stat().st_ino) is None
    inner.rmdir()
    assert container_of(1) is None

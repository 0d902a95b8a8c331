"""Container: from what the kernel half hands over to records; and which containers are watched."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import Host
from hypothesis import given
from hypothesis import strategies as st
from packets import layout

from ingrain.batch import Batch
from ingrain.containers import Containers
from ingrain.containers.identity import Identity
from ingrain.grains.container import Container, ContainerSettings
from ingrain.grains.selection import Selection
from ingrain.kernel import maps
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.records import Drained
from ingrain.text import bytes_of, safe

ID = "0123456789abcdef" * 4
OTHER = "f" * 64


class Told:
    """Stands for a loaded program: what its grain asks of one is layouts, and where it says what is muted."""

    maps = {"muted": 9}  # noqa: RUF012 it is only read

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
    called = {1: Identity(ID, "web-1"), 2: Identity(OTHER, "db"), 3: None, 4: Identity("f" * 63, "short")}
    for patterns, wanted in (
        ([ID], {1}),
        ([ID[:12]], {1}),
        (["web-*"], {1}),
        (["web-?", "db"], {1, 2}),
        (["*"], {1, 2, 4}),
        (["we"], set()),
        (["ff"], {2}),
    ):
        selection = Selection(patterns)
        assert {number for number, identity in called.items() if selection.watches(identity)} == wanted


class Engine:
    """Cgroups and records of Docker's in a folder; and what of containers the kernel half was told to mute."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cgroups, self.host = folder / "cgroups", Host(folder / "host")
        self.cgroups.mkdir()
        self.muted: set[int] = set()
        monkeypatch.setattr(maps, "put", lambda _fd, key, _value: self.muted.add(int.from_bytes(key, "little")))
        monkeypatch.setattr(maps, "remove", lambda _fd, key: self.muted.remove(int.from_bytes(key, "little")))
        self.containers = Containers(self.cgroups, self.host.root)

    def cgroup(self, number: int) -> int:
        folder = self.cgroups / f"docker-{number:064x}.scope"
        folder.mkdir()
        return folder.stat().st_ino

    def name(self, number: int, name: str) -> None:
        self.host.docker(f"{number:064x}", name)

    def grain(self, *patterns: str) -> Container:
        made = Container()
        made.containers = self.containers
        made.settings = ContainerSettings(containers=list(patterns))
        made.open(Told())  # type: ignore[arg-type] # all that it asks for
        return made


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = Engine(Path(folder), monkeypatch)
        yield made
        if made.containers._thread.is_alive():
            made.containers.stop()


def lines(batches: Iterator[Batch]) -> list[str]:
    return [row["line"] for told in rows(batches).values() for row in told]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_where_containers_cannot_be_told_apart_none_is_watched_instead_of_all() -> None:
    with pytest.raises(KernelError, match="none can be chosen by `containers`"):
        grain(ContainerSettings(containers=["web"]))


def test_others_are_left_out_and_the_kernel_half_is_told_to_mute_them(engine: Engine) -> None:
    engine.name(1, "web")
    engine.name(2, "db")
    web, db = engine.cgroup(1), engine.cgroup(2)
    engine.containers.start()
    made = engine.grain("web")
    events = [event(b"seen\n", container=web), event(b"not\n", number=2, container=db)]
    assert lines(made.decode(drained(events))) == ["seen"]
    assert engine.muted == {db}


def test_events_of_a_container_that_is_not_known_yet_wait_and_hold_up_no_others(engine: Engine) -> None:
    engine.name(1, "web")
    web = engine.cgroup(1)
    engine.containers.start()
    late = engine.cgroup(2)  # which has no record yet
    made = engine.grain("web", "late")
    mixed = [event(b"now\n", container=web), event(b"later\n", number=2, container=late)]
    assert lines(made.decode(drained(mixed))) == ["now"]
    assert not engine.muted
    engine.name(2, "late")
    told: list[str] = []

    def come() -> list[str]:
        told.extend(lines(made.poll()))
        return told

    until(come)
    assert told == ["later"]


def test_events_wait_for_a_name_no_longer_than_records_do(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingrain.grains.selection.HOLD_S", 0.0)
    nobody = engine.cgroup(1)
    made = engine.grain("*")  # the thread that finds containers is not at work
    assert not lines(made.decode(drained([event(b"one\n", container=nobody)])))
    assert not lines(made.poll())
    assert not made._chosen._held  # type: ignore[union-attr]
    assert not engine.muted, "its name may still come"


def test_what_waits_for_a_name_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingrain.grains.selection.HOLD_BYTES", 2000)
    nobody = engine.cgroup(1)
    made = engine.grain("*")
    for number in range(50):
        assert not lines(made.decode(drained([event(b"x" * 100 + b"\n", position=101 * number, container=nobody)])))
        held = [events.nbytes for _since, events, _texts in made._chosen._held]  # type: ignore[union-attr]
        assert sum(held) < 2000


def test_what_waits_at_the_end_is_decided_by_what_is_known(engine: Engine) -> None:
    nobody = engine.cgroup(1)
    made = engine.grain("*")
    assert not lines(made.decode(drained([event(b"one\n", container=nobody)])))
    made.finish()
    assert not lines(made.poll())
    assert not made._chosen._held  # type: ignore[union-attr]


def test_a_container_that_gets_another_name_is_watched_from_then_on(engine: Engine) -> None:
    engine.name(1, "db")
    renamed = engine.cgroup(1)
    engine.containers.start()
    made = engine.grain("web*")
    assert not lines(made.decode(drained([event(b"not seen\n", container=renamed)])))
    assert engine.muted == {renamed}
    engine.name(1, "web1")
    until(lambda: list(made.poll()) or not engine.muted)
    made.seen_until = 1 << 62  # or it would wait for what stands before it in the stream
    assert lines(made.decode(drained([event(b"seen\n", position=9, container=renamed)]))) == ["seen"]


def test_the_outermost_container_is_the_one_that_is_chosen_by(engine: Engine) -> None:
    engine.name(1, "outer")
    engine.name(2, "inner")
    engine.cgroup(1)
    inner = engine.cgroups / f"docker-{1:064x}.scope" / f"docker-{2:064x}.scope"
    inner.mkdir()
    engine.containers.start()
    for pattern, told in (("outer", ["line"]), ("inner", [])):
        events = drained([event(b"line\n", container=inner.stat().st_ino)])
        assert lines(engine.grain(pattern).decode(events)) == told

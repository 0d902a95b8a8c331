"""Containers by real cgroup folders that have engines' names: made, used and gone again; and end to end."""

from __future__ import annotations

import os
import random
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Watch
from serving import until

from ingrain.containers import Containers, resolver, waiting
from ingrain.containers.handles import Handles
from ingrain.containers.paths import Place
from ingrain.containers.record import Record
from ingrain.containers.tree import Tree
from ingrain.kernel import cgroup

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from engines import Host

NAMES = ("container_id", "container", "image", "pod", "namespace")
NOBODY: tuple[None, ...] = (None,) * 5


def identifier(number: int) -> str:
    return f"{number:064x}"


def container(group: Path, number: int) -> Path:
    folder = group / f"docker-{identifier(number)}.scope"
    folder.mkdir()
    return folder


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@contextmanager
def running(host: Host) -> Iterator[Containers]:
    containers = Containers(cgroup.mount(), host.root)
    containers.start()
    try:
        yield containers
    finally:
        containers.stop()


def told(containers: Containers, *cgroup_ids: int) -> list[tuple[str | None, ...]]:
    """What records of these cgroups tell that have waited."""
    array = np.array(cgroup_ids, np.uint64)
    containers.columns(array)
    containers.wait(60)
    return told_at_once(containers, *cgroup_ids)


def told_at_once(containers: Containers, *cgroup_ids: int) -> list[tuple[str | None, ...]]:
    columns = containers.columns(np.array(cgroup_ids, np.uint64))
    return list(zip(*(columns[name].to_pylist() for name in NAMES), strict=True))


def run_in(folder: Path, *command: str) -> None:
    """A program in the cgroup, from its beginning to its end."""
    subprocess.run(command, check=True, preexec_fn=lambda: cgroup.enter(folder))


def test_containers_that_are_there_and_those_that_come_are_told(group: Path, host: Host) -> None:
    for number in (1, 2):
        host.docker(identifier(number), f"web{number}", f"nginx:{number}")
    before = cgroup.identifier(container(group, 1))
    with running(host) as containers:
        after = container(group, 2)
        nested = after / "system.slice" / "nginx.service"
        nested.mkdir(parents=True)
        second = (identifier(2), "web2", "nginx:2", None, None)
        ids = [before, *map(cgroup.identifier, (after, nested, group)), 0]
        assert told(containers, *ids) == [
            (identifier(1), "web1", "nginx:1", None, None),
            second,
            second,
            NOBODY,
            NOBODY,
        ]
        assert containers.late == 0


def test_a_container_that_is_gone_is_told_for_its_records_that_come_later(group: Path, host: Host) -> None:
    with running(host) as containers:
        ids = []
        for number in range(20):
            host.docker(identifier(number), f"job{number}")
            folder = container(group, number)
            ids.append(cgroup.identifier(folder))
            until("it to be seen", lambda: ids[-1] in containers._known)
            folder.rmdir()
        assert [row[1] for row in told(containers, *ids)] == [f"job{number}" for number in range(20)]


def test_one_that_nobody_saw_being_made_is_looked_up_by_its_id(group: Path, host: Host) -> None:
    host.docker(identifier(1), "web1")
    with running(host) as containers:
        tree = containers._resolver._tree
        assert tree is not None
        tree._limit = len(tree)  # from here on none is watched
        made = cgroup.identifier(container(group, 1))
        assert told(containers, made) == [(identifier(1), "web1", "nginx:1.25", None, None)]
        assert told(containers, 1 << 60) == [NOBODY]
        assert containers._known[1 << 60] is None
        assert len(tree) == tree._limit


def test_without_the_right_to_look_up_an_id_all_cgroups_are_looked_through(
    group: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_cgroup_id: int) -> str | None:
        raise PermissionError("no")

    for number in (1, 2):
        host.docker(identifier(number), f"web{number}")
    with running(host) as containers:
        finder = containers._resolver
        tree, handles = finder._tree, finder._handles
        assert tree is not None
        assert handles is not None
        tree._limit = len(tree)  # from here on none is watched
        monkeypatch.setattr(handles, "path", forbidden)
        made = [cgroup.identifier(container(group, number)) for number in (1, 2)]
        assert [row[1] for row in told(containers, *made, 1 << 60)] == ["web1", "web2", None]
        assert finder._handles is None


def test_a_cgroups_path_is_told_by_its_id(group: Path) -> None:
    mount = cgroup.mount()
    deep = group / "a b" / "\udcffc"
    deep.mkdir(parents=True)
    handles = Handles(mount)
    try:
        for folder in (mount, group, deep):
            assert handles.path(cgroup.identifier(folder)) == str(folder.relative_to(mount)).removeprefix(".")
        gone = cgroup.identifier(deep)
        deep.rmdir()
        assert handles.path(gone) is None
        assert handles.path(1 << 60) is None
    finally:
        handles.close()


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv (util-linux) is not installed")
def test_without_the_right_to_look_up_an_id_it_is_said_which_is_missing() -> None:
    code = (
        "from ingrain.containers.handles import Handles; from ingrain.kernel import cgroup\n"
        "try: Handles(cgroup.mount()).path(1)\n"
        "except PermissionError as error: print(error)"
    )
    rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run([*rights, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "CAP_DAC_READ_SEARCH" in done.stdout


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines' records are looked at again all the time."""
    monkeypatch.setattr(resolver, "REFRESH_S", 0.05)


@pytest.mark.usefixtures("_often")
def test_a_new_name_is_told_from_then_on(group: Path, host: Host) -> None:
    host.docker(identifier(1), "web1")
    made = cgroup.identifier(container(group, 1))
    with running(host) as containers:
        assert told(containers, made)[0][1] == "web1"
        host.docker(identifier(1), "web2")
        until("the new name", lambda: told(containers, made)[0][1] == "web2")


def test_a_record_that_comes_later_than_the_cgroup_is_found(group: Path, host: Host) -> None:
    with running(host) as containers:
        made = cgroup.identifier(container(group, 1))
        assert told(containers, made) == [(identifier(1), None, None, None, None)]
        host.docker(identifier(1), "web1")
        until("the name", lambda: told(containers, made)[0][1] == "web1")


@pytest.mark.usefixtures("_often")
def test_a_record_that_goes_before_the_cgroup_does_is_remembered(group: Path, host: Host) -> None:
    record = host.docker(identifier(1), "web1")
    with running(host) as containers:
        made = cgroup.identifier(container(group, 1))
        assert told(containers, made)[0][1] == "web1"
        record.unlink()
        container_ = containers._known[made]
        assert container_ is not None
        until("a look at the record", lambda: container_.tries > 0)
        assert told(containers, made)[0][1] == "web1"


def test_a_disk_that_hangs_holds_nobody_up(group: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, goes_on = threading.Event(), threading.Event()
    with running(host) as containers:

        def find(_place: object) -> Record:
            hangs.set()
            goes_on.wait(60)
            return Record("web1")

        monkeypatch.setattr(containers._resolver._records, "find", find)
        try:
            made = [cgroup.identifier(container(group, number)) for number in range(50)]
            assert hangs.wait(60)
            for _ in range(100):
                assert told_at_once(containers, *made)[-1] == NOBODY
            assert not goes_on.is_set()
            assert len(containers.lacking) == 50
            containers.give_up(np.array(made, np.uint64))
            assert told_at_once(containers, *made)[-1] == NOBODY
            assert not containers.lacking, "what was waited for in vain is waited for again"
            assert containers.late == 50
        finally:
            goes_on.set()
        until("the answers", lambda: [row[1] for row in told(containers, *made)] == ["web1"] * 50)


def test_cgroups_that_come_and_go_at_random_are_those_that_are_there(group: Path) -> None:
    there: dict[int, str] = {}

    def made(path: str, cgroup_id: int) -> None:
        there[cgroup_id] = path

    def gone(cgroup_id: int) -> None:
        del there[cgroup_id]

    tree = Tree(group, made, gone)
    chance = random.Random(4)
    try:
        tree.scan()
        for _ in range(300):
            path = group.joinpath(*chance.choices("abc", k=chance.randrange(1, 4)))
            with suppress(OSError):
                path.mkdir(parents=True) if chance.random() < 0.6 else path.rmdir()
            if chance.random() < 0.05:
                tree.read()
        while select.select([tree.fd], [], [], 0)[0]:
            tree.read()
        folders = [Path(below) for below, _folders, _files in os.walk(group)]
        assert there == {cgroup.identifier(one): str(one.relative_to(group)).removeprefix(".") for one in folders}
        watches = Path(f"/proc/self/fdinfo/{tree.fd}").read_text().count("inotify wd:")
        assert watches == len(folders), "a removed cgroup is still watched, and kept by the kernel"
    finally:
        tree.close()


SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto(b"x", ("127.0.0.1", int(sys.argv[1])))
"""


def test_the_first_and_only_packet_of_a_short_lived_container_has_its_name(
    group: Path, host: Host, watch: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_ROOT", str(host.root))
    monkeypatch.setattr(waiting, "HOLD_S", 60.0)  # that it is known in time is for a machine that has time
    watching = watch("Network")
    with watching() as agent:
        containers = agent._probes.containers
        assert containers is not None
        for number in range(10):
            host.docker(identifier(number), f"job{number}", "busybox")
            folder = container(group, number)
            inside = folder / "init.scope" if number % 2 else folder
            inside.mkdir(exist_ok=True)
            identifiers = {cgroup.identifier(inside), cgroup.identifier(folder)}
            run_in(inside, sys.executable, "-c", SEND, str(20000 + number))
            until("it to be seen", partial(identifiers.issubset, containers._known))
            for one in sorted({inside, folder}, reverse=True):
                one.rmdir()
        run_in(group, sys.executable, "-c", SEND, "20010")
    for measurement in ("connection.out", "volume.out"):
        rows = {row["d_port"]: tuple(row[name] for name in NAMES) for row in watching.rows(measurement)}
        expected: dict[int, Any] = {20000 + n: (identifier(n), f"job{n}", "busybox", None, None) for n in range(10)}
        assert rows == expected | {20010: NOBODY}


def test_records_wait_for_the_name_of_their_container_and_no_others_do(
    group: Path, host: Host, watch: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_ROOT", str(host.root))
    host.docker(identifier(1), "web1")
    made = container(group, 1)
    monkeypatch.setattr(waiting, "HOLD_S", 600.0)
    watching = watch("Network", extra="interval_ms = 60000")
    with watching() as agent:
        goes_on = threading.Event()
        containers = agent._probes.containers
        assert containers is not None
        find = containers._resolver._records.find

        def slowly(place: Place) -> Record | None:
            goes_on.wait(60)
            return find(place)

        monkeypatch.setattr(containers._resolver._records, "find", slowly)
        host.docker(identifier(2), "web2")
        new = container(group, 2)
        for number in range(3):
            run_in(new, sys.executable, "-c", SEND, str(20020 + number))
            run_in(made, sys.executable, "-c", SEND, str(20010 + number))
        (probe,) = agent.probes
        until(
            "all to be read, and told what need not wait",
            lambda: (probe.account().told, probe.account().records) == (6, 3),
        )
        goes_on.set()
        until("the others", lambda: probe.account().records == 6)
    assert containers.late == 0
    for measurement in ("connection.out", "volume.out"):
        assert sorted((row["d_port"], row["container"]) for row in watching.rows(measurement)) == [
            *((20010 + number, "web1") for number in range(3)),
            *((20020 + number, "web2") for number in range(3)),
        ]


def test_records_whose_container_is_not_found_are_told_without_it_and_counted(
    group: Path, host: Host, watch: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_ROOT", str(host.root))
    monkeypatch.setattr(waiting, "HOLD_S", 0.2)
    watching = watch("Network")
    with watching() as agent:
        containers = agent._probes.containers
        assert containers is not None
        goes_on = threading.Event()
        monkeypatch.setattr(containers._resolver._records, "find", lambda _place: goes_on.wait(60) and None)
        run_in(container(group, 1), sys.executable, "-c", SEND, "20000")
        until("them to be told", lambda: containers.late == 1)
        goes_on.set()
    (row,) = watching.rows("connection.out")
    assert (row["d_port"], row["container_id"], row["container"]) == (20000, identifier(1), None)


def test_the_archive_has_the_columns_also_where_nobody_is_in_a_container(
    group: Path, tmp_path: Path, watch: Callable[..., Watch]
) -> None:
    watching = watch("Network")
    with watching():
        run_in(group, sys.executable, "-c", SEND, "20000")
    (path, *_) = (tmp_path / "archive/measurement=connection.out").rglob("*.parquet")
    assert set(NAMES) <= set(pq.read_schema(path).names)

"""Sockets that are older than the agent have their owner, whichever way it is noted on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Start, Talker, Watch

from ingrain.kernel import cgroup, sockets
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.program import Program
from ingrain.kernel.sockets import Seeding
from ingrain.owners import load_owners

Way = Callable[[Path, Program], Seeding]


@pytest.fixture
def owners() -> Iterator[Program]:
    with load_owners() as program:
        yield program


@pytest.fixture(params=["iterate", "borrow"])
def way(request: pytest.FixtureRequest, group: Path, owners: Program) -> Way:
    """How owners are noted; one that this kernel has not is skipped."""
    chosen: Way = getattr(sockets, request.param)
    try:
        chosen(group, owners)
    except KernelError as error:
        pytest.skip(f"this kernel has no such iterator: {error}")
    return chosen


@pytest.mark.parametrize("family", [4, 6])
def test_what_goes_over_an_older_socket_is_told_as_what_goes_over_a_new_one(
    watch: Callable[..., Watch], start: Start, way: Way, monkeypatch: pytest.MonkeyPatch, family: int
) -> None:
    monkeypatch.setattr(sockets, "seed", way)
    client, server = Talker(start, "the client"), Talker(start, "the server")
    there = server("listen", "l", family=family, proto="tcp")
    client("connect", "old", family=family, proto="tcp", to=there)
    server("accept", "older", **{"from": "l"})
    client("socket", "old too", family=family, proto="udp")
    watched = watch("Network")
    with watched():
        client("send", "old", size=10)
        assert server("receive", "older", size=10) == 10
        client("sendto", "old too", size=20, to=there)
        client("connect", "new", family=family, proto="tcp", to=there)
        server("accept", "newer", **{"from": "l"})
        client("send", "new", size=100)
        assert server("receive", "newer", size=100) == 100
    for talker, way_seen, sizes in ((client, "out", [10, 20, 100]), (server, "in", [10, 100])):
        rows = [row for row in watched.rows(f"volume.{way_seen}") if row["process_id"] == talker.pid and row["value"]]
        assert sorted(row["value"] for row in rows) == sizes
        assert {(row["process"], row["uid"]) for row in rows} == {(talker.name, 0)}
        assert len({row["process_uid"] for row in rows}) == 1


def test_only_sockets_of_the_cgroup_are_noted_and_each_once(
    group: Path, start: Start, owners: Program, way: Way
) -> None:
    talker = Talker(start, "talker")
    for name in ("one", "other"):
        talker("socket", name, family=4, proto="udp")
    inner = group / "inner"
    inner.mkdir()
    assert way(inner, owners).noted == 0
    (inner / "cgroup.procs").write_text(str(talker.pid))
    assert way(group, owners) == Seeding(noted=2)
    assert way(inner, owners) == Seeding(noted=0)
    with cgroup.temporary("ingrain-test-beside") as beside:
        assert way(beside, owners) == Seeding(noted=0)

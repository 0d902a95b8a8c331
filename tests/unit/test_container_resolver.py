"""From cgroups to containers: whose records are believed, and that no user can make the others wait or memory grow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import ID, Host, put

from ingrain.containers import conmon, resolver
from ingrain.containers.documents import listing
from ingrain.containers.known import Container
from ingrain.containers.paths import Engine, Place
from ingrain.containers.record import Record
from ingrain.containers.records import Records
from ingrain.containers.resolver import Resolver

ALICE = 4242
MANAGER = f"user.slice/user-{ALICE}.slice/user@{ALICE}.service"


class Clock:
    """In place of the module's `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Machine:
    """Cgroups in a folder, engines' records in another, and what is asked of these."""

    def __init__(self, folder: Path) -> None:
        self.cgroups, self.host = folder / "cgroups", Host(folder / "host")
        self.cgroups.mkdir()
        self.asked: list[Place] = []
        self.resolver = Resolver(self.cgroups, self.host.root)
        find = self.resolver._records.find

        def ask(place: Place) -> Record | None:
            self.asked.append(place)
            return find(place)

        self.resolver._records.find = ask  # type: ignore[method-assign] # it is the same, and counted
        self.resolver.scan()

    def cgroup(self, path: str, owner: int = 0) -> int:
        """A cgroup; those above it, which are made with it, belong to `owner`."""
        folder = self.cgroups
        for name in path.split("/"):
            folder /= name
            if not folder.exists():
                folder.mkdir()
                os.chown(folder, owner, owner)
        self.resolver.follow()
        return folder.stat().st_ino

    def container(self, cgroup_id: int) -> Container:
        found = self.resolver.known.cgroups[cgroup_id]
        assert found is not None
        return found

    def called(self, cgroup_id: int) -> str | None:
        return self.container(cgroup_id).identity.container


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = Machine(Path(folder))
        yield made
        made.resolver.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(resolver, "time", made)
    return made


def test_a_service_that_may_make_cgroups_passes_for_no_container_but_its_user_s_own(machine: Machine) -> None:
    machine.host.docker(ID, "innocent")
    machine.host.user(ALICE, "/home/alice")
    machine.cgroup("system.slice")
    machine.cgroup("system.slice/hers.service", ALICE)
    forged = machine.cgroup(f"system.slice/hers.service/docker-{ID}.scope", ALICE)
    real = machine.cgroup(f"system.slice/docker-{ID}.scope")
    machine.resolver.refresh()
    assert machine.called(real) == "innocent"
    assert machine.called(forged) is None
    assert machine.container(forged).place.user == ALICE
    machine.host.docker(ID, "hers", data="home/alice/.local/share/docker")
    machine.resolver._look_at(machine.container(forged))
    assert machine.called(forged) == "hers"


def test_a_container_that_is_given_its_own_cgroup_is_still_root_s(machine: Machine) -> None:
    """As runtimes do it where the container has a user namespace of its own."""
    machine.host.docker(ID, "web")
    machine.cgroup("system.slice")
    given = machine.cgroup(f"system.slice/docker-{ID}.scope", 100_000)
    assert machine.called(given) == "web"


def test_one_that_was_never_found_is_looked_for_ever_more_seldom(machine: Machine, clock: Clock) -> None:
    machine.cgroup(MANAGER, ALICE)
    fake = machine.cgroup(f"{MANAGER}/libpod-{ID}.scope", ALICE)
    waits: list[float] = []
    until = clock.now + 600
    while clock.now < until:
        wait = machine.resolver.refresh()
        assert wait is not None
        waits.append(wait)
        clock.now += wait + 1e-6
    assert max(waits) == pytest.approx(60)
    assert waits == sorted(waits)
    assert len(machine.asked) < 30
    assert machine.container(fake).settled


def test_a_name_that_changes_is_seen_soon_also_where_the_first_came_late(machine: Machine, clock: Clock) -> None:
    found = machine.cgroup(f"docker-{ID}.scope")
    for _ in range(20):
        clock.now += machine.resolver.refresh() or 0.0
    machine.host.docker(ID, "first")
    clock.now += 60
    machine.resolver.refresh()
    assert machine.called(found) == "first"
    machine.host.docker(ID, "second")
    clock.now += 2
    machine.resolver.refresh()
    assert machine.called(found) == "second"


def test_users_containers_have_a_share_of_the_time_and_come_behind_root_s(
    machine: Machine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = machine.resolver._records.find

    def slow(place: Place) -> Record | None:
        clock.now += 0.02
        return find(place)

    monkeypatch.setattr(machine.resolver._records, "find", slow)
    machine.cgroup(MANAGER, ALICE)
    for number in range(50):
        machine.cgroup(f"{MANAGER}/libpod-{number:064x}.scope", ALICE)
    assert not machine.asked
    assert machine.resolver.refresh() == pytest.approx(0.5)
    assert len(machine.asked) <= 4
    machine.host.docker(ID, "web")
    before = clock.now
    assert machine.called(machine.cgroup(f"docker-{ID}.scope")) == "web"
    assert clock.now - before < 0.05


def test_only_so_many_containers_of_a_user_are_looked_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "OF_A_USER", 10)
    machine.cgroup(MANAGER, ALICE)
    made = [machine.cgroup(f"{MANAGER}/libpod-{number:064x}.scope", ALICE) for number in range(30)]
    others = [machine.cgroup(f"docker-{number:064x}.scope") for number in range(30)]
    while machine.resolver.refresh() == 0.0:
        pass
    assert len({place.container_id for place in machine.asked if place.user == ALICE}) == 10
    assert len({place.container_id for place in machine.asked if place.user is None}) == len(others)
    assert machine.container(made[-1]).settled
    assert machine.container(made[-1]).identity.container_id == f"{29:064x}"
    for number in range(10):
        (machine.cgroups / MANAGER / f"libpod-{number:064x}.scope").rmdir()
    machine.resolver.follow()
    machine.cgroup(f"{MANAGER}/libpod-{99:064x}.scope", ALICE)
    machine.resolver.refresh()
    assert machine.asked[-1].container_id == f"{99:064x}"


def test_the_name_of_a_user_s_container_is_found_also_when_it_is_gone_at_once(machine: Machine) -> None:
    machine.host.user(ALICE, "/home/alice")
    machine.host.docker(ID, "hers", data="home/alice/.local/share/docker")
    machine.cgroup(MANAGER, ALICE)
    brief = machine.cgroup(f"{MANAGER}/docker-{ID}.scope", ALICE)
    (machine.cgroups / MANAGER / f"docker-{ID}.scope").rmdir()
    machine.resolver.follow()
    machine.resolver.refresh()
    assert machine.called(brief) == "hers"
    assert machine.container(brief).settled


def test_processes_are_looked_through_once_for_all_that_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []

    def counted(folder: Path, limit: int) -> list[str]:
        looked.append(folder)
        return listing(folder, limit)

    monkeypatch.setattr(conmon, "listing", counted)
    monkeypatch.setattr(conmon, "_PAUSE_S", 60.0)
    host = Host(tmp_path)
    host.process(7, "conmon", "-c", ID, "-n", "web")
    records = Records(host.root)
    assert records.find(Place(ID, Engine.PODMAN)) == Record("web")
    for number in range(100):
        assert records.find(Place(f"{number:064x}", Engine.PODMAN)) is None
    assert looked == [host.root / "proc"]


def test_a_user_s_list_is_of_bounded_size_and_what_is_no_container_s_is_not_kept(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.user(ALICE, "/home/alice")
    store = "home/alice/.local/share/containers/storage"
    host.stored(store, {"id": ID, "name": "hers"})
    records = Records(host.root)
    assert records.find(Place(ID, Engine.PODMAN, user=ALICE)) == Record("hers")
    many = [{"id": f"{number}"} for number in range(50_000)]
    put(host.root / store / "overlay-containers/containers.json", [{"id": ID, "names": ["hers"]}, *many])
    os.utime(host.root / store / "overlay-containers/containers.json", (1, 1))
    assert records.find(Place(ID, Engine.PODMAN, user=ALICE)) == Record("hers")
    assert all(len(listed or {}) <= 1 for _stamp, listed in records._storage._users_lists._kept.values())
    host.stored(store, *({"id": f"{number:064x}", "name": "x" * 200} for number in range(3000)))
    assert records.find(Place(f"{1:064x}", Engine.PODMAN, user=ALICE)) is None, "it has more than a megabyte"
    for uid in range(5000, 5020):
        host.user(uid, f"/home/{uid}")
        listed = host.stored(f"home/{uid}/.local/share/containers/storage", {"id": ID, "name": f"of {uid}"})
        os.utime(listed, (1, 1))
        assert Records(host.root).find(Place(ID, Engine.PODMAN, user=uid)) == Record(f"of {uid}")
        records.find(Place(ID, Engine.PODMAN, user=uid))
        assert len(records._storage._users_lists._kept) <= 8

"""Which kernels there are: the newest of each suite, as Debian's own index and dpkg's own order say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from guest import fetch, kernels
from guest.kernels import Kernel, KernelsError
from guest.table import PROPERTY, answers, table


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["6.1.192-2", "6.1.99-1"], "6.1.192-2"),
        (["7.2~rc5-1", "7.2-1", "7.1.9-1"], "7.2-1"),
        (["5.10.223-1", "5.10.223-1+deb11u1"], "5.10.223-1+deb11u1"),
        (["6.12.9-1"], "6.12.9-1"),
    ],
)
def test_the_newest_is_the_newest_in_debian_s_order(versions: list[str], expected: str) -> None:
    assert kernels.newest(versions) == expected
    assert kernels.newest(reversed(versions)) == expected


def make(cache: Path, suite: str, version: str, image: str) -> None:
    folder = cache / version
    (folder / image).parent.mkdir(parents=True)
    (folder / image).touch()
    (folder / "lib" / "modules" / f"{version}-amd64").mkdir(parents=True, exist_ok=True)
    kernels.record(folder, suite, version)


def test_the_newest_that_was_fetched_is_used_and_the_older_ones_are_superseded(tmp_path: Path) -> None:
    make(tmp_path, "bookworm", "6.1.99-1", "boot/vmlinuz-6.1.0-30-amd64")
    make(tmp_path, "bookworm", "6.1.192-2", "boot/vmlinuz-6.1.0-56-amd64")
    make(tmp_path, "sid", "7.2.13-1", "usr/lib/modules/7.2.13+deb14-amd64/vmlinuz")
    (tmp_path / "6.1.200-1").mkdir()  # was not completed
    found = kernels.cached("bookworm", tmp_path)
    assert (found.name, found.version, found.release) == ("6.1", "6.1.192-2", "6.1.192-2-amd64")
    assert found.image == tmp_path / "6.1.192-2/boot/vmlinuz-6.1.0-56-amd64"
    newest = kernels.cached("sid", tmp_path)
    assert newest.image == tmp_path / "7.2.13-1/usr/lib/modules/7.2.13+deb14-amd64/vmlinuz"
    assert kernels.superseded("bookworm", "6.1.192-2", tmp_path) == [tmp_path / "6.1.99-1"]
    assert kernels.cached("trixie", tmp_path) == Kernel("trixie")


def test_packages_without_a_kernel_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "lib" / "modules" / "6.1").mkdir(parents=True)
    with pytest.raises(OSError, match="one vmlinuz was expected"):
        kernels.record(tmp_path, "bookworm", "6.1-1")


THERE = [Kernel("bullseye", "5.10.262-1"), Kernel("bookworm", "6.1.192-2"), Kernel("sid", "7.2.13-1")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, ["6.1"]),
        ("all", ["5.10", "6.1", "7.2"]),
        ("7.2, 5.10", ["7.2", "5.10"]),
        ("native", ["native"]),
    ],
)
def test_kernels_are_chosen_by_their_series(wanted: str | None, expected: list[str]) -> None:
    assert kernels.select(wanted, THERE, "bookworm") == expected


def test_a_kernel_that_is_not_there_is_an_error_that_tells_which_are() -> None:
    with pytest.raises(KernelsError, match=r"there is no 6\.12 here; there are native, 5\.10, 6\.1, 7\.2, and all"):
        kernels.select("6.1,6.12", THERE, "bookworm")


def test_a_suite_of_which_nothing_was_fetched_is_still_asked_for_and_can_only_fail() -> None:
    assert kernels.select(None, [Kernel("bookworm")], "bookworm") == ["bookworm"]


SAME = "(= 7.2.13-1)"
INDEX = {
    "linux-image-amd64": (
        f"Version: 7.2.13-1\nDepends: linux-base-amd64 {SAME}, linux-image-7.2.13+deb14-amd64 {SAME}\nSize: 1692\n"
    ),
    "linux-image-7.2.13+deb14-amd64": (
        f"Depends: dracut | initramfs-tools (>= 0.120), linux-base-7.2.13+deb14-amd64 {SAME}, "
        f"linux-binary-7.2.13+deb14-amd64 {SAME}, linux-modules-7.2.13+deb14-amd64 {SAME}\n"
    ),
    "linux-binary-7.2.13+deb14-amd64": f"Depends: linux-base-7.2.13+deb14-amd64 {SAME}\n",
}


def test_a_kernel_is_all_packages_of_its_own_that_it_depends_on() -> None:
    version, packages = fetch.parts(lambda name: INDEX.get(name, ""), "linux-image-amd64")
    assert version == "7.2.13-1"
    parts = ("image", "base", "binary", "modules")
    assert packages == {f"linux-{part}-7.2.13+deb14-amd64": "7.2.13-1" for part in parts}


def test_an_index_without_a_kernel_is_an_error() -> None:
    with pytest.raises(fetch.FetchError, match="depends on no kernel"):
        fetch.parts(lambda _name: "Version: 1\nDepends: libc6 (>= 2.36)\n", "linux-image-amd64")


@pytest.fixture
def _silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is where nobody listens, and is asked once."""
    monkeypatch.setattr(fetch, "_archives", lambda suite: [[("http://127.0.0.1:9/debian", suite, True)]])
    settings = tmp_path / "apt.conf"
    settings.write_text('Acquire::Retries "0";\n')
    monkeypatch.setenv("APT_CONFIG", str(settings))


@pytest.mark.usefixtures("_silent")
def test_where_the_archive_does_not_answer_the_kernel_that_is_there_is_used_and_that_is_said(tmp_path: Path) -> None:
    make(tmp_path, "bookworm", "6.1.99-1", "boot/vmlinuz-6.1.0-30-amd64")
    told = fetch.fetch("bookworm", tmp_path)
    assert told.startswith("bookworm: 6.1.99-1 is there and is used; whether it is the newest is not known: apt-get")
    assert kernels.cached("bookworm", tmp_path).version == "6.1.99-1"


@pytest.mark.usefixtures("_silent")
def test_where_the_archive_does_not_answer_and_nothing_is_there_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(fetch.FetchError, match="no kernel of bookworm could be fetched, and none is in"):
        fetch.fetch("bookworm", tmp_path)


def test_the_table_tells_every_probe_of_every_kernel_and_why_one_cannot_run() -> None:
    runs = {"probe": "DNS", "runs": True, "hooks": ["cgroup_skb/egress", "cgroup_skb/ingress"]}
    fails = {"probe": "Files", "runs": False, "hooks": [], "reason": "no such hook"}
    properties = [("other", "x")]
    properties += [(PROPERTY, json.dumps([kernel, {"probes": [runs, fails]}])) for kernel in ("5.10", "6.1")]
    assert table(answers(properties)) == [
        "kernel  probe  runs by",
        "5.10    DNS    cgroup_skb/egress, cgroup_skb/ingress",
        "        Files  CANNOT RUN: no such hook",
        "6.1     DNS    cgroup_skb/egress, cgroup_skb/ingress",
        "        Files  CANNOT RUN: no such hook",
    ]

"""Folders as they come and go, seen by inotify; here those of tmpfs, which numbers them anew as kernfs does."""

from __future__ import annotations

import os
import random
import select
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingrain.containers.tree import Tree


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


class Seen:
    """What a tree told: the folders that are there now, by what it said came and went."""

    def __init__(self, root: Path, limit: int = 1 << 14) -> None:
        self.there: dict[int, str] = {}
        self.came: list[str] = []
        self.tree = Tree(root, self._made, self._gone, limit)

    def _made(self, path: str, identifier: int) -> None:
        self.there[identifier] = path
        self.came.append(path)

    def _gone(self, identifier: int) -> None:
        self.there.pop(identifier)

    def read(self) -> None:
        while select.select([self.tree.fd], [], [], 0)[0]:
            self.tree.read()


@contextmanager
def seen(root: Path, limit: int = 1 << 14) -> Iterator[Seen]:
    one = Seen(root, limit)
    try:
        one.tree.scan()
        yield one
    finally:
        one.tree.close()


def really(root: Path) -> dict[int, str]:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    return {path.stat().st_ino: str(path.relative_to(root)).removeprefix(".") for path in folders}


def watches(tree: Tree) -> int:
    return Path(f"/proc/self/fdinfo/{tree.fd}").read_text().count("inotify wd:")


def test_folders_that_are_there_and_those_that_come_later_are_seen_with_their_ids(root: Path) -> None:
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/file").touch()
    with seen(root) as all_:
        assert all_.there == really(root)
        (root / "a/b/d/e/f/g").mkdir(parents=True)  # at once: nobody watches d when e is made
        (root / "h").mkdir()
        (root / "a/another file").touch()
        all_.read()
        assert all_.there == really(root)
        shutil.rmtree(root / "a")
        all_.read()
        assert all_.there == really(root)
        assert watches(all_.tree) == len(really(root))


def test_folders_that_come_and_go_at_random_are_those_that_are_there(root: Path) -> None:
    chance = random.Random(4)
    with seen(root) as all_:
        for _ in range(60):
            for _ in range(chance.randrange(60)):
                path = root.joinpath(*chance.choices("abcd", k=chance.randrange(1, 5)))
                if chance.random() < 0.5:
                    path.mkdir(parents=True, exist_ok=True)
                else:
                    shutil.rmtree(path, ignore_errors=True)
            if chance.random() < 0.7:
                all_.read()
        all_.read()
        assert all_.there == really(root)
        assert watches(all_.tree) == len(all_.there)


def test_a_folder_in_the_place_of_another_is_another(root: Path) -> None:
    with seen(root) as all_:
        for _ in range(50):
            (root / "a/b").mkdir(parents=True)
            shutil.rmtree(root / "a")
        (root / "a/b").mkdir(parents=True)
        all_.read()
        assert all_.there == really(root)


def test_more_than_the_queue_holds_is_found_by_looking_anew(root: Path) -> None:
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    (root / "stays").mkdir()
    (root / "goes/below").mkdir(parents=True)
    with seen(root) as all_:
        for number in range(queue // 2 + 10):
            path = f"{root}/{number}"
            os.mkdir(path)  # noqa: PTH102 - thousands of them
            os.rmdir(path)  # noqa: PTH106
        shutil.rmtree(root / "goes")
        (root / "new/below").mkdir(parents=True)
        all_.read()
        assert all_.there == really(root)
        (root / "new/below/later").mkdir()
        all_.read()
        assert all_.there == really(root)
        assert watches(all_.tree) == len(all_.there)


def test_there_are_no_more_watches_than_its_limit(root: Path) -> None:
    for number in range(30):
        (root / str(number) / "below").mkdir(parents=True)
    with seen(root, limit=20) as all_:
        assert watches(all_.tree) == len(all_.there) == 20
        (root / "31").mkdir()
        all_.read()
        assert watches(all_.tree) == 20
        for path in root.iterdir():
            shutil.rmtree(path)
        all_.read()
        assert watches(all_.tree) == len(all_.there) == 1


def test_links_are_no_folders(root: Path) -> None:
    (root / "root").mkdir()
    (root / "elsewhere").mkdir()
    with seen(root / "root") as all_:
        (root / "root/link").symlink_to(root / "elsewhere")
        all_.read()
        all_.tree.scan()
        assert list(all_.there.values()) == [""]

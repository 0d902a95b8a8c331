"""What the one file unpacks is whole, is nobody else's to change, and is unpacked once."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ingrain.onefile import start
from ingrain.onefile.start import StartError

TREE = {"ingrain/__main__.py": b"there", "carried/libz.so.1": b"\x7fELF", "deep/down/data.json": b"{}"}


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (start.OVERRIDE, "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(start, "PACKAGED", tmp_path / "packaged")
    monkeypatch.setattr(start, "CACHE", tmp_path / "cache")


def program(path: Path, files: dict[str, bytes] = TREE) -> tuple[str, str]:
    """A file like `dist/ingrain` with these files in it; its path and its digest."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(b"\x7fELF, whatever")
    with zipfile.ZipFile(path, "a") as whole:
        whole.writestr(start.PAYLOAD, packed.getvalue())
    return str(path), hashlib.sha256(packed.getvalue()).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_tree_is_unpacked_whole_and_for_nobody_else(tmp_path: Path) -> None:
    made = start.tree(*program(tmp_path / "ingrain"))
    assert contents(made) == TREE
    assert made.parent == tmp_path / "cache"
    assert [path.stat().st_mode & 0o777 for path in (made, made.parent)] == [0o700, 0o700]


def test_a_later_start_finds_it_and_reads_nothing_of_the_file(tmp_path: Path) -> None:
    archive, digest = program(tmp_path / "ingrain")
    made = start.tree(archive, digest)
    Path(archive).unlink()
    assert start.tree(archive, digest) == made


def test_a_packaged_tree_is_used_where_it_is(tmp_path: Path) -> None:
    archive, digest = program(tmp_path / "ingrain")
    there = tmp_path / "packaged" / start.name(digest)
    there.mkdir(parents=True)
    assert start.tree(archive, digest) == there
    assert not (tmp_path / "cache").exists()


def test_starts_at_the_same_time_unpack_once(tmp_path: Path) -> None:
    archive, digest = program(tmp_path / "ingrain")
    code = (
        "import sys, os; from ingrain.onefile import start\n"
        "made = start.tree(sys.argv[1], sys.argv[2]); print(made, os.stat(made).st_ino)"
    )
    environment = {**os.environ, start.OVERRIDE: str(tmp_path / "cache")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, archive, digest], stdout=subprocess.PIPE, env=environment, text=True
        )
        for _ in range(4)
    ]
    told = {one.communicate()[0] for one in started}
    assert [one.returncode for one in started] == [0] * 4
    assert len(told) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [start.name(digest)]


def test_a_damaged_file_leaves_nothing_behind(tmp_path: Path) -> None:
    archive, digest = program(tmp_path / "ingrain")
    content = bytearray(Path(archive).read_bytes())
    at = content.index(b"\xfd7zXZ") + 40
    content[at] ^= 1
    Path(archive).write_bytes(content)
    with pytest.raises(StartError, match="the program's own file is damaged"):
        start.tree(archive, digest)
    assert not list((tmp_path / "cache").iterdir())


def test_what_was_left_of_an_unpacking_that_was_killed_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "cache" / ".partial-1" / "half").mkdir(parents=True)
    (tmp_path / "cache").chmod(0o700)
    made = start.tree(*program(tmp_path / "ingrain"))
    assert list((tmp_path / "cache").iterdir()) == [made]


def test_other_versions_go_unless_they_are_in_use(tmp_path: Path) -> None:
    used, unused = (tmp_path / "cache" / f"tree-{name}" for name in ("used", "unused"))
    for tree in (used, unused):
        (tree / "ingrain").mkdir(parents=True)
    (tmp_path / "cache").chmod(0o700)
    held = os.open(used, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_SH)
        made = start.tree(*program(tmp_path / "ingrain"))
    finally:
        os.close(held)
    assert set((tmp_path / "cache").iterdir()) == {made, used}


def test_a_tree_in_use_is_not_removed_by_the_next_version(tmp_path: Path) -> None:
    old = start.tree(*program(tmp_path / "old"))  # this process uses it from here on
    new = start.tree(*program(tmp_path / "new", {"other": b"files"}))
    assert set((tmp_path / "cache").iterdir()) == {old, new}


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    with pytest.raises(StartError, match=r"cache \(others can write to .*INGRAIN_CACHE=/FOLDER"):
        start.tree(*program(tmp_path / "ingrain"))


def test_a_folder_on_the_way_that_others_can_write_to_is_refused_unless_it_is_sticky(tmp_path: Path) -> None:
    way = tmp_path / "way"
    way.mkdir()
    way.chmod(0o777)
    assert start.distrust(way / "cache").startswith(f"{way / 'cache'}: No such file")
    (way / "cache").mkdir(0o700)
    assert start.distrust(way / "cache") == f"others can write to {way}"
    way.chmod(0o1777)
    assert not start.distrust(way / "cache")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")
def test_a_tree_of_somebody_else_s_is_neither_used_nor_replaced(tmp_path: Path) -> None:
    archive, digest = program(tmp_path / "ingrain")
    theirs = tmp_path / "cache" / start.name(digest)
    theirs.mkdir(parents=True)
    os.chown(theirs, 65534, 65534)
    with pytest.raises(StartError, match="belongs to user 65534"):
        start.tree(archive, digest)
    assert not contents(theirs)


def test_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "cache").symlink_to(tmp_path / "open")
    with pytest.raises(StartError, match=f"others can write to {tmp_path / 'open'}"):
        start.tree(*program(tmp_path / "ingrain"))


def test_it_goes_where_systemd_says_then_to_root_s_then_to_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/one:/two")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert list(start.folders()) == [Path("/one"), start.CACHE, Path("/home/somebody/.cache/ingrain")]
    monkeypatch.setenv("XDG_CACHE_HOME", "/kept")
    assert list(start.folders())[-1] == Path("/kept/ingrain")
    monkeypatch.setenv(start.OVERRIDE, "/here")
    assert list(start.folders()) == [Path("/here")]


def test_who_has_less_rights_than_the_program_has_no_say_in_what_it_loads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive, digest = program(tmp_path / "ingrain")
    monkeypatch.setenv(start.OVERRIDE, str(tmp_path / "mine"))
    start.tree(archive, digest)
    monkeypatch.setitem(sys._xoptions, "packaged", "")
    with pytest.raises(StartError, match=f"its libraries have to be in {start.PACKAGED}"):
        start.tree(archive, digest)


def test_root_s_home_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert list(start.folders()) == [start.CACHE]

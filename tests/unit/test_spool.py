"""Spool: what was finished is there after a crash, as it was; what somebody else put there is never touched."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spooling import KEY, fail_to_sync_folders, names, put, spool

from ingrain.backends import layout
from ingrain.backends.spool import DamagedError, Spool, Spooled, SpoolError, _told

DAY = 86_400_000_000_000


def test_an_object_is_read_back_after_a_restart_with_its_key_and_its_rows(tmp_path: Path) -> None:
    with spool(tmp_path) as first:
        made = [put(first, number, rows=number + 1, content=b"x" * number) for number in range(5)]
    with spool(tmp_path) as second:
        assert sorted(second) == made
        assert [(one.key, one.rows, one.size) for one in made] == [(KEY.format(n), n + 1, n) for n in range(5)]
        for number, one in enumerate(sorted(second)):
            with second.read(one) as file:
                assert file.read() == b"x" * number
        later = put(second)
        assert later > made[-1]


@given(st.text(max_size=40), st.integers(0, 1 << 62), st.integers(1, 1 << 30), st.sampled_from(["parquet", "jsonl"]))
def test_whatever_key_there_is_comes_back_from_the_name_of_its_file(
    measurement: str, first_ns: int, rows: int, form: str
) -> None:
    one = Spooled(1 << 60, rows, 17, layout.key(measurement, first_ns, form))
    assert "/" not in one.name
    assert _told(one.name) == one


@given(st.text(max_size=60) | st.from_regex(r"\A[0-9]{0,25}-[0-9]{0,3}-[0-9]{0,3}-[a-z.,=/-]{0,12}\Z"))
def test_no_other_name_is_taken_for_one_and_none_leads_out_of_the_prefix(name: str) -> None:
    one = _told(name)
    if one is not None:
        assert one.name == name
        assert not any(part in ("", ".", "..") or part.startswith(".") for part in one.key.split("/"))


def test_what_is_not_finished_when_the_process_is_killed_is_swept_up_and_the_rest_is_whole(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; import spooling\n"
        "spool = spooling.Spool.open(Path(sys.argv[1]), None)\n"
        "spooling.put(spool, 1, rows=7, content=b'whole')\n"
        "begun = spool.create(); half = spool.create(); half.write(b'half'); half.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)], check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert sorted(name.rpartition(".")[2] for name in names(tmp_path)) == ["parquet", "part", "part"]
    with spool(tmp_path) as after:
        assert (after.unfinished, after.unfinished_bytes) == (2, 4)
        (one,) = after
        assert (one.rows, one.size) == (7, 5)
    assert names(tmp_path) == [one.name]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_on_a_disk_that_fails_an_object_is_finished_or_it_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    with spool(tmp_path) as made:
        file = made.create()
        fail_to_sync_folders(monkeypatch, renames=renames)
        try:
            finished = [made.commit(file, KEY.format(0), 1)]
        except OSError:
            finished = []
            made.discard(file)
        monkeypatch.undo()
        assert bool(finished) == (renames == 1), "it has its name, and cannot be rid of it"
        assert list(made) == finished
        assert names(tmp_path) == [one.name for one in finished]
        later = put(made, 1)
        assert sorted(made) == [*finished, later]


def test_nobody_else_can_look_into_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "spool"
    old = os.umask(0)
    try:
        with spool(folder) as made:
            made.create().close()
            put(made)
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in names(folder)} == {0o600}
    for mode in (0o701, 0o710, 0o755, 0o777, 0o1777):  # as /, /var and /tmp have it
        folder.chmod(mode)
        with pytest.raises(SpoolError, match="is open to others"):
            Spool.open(folder, None)
        assert stat.S_IMODE(folder.stat().st_mode) == mode, "it may be no folder of the agent's at all"


def test_a_folder_has_one_agent_at_a_time_and_is_free_when_that_ends(tmp_path: Path) -> None:
    with spool(tmp_path), pytest.raises(SpoolError, match="in use, by another agent or pipeline"):
        Spool.open(tmp_path, None)
    with spool(tmp_path):
        pass
    open_now = len(list(Path("/proc/self/fd").iterdir()))
    with spool(tmp_path):
        for _ in range(3):
            with pytest.raises(SpoolError):
                Spool.open(tmp_path, None)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_now


def make_link(path: Path) -> None:
    (path.parent / "target").mkdir()
    path.symlink_to("target")


def make_foreign(path: Path) -> None:
    path.mkdir()
    os.chown(path, 65534, 65534)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_link, "is a link"),
        (lambda path: path.symlink_to("nowhere"), "no folder"),
        (lambda path: path.write_text(""), "no folder"),
        (os.mkfifo, "no folder"),
        (make_foreign, "belongs to user 65534"),
    ],
    ids=["link", "dangling", "file", "fifo", "foreign"],
)
def test_what_is_no_folder_of_this_user_is_no_spool(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    path = tmp_path / "spool"
    make(path)
    with pytest.raises(SpoolError, match=said):
        Spool.open(path, None)


def test_what_others_put_there_is_neither_read_nor_removed_nor_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    folder = tmp_path / "spool"
    with spool(folder) as first:
        mine = put(first)
    name = "17408304000000000{:02}-1-6-a,b.parquet".format
    (folder / name(1)).symlink_to(secret)
    os.mkfifo(folder / name(2))
    (folder / name(3)).mkdir()
    (folder / "7.part").mkdir()
    (folder / name(4)).write_text("theirs")
    os.chown(folder / name(4), 65534, 65534)
    os.link(secret, folder / name(5))
    for other in ("garbage", "1-1-1-../../etc/passwd".replace("/", ","), "1-1-1-.hidden", "x" * 255, "\udcff\n\x1b[2J"):
        (folder / other).write_text("garbage")
    (folder / "8.part").symlink_to(secret)
    (folder / "9.part").write_text("half")
    before = set(names(folder))
    with spool(folder) as second:
        assert list(second) == [mine]
        assert second.unfinished == 2, "links to elsewhere under a name of the spool's own are removed, not followed"
        made = [put(second, number) for number in range(20)]
        assert sorted(second) == [mine, *made]
    assert set(names(folder)) - {one.name for one in made} == before - {"8.part", "9.part"}
    assert secret.read_text() == "root's"
    (message,) = caplog.messages
    assert "holds 11 things that no agent put there" in message
    assert "\x1b" not in message


def damage_size(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2)


def damage_owner(path: Path) -> None:
    os.chown(path, 65534, 65534)


def damage_link(path: Path) -> None:
    os.link(path, path.parent / "other")


def damage_kind(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [damage_size, damage_owner, damage_link, damage_kind, Path.unlink])
def test_what_is_not_as_it_was_put_there_is_not_sent(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    with spool(tmp_path) as made:
        one = put(made)
        damage(tmp_path / one.name)
        with pytest.raises(DamagedError):
            made.read(one)
        made.remove(one)
        made.remove(one)


def test_stamps_rise_however_the_clock_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with spool(tmp_path) as made:
        first = put(made)
        monkeypatch.setattr("time.time_ns", lambda: 0)
        second = put(made)
        assert 0 < second.stamp - first.stamp < 10**11
    with spool(tmp_path) as after:  # at a start only the wall clock tells what time it is
        assert after.now() < 10**12
        assert put(after).stamp == second.stamp + 1


@pytest.mark.parametrize("stamp", [1 << 63, 10**20 - 1])
def test_a_stamp_that_no_clock_has_is_not_the_spool_s_own(tmp_path: Path, stamp: int) -> None:
    name = Spooled(stamp, 1, 4, "a/b.parquet").name
    (tmp_path / name).write_bytes(b"PAR1")
    with spool(tmp_path) as made:
        assert list(made) == []
        one = put(made)
    with spool(tmp_path) as after:
        assert list(after) == [one]
        assert after.age(one) < DAY
    assert set(names(tmp_path)) == {name, one.name}


def test_stamps_go_on_while_the_host_is_suspended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = time.clock_gettime_ns
    with spool(tmp_path) as made:
        first = put(made)
        monkeypatch.setattr(
            time, "clock_gettime_ns", lambda clock: asked(clock) + (DAY if clock == time.CLOCK_BOOTTIME else 0)
        )
        assert put(made).stamp - first.stamp > DAY


def test_an_object_is_no_older_than_its_stamp_or_its_file_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    with spool(tmp_path) as made:
        one = put(made)
        monkeypatch.setattr(time, "time_ns", lambda: now + 3 * DAY)  # set forward
        assert made.age(one) < DAY
        os.utime(tmp_path / one.name, (0, 0))
        assert made.age(one) < DAY
    with spool(tmp_path) as after:
        assert after.age(one) > 2 * DAY
        os.utime(tmp_path / one.name, ns=(now + DAY, now + DAY))
        assert after.age(one) == 2 * DAY
        os.utime(tmp_path / one.name, ns=(now + 9 * DAY, now + 9 * DAY))
        assert after.age(one) == 0
        after.remove(one)
        assert after.age(one) > 2 * DAY


def test_without_a_limit_it_takes_a_tenth_of_the_disk_and_no_more_than_4_gib(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    with spool(tmp_path) as made:
        assert made.limit == min(room.f_blocks * room.f_frsize // 10, 4 << 30)
    with spool(tmp_path, 5) as made:
        assert made.limit == 5

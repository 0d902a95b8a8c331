"""Files on a kernel that traces: beside strace, in containers, and with names that nobody expects."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, Watch

from guest import straced
from guest.acting import Act, Acts, Played, Scene, Told
from guest.containers import Podman
from guest.kept import nothing_kept, until_asleep
from ingrain import tracing
from ingrain.account import ProbeAccount
from ingrain.grains.files import Files
from ingrain.kernel import cgroup, maps

pytestmark = pytest.mark.timeout(900)  # an agent loads 40 programs, and an emulated processor verifies them slowly

HERE = Path(__file__).parent
Making = Callable[..., Watch]
Row = dict[str, Any]
WAYS = ("path", "identity")

acts = Acts()


def settings(*, monitor: list[Path | str] | None = None, ignore: list[Path | str] | None = None, more: str = "") -> str:
    """The probe's lines of a configuration."""
    lines = [] if monitor is None else [f"monitor_dirs = {[str(one) for one in monitor]}"]
    lines += [] if ignore is None else [f"ignore_dirs = {[str(one) for one in ignore]}"]
    return "\n".join([*lines, more])


def play(folder: Path, hooks: str, *only: Act) -> Played:
    """All acts, or only these: their folders are watched, and /etc; what is below `ruled` has rules of its own."""
    monitor: list[Path | str] = [folder / "acts", "/etc"]
    ignore: list[Path | str] = [folder / "acts" / RULED]
    for way in WAYS:
        top = folder / "acts" / RULED / way
        (top / "a" / "b" / "c").mkdir(parents=True)
        monitor += [top, top / "a" / "b"]
        ignore += [top / "a", top / "a" / "b" / "c"]
    more = f'hooks = "{hooks}"\ninterval_ms = 600_000\nbuffer_kb = 16384'  # all counts are read at the end
    return acts.play(folder, "Files", settings(monitor=monitor, ignore=ignore, more=more), only)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("files"), "fentry")


@pytest.fixture(
    params=[
        "fentry",
        pytest.param("kprobe", marks=pytest.mark.matrix),
        pytest.param("no kretprobe", marks=pytest.mark.matrix),
    ]
)
def told_by(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], Told]:
    """What was reported of an act by either kind of hooks; by kprobes, also if no kretprobe sees a call return."""
    if request.param == "fentry":
        shared: Played = request.getfixturevalue("told")
        return shared.__getitem__
    if request.param == "no kretprobe":
        monkeypatch.setitem(tracing.WAYS, "kprobe", (*tracing.WAYS["kprobe"], "kretprobe"))

    def alone(act: Act) -> Told:
        played = play(tmp_path, "kprobe", act)
        whole(played.probe)
        return played[act]

    return alone


def unwatched(scene: Scene, *names: str) -> Path:
    """A folder that nobody watches by its path."""
    folder = scene.folder.parents[1].joinpath("unwatched", scene.folder.name, *names)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def whole(probe: ProbeAccount) -> None:
    """Nothing was lost, and the account adds up."""
    assert (probe.lost, probe.corrupt, probe.malformed, probe.failed, probe.failed_polls) == (0, 0, 0, 0, 0)
    assert probe.uncounted == 0
    assert probe.handed_over == probe.received == probe.told + probe.parts


def test_nothing_of_all_that_was_lost(told: Played) -> None:
    whole(told.probe)


def mine(told: Told, measurement: str) -> list[Row]:
    """Records of what was done, without what programs look up in /etc when they start."""
    return [row for row in told.rows(measurement) if not row["path"].startswith("/etc/")]


EVENTS: dict[str, Callable[[Row], tuple[Any, ...]]] = {  # measurement -> what else it tells, in the words of `straced`
    "file.open": lambda row: ("|".join(sorted(row["flags"].split("|"))),),
    "file.mmap": lambda row: (row["protection"], row["shared"]),
    "file.rename": lambda row: (row["new_path"],),
    "file.link": lambda row: (row["new_path"],),
    "file.create": lambda row: (row["kind"],),
    "file.delete": lambda _row: (),
    "file.chmod": lambda row: (row["mode"],),
    "file.chown": lambda row: (-1 if row["owner"] is None else row["owner"], row["group"]),
    "file.truncate": lambda _row: (),
}


def done(told: Told) -> Counter[straced.Done]:
    """What the probe told, in the words of `straced`."""
    found: Counter[straced.Done] = Counter()
    for measurement, rest in EVENTS.items():
        for row in mine(told, measurement):
            found[measurement, row["process_id"], row["path"], *rest(row)] += row["value"]
    return found


def sums(rows: list[Row], column: str) -> Counter[tuple[int, str]]:
    total: Counter[tuple[int, str]] = Counter()
    for row in rows:
        total[row["process_id"], row["path"]] += row[column]
    return total


@acts
def everything(scene: Scene) -> straced.Straced:
    """What strace saw of a program that does all there is."""
    log = unwatched(scene) / "log"
    strace = ("strace", "-f", "-y", "-s", "0", "-o", log)
    scene.done(*strace, sys.executable, "-I", "-S", HERE / "accesses.py", scene.folder)
    return straced.read(log.read_text(), str(scene.folder))


def test_what_is_told_is_what_strace_saw_of_the_same_script(told_by: Callable[[Act], Told]) -> None:
    told = told_by(everything)
    seen = told.result
    assert len(seen.done) > 30
    assert done(told) == seen.done
    assert sums(mine(told, "file.read"), "value") == seen.read
    assert sums(mine(told, "file.read"), "calls") == seen.reads
    assert sums(mine(told, "file.write"), "value") == seen.written
    assert sums(mine(told, "file.write"), "calls") == seen.writes
    (hidden,) = [row for row in mine(told, "file.open") if "O_TMPFILE" in row["flags"]]
    assert hidden["deleted"]
    created = {Path(row["path"]).name for row in mine(told, "file.open") if row["created"]}
    assert created - {Path(hidden["path"]).name} == {"one", "two", "appended", "third", "file"}


@acts
def overlay(scene: Scene) -> Path:
    """An overlay, made and mounted below the act's folder, in which things are created and deleted; where it is."""
    lower, upper, work, merged = (scene.folder / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower / "old", upper, work, merged):
        folder.mkdir(parents=True)
    (lower / "old" / "file").touch()
    scene.done(
        "unshare", "--mount", "sh", "-euc",
        f"mount -t overlay none -o lowerdir={lower},upperdir={upper},workdir={work} {merged}\n"
        f"cd {merged}; mkdir new; touch new/file; ! rmdir new; rm new/file old/file; mv new newer; rmdir newer old",
    )  # fmt: skip
    return merged


def test_a_deletion_in_an_overlay_is_reported_once_by_the_path_that_was_deleted(told: Played) -> None:
    """overlayfs has the file system below delete its own entry, by the functions that are traced."""
    merged = told[overlay].result
    gone = [row["path"] for row in mine(told[overlay], "file.delete")]
    assert gone == [f"{merged}/{one}" for one in ("new/file", "old/file", "newer", "old")]
    assert [row["path"] for row in mine(told[overlay], "file.create")] == [f"{merged}/new"]


@acts
def layers(scene: Scene) -> Path:
    """In an overlay one file is copied to another by a call that overlayfs makes again below, and one is copied up."""
    lower, upper, work, merged = (scene.folder / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower / "etc", upper, work, merged):
        folder.mkdir(parents=True)
    (lower / "old").write_bytes(bytes(1000))
    (lower / "etc" / "passwd").write_bytes(bytes(500))
    code = f"""
import os
os.chdir({str(merged)!r})
old, new = os.open("old", os.O_RDONLY), os.open("new", os.O_RDWR | os.O_CREAT)
assert os.copy_file_range(old, new, 1000) == 1000
os.close(os.open("etc/passwd", os.O_WRONLY))
"""
    script = (
        f"mount -t overlay none -o lowerdir={lower},upperdir={upper},workdir={work} {merged}\nexec {sys.executable}"
    )
    scene.done("unshare", "--mount", "sh", "-euc", f'{script} -ISc "$1"', "sh", code)
    return merged


def test_bytes_in_an_overlay_are_those_of_its_own_files_and_what_it_does_below_is_nobody_s(told: Played) -> None:
    merged = told[layers].result
    devices = {row["path"]: (row["inode"], row["device"]) for row in mine(told[layers], "file.open")}
    moved = {
        name: [row for row in told[layers].rows(name) if Path(row["path"]).name in {"old", "new", "passwd"}]
        for name in ("file.read", "file.write")
    }
    assert [(row["path"], row["value"]) for row in moved["file.read"]] == [(f"{merged}/old", 1000)]
    assert [(row["path"], row["value"]) for row in moved["file.write"]] == [(f"{merged}/new", 1000)]
    assert all((row["inode"], row["device"]) == devices[row["path"]] for rows in moved.values() for row in rows)


@acts
def moved_in(scene: Scene) -> None:
    """Files, one of them in a folder, are written where nobody looks, moved into a watched directory, and written."""
    outside = unwatched(scene)
    code = f"""
import os
os.chdir({str(outside)!r})
os.mkdir("folder")
for name in ("file", "folder/file"):
    file = os.open(name, os.O_CREAT | os.O_RDWR)
    os.write(file, b"before")
    os.rename(name.partition("/")[0], {str(scene.folder)!r} + "/" + name.partition("/")[0])
    os.write(file, b"behind")
"""
    scene.done(sys.executable, "-ISc", code)


def test_what_is_moved_into_a_watched_directory_is_seen_at_once(told: Played) -> None:
    written = mine(told[moved_in], "file.write")
    assert [(row["path"].partition("/moved_in/")[2], row["value"]) for row in written] == [
        ("file", 6),
        ("folder/file", 6),
    ]


@acts
def deep(scene: Scene) -> None:
    """A file below so many folders that its path is longer than what is kept of one."""
    code = f"""
import os
os.chdir({str(scene.folder)!r})
for _ in range(25):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
file = os.open("deep", os.O_CREAT | os.O_WRONLY)
os.write(file, b"text")
os.rename("deep", "deeper")
os.unlink("deeper")
"""
    scene.done(sys.executable, "-ISc", code)


def test_a_file_is_not_hidden_by_how_deep_it_is_below_a_watched_directory(told: Played) -> None:
    by_name = {name: mine(told[deep], name) for name in ("file.open", "file.write", "file.rename", "file.delete")}
    names = {name: [(Path(row["path"]).name, row["path_cut"]) for row in rows] for name, rows in by_name.items()}
    assert names == {
        "file.open": [("deep", True)],
        "file.write": [("deep", True)],
        "file.rename": [("deep", True)],
        "file.delete": [("deeper", True)],
    }
    assert len(mine(told[deep], "file.create")) == 25


@acts
def etc_passwd(scene: Scene) -> tuple[dict[str, int], range, Path]:
    """By the shell, cat, a child with the descriptor, mmap, a container, a bind mount, and a rename onto it.

    The process of each, when it all was (ns), and where /etc is bound.
    """
    elsewhere, root, copy = unwatched(scene, "elsewhere"), unwatched(scene, "root"), unwatched(scene, "etc")
    for name in ("etc", "bin", "old"):
        (root / name).mkdir()
    (copy / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "passwd").write_text("contained\n")
    shutil.copy(shutil.which("busybox") or "", root / "bin" / "busybox")
    python = f"{sys.executable} -I -S"
    ways = {
        "shell": "exec 3< /etc/passwd; read line <&3; echo $$",
        "cat": "cat /etc/passwd > /dev/null & echo $!; wait",
        "child": f"""{python} -c '
import os
file = os.open("/etc/passwd", os.O_RDONLY)
child = os.fork()
if not child:
    os.read(file, 10)
    os._exit(0)
os.waitpid(child, 0)
print(child)'""",
        "mmap": f"""{python} -c '
import mmap, os
mmap.mmap(os.open("/etc/passwd", os.O_RDONLY), 0, prot=mmap.PROT_READ)[:]
print(os.getpid())'""",
        "bind": f"mount --bind /etc {elsewhere}; cat {elsewhere}/passwd > /dev/null & echo $!; wait",
        "rename": "cp /etc/passwd /etc/new; mv /etc/new /etc/passwd & echo $!; wait",
        "container": f"""
mount -t tmpfs none {root}/old; mount --bind {root} {root}; cd {root}; pivot_root . old
/bin/busybox sh -c 'echo $$; exec /bin/busybox cat /etc/passwd > /gone'""",
    }
    pids = {}
    began = time.time_ns()
    # A mount namespace of their own each, in which /etc is the copy, but where it is to be known by what it is.
    for way, script in ways.items():
        inside = script if way == "bind" else f"mount --bind {copy} /etc\n{script}"
        pids[way] = int(scene.done("unshare", "--mount", "sh", "-euc", inside).split()[-1])
    return pids, range(began, time.time_ns() + 1), elsewhere


def test_who_accessed_etc_passwd_is_answered_from_the_archive(told: Played) -> None:
    pids, when, elsewhere = told[etc_passwd].result
    measured = ("file.open", "file.read", "file.mmap", "file.rename", "file.write")
    rows = {name: told[etc_passwd].rows(name) for name in measured}

    def of(way: str, measurement: str) -> set[str]:
        return {row["path"] for row in rows[measurement] if row["process_id"] == pids[way]}

    for way in ("shell", "cat", "container"):
        assert "/etc/passwd" in of(way, "file.open") & of(way, "file.read"), way
    assert of("child", "file.open") == set()
    assert of("child", "file.read") == {"/etc/passwd"}
    assert "/etc/passwd" in of("mmap", "file.mmap")
    assert f"{elsewhere}/passwd" in of("bind", "file.open") & of("bind", "file.read")
    (renamed,) = rows["file.rename"]
    assert (renamed["process_id"], renamed["path"]) == (pids["rename"], "/etc/new")
    assert renamed["new_path"] == "/etc/passwd"
    assert all(row["timestamp"] in when for name in measured for row in rows[name])


RULED = "ruled"
"""A folder with one for each way it is seen by: that is watched, `a` in it ignored, `a/b` watched, `a/b/c` ignored."""


def ruled(scene: Scene, way: str) -> Path:
    """Files are written and moved in all of these; where they are seen."""
    top = scene.folder / way
    seen_at = unwatched(scene, "mounted") if way == "identity" else top
    (top / "ab").mkdir()
    beside = top.with_name(f"{way}per")
    beside.mkdir()
    touched = ["0", "a/1", "a/b/2", "a/b/c/3", "ab/4"]
    script = f"mount --bind {top} {seen_at}\n" if way == "identity" else ""
    script += "".join(f": > {seen_at}/{one}\n" for one in touched) + f": > {beside}/5\n"
    script += "".join(f"echo text >> {seen_at}/{one}\n" for one in touched) + f"echo text >> {beside}/5\n"
    script += f"mv {seen_at}/a/1 {seen_at}/a/b/c/1; mv {seen_at}/a/b/2 {seen_at}/a/2; rm {seen_at}/a/b/c/1"
    scene.done("unshare", "--mount", "sh", "-euc", script)
    return seen_at


for _way in WAYS:
    acts.add(_way, partial(ruled, way=_way), folder=RULED)


@pytest.mark.parametrize("way", WAYS)
def test_the_nearest_directory_with_a_rule_decides(told: Played, way: str) -> None:
    """Of siblings with longer names nothing is said."""
    seen_at = told[way].result
    expected = {f"{seen_at}/{one}" for one in ("0", "a/b/2", "ab/4")}
    assert {row["path"] for row in mine(told[way], "file.open")} == expected
    assert {row["path"]: row["value"] for row in mine(told[way], "file.write")} == dict.fromkeys(expected, 5)
    (renamed,) = mine(told[way], "file.rename")
    assert (renamed["path"], renamed["new_path"]) == (f"{seen_at}/a/b/2", f"{seen_at}/a/2")
    assert mine(told[way], "file.delete") == []


@acts
def small_reads(scene: Scene) -> Path:
    """A file of 64 MB, 4 KB at a time."""
    big = scene.folder / "big"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    scene.done("dd", f"if={big}", "of=/dev/null", "bs=4096", "status=none")
    return big


def test_many_small_reads_of_a_process_are_one_record_an_interval_with_every_byte(told: Played) -> None:
    (row,) = mine(told[small_reads], "file.read")
    assert (row["path"], row["process"], row["value"]) == (str(told[small_reads].result), "dd", 64 << 20)
    assert row["calls"] == (64 << 20) // 4096 + 1  # the last finds the end


@acts
def opened_and_read(scene: Scene) -> tuple[dict[str, int], int]:
    """Paths and sizes of many files, and how many events that was."""
    files = {str(scene.folder / str(number)): number for number in range(200)}
    for path, size in files.items():
        Path(path).write_text("x" * size)
    before = scene.agent.account().probes[0].handed_over
    code = f"for number in range({len(files)}): open({str(scene.folder)!r} + f'/{{number}}').read()"
    scene.done(sys.executable, "-I", "-S", "-c", code)
    return files, scene.agent.account().probes[0].handed_over - before


def test_a_file_that_is_opened_and_read_at_once_is_one_event(told: Played) -> None:
    files, events = told[opened_and_read].result
    opened, read = mine(told[opened_and_read], "file.open"), mine(told[opened_and_read], "file.read")
    assert {row["path"]: row["value"] for row in read} == files
    begun = {row["path"]: row["timestamp"] for row in opened}
    assert begun.keys() == files.keys()
    assert all(begun[row["path"]] < row["timestamp"] for row in read), "the time is that of the first reading"
    assert events == sum(row["value"] for name in EVENTS for row in told[opened_and_read].rows(name))


HOSTILE = [
    b"new\nline",
    b"\x1b[31mred\x1b[0m",
    b"not utf-8 \xff\xfe",
    b"\\backslash",
    "rtl \u202e".encode(),
    b"n" * 255,
    b"x|c\nfoo:1",
    b" ",
    "\N{SNOWMAN}".encode() * 85,
]


@acts
def hostile_names(scene: Scene) -> str:
    folder = os.fsencode(scene.folder)
    scene.done(
        sys.executable, "-I", "-S", "-c",
        f"import os\nfor name in {HOSTILE!r}:\n os.close(os.open({folder!r} + b'/' + name, os.O_CREAT | os.O_WRONLY))",
    )  # fmt: skip
    return f"{scene.folder}/"


def test_any_name_is_told_as_it_is_and_harmless(told: Played) -> None:
    folder = told[hostile_names].result
    names = [row["path"].removeprefix(folder) for row in mine(told[hostile_names], "file.open")]
    assert names == [
        "new\\x0aline",
        "\\x1b[31mred\\x1b[0m",
        "not utf-8 \\xff\\xfe",
        "\\\\backslash",
        "rtl \\u202e",
        "n" * 255,
        "x|c\\x0afoo:1",
        " ",
        "\N{SNOWMAN}" * 85,
    ]


@acts
def short_lived(scene: Scene) -> list[int]:
    """Readers that end at once; their ids."""
    small = scene.folder / "small"
    small.write_text("twelve bytes")
    script = f"for i in 1 2 3; do cat {small} & echo; echo $!; wait; done"
    return [int(line) for line in scene.done("sh", "-euc", script).replace("twelve bytes", "").split()]


def test_reads_of_processes_that_have_ended_keep_their_process(told: Played) -> None:
    pids, rows = told[short_lived].result, mine(told[short_lived], "file.read")
    assert sorted((row["process_id"], row["process"], row["value"]) for row in rows) == [
        (pid, "cat", 12) for pid in sorted(pids)
    ]
    opened = {row["process_id"]: row["process_uid"] for row in mine(told[short_lived], "file.open")}
    assert {row["process_id"]: row["process_uid"] for row in rows} == opened


@acts
def other_ways(scene: Scene) -> tuple[str, list[int]]:
    """io_uring and a file handle: the file, the process's id and what each request moved."""
    file = scene.folder / "u"
    return str(file), list(map(int, scene.done(sys.executable, "-I", "-S", HERE / "uring.py", file).split()))


def test_io_uring_and_file_handles_are_no_way_around(told: Played) -> None:
    file, (pid, *moved) = told[other_ways].result
    assert moved[:3] == [1000, 700, 9]
    opened = [row["flags"] for row in mine(told[other_ways], "file.open") if row["path"] == file]
    assert opened == ["O_RDWR|O_CREAT", "O_WRONLY"]
    names_requests = b"io_cqe" in Path("/sys/kernel/btf/vmlinux").read_bytes()  # since Linux 5.19: probes/uring.h
    written, read = mine(told[other_ways], "file.write"), mine(told[other_ways], "file.read")
    if names_requests:
        assert moved[3:] == [500, 300], "requests without a completion"
    assert sums(written, "value") == ({(pid, file): 1500} if names_requests else {})
    assert sums(read, "value") == ({(pid, file): 1009} if names_requests else {})
    assert sums(read, "calls") == ({(pid, file): 3} if names_requests else {})


def shell(start: Start, script: str) -> None:
    """A script in the test's cgroup, to its end."""
    assert start("sh", "-euc", script).wait() == 0


def test_only_what_is_asked_for_is_reported(watch: Making, start: Start, tmp_path: Path) -> None:
    asked = ["file.open", "file.write", "file.delete"]
    watching = watch("Files", extra=settings(monitor=[tmp_path], more=f"measurements = {asked}"))
    with watching() as agent:
        (probe,) = agent.probes
        hooks = {hook.partition("/")[2] for hook in probe.program.hooks.values()}
        shell(start, f"cd {tmp_path}; echo text > a; cat a; mv a b; mkdir c; rmdir c; chmod 600 b; ln b d; rm b d")
    assert {"do_filp_open", "do_file_open"} & hooks
    assert {"vfs_write", "vfs_unlink"} < hooks
    assert not {"vfs_read", "vfs_rename", "vfs_mkdir", "chmod_common", "vm_mmap_pgoff", "do_truncate"} & hooks
    told = {name: len(watching.rows(name)) for name in (one.name for one in Files.measurements)}
    assert {name for name, count in told.items() if count} == {*asked}
    assert sum(row["value"] for row in watching.rows("file.write")) == len("text\n")
    assert [Path(row["path"]).name for row in watching.rows("file.delete")] == ["c", "b", "d"]
    whole(watching.account.probes[0])


@pytest.mark.matrix
def test_opens_that_wait_for_ever_hide_no_other(watch: Making, start: Start, tmp_path: Path) -> None:
    """A kretprobe follows only a few calls of a function at a time."""
    watched, fifo = tmp_path / "watched", tmp_path / "fifo"
    watched.mkdir()
    os.mkfifo(fifo)
    watching = watch("Files", extra=settings(monitor=[watched], more='hooks = "kprobe"'))
    with watching():
        wait = f"threading.Thread(target=os.open, args=({str(fifo)!r}, 0)).start()"
        waiting = start(sys.executable, "-ISc", f"import os, threading\nfor _ in range(100): {wait}")
        until_asleep(waiting.pid, 101)
        shell(start, f"echo text > {watched}/file; read line < {watched}/file; echo more >> {watched}/file")
        waiting.kill()
    opened = [row["flags"] for row in watching.rows("file.open")]
    assert opened == ["O_WRONLY|O_CREAT|O_TRUNC", "O_RDONLY", "O_WRONLY|O_CREAT|O_APPEND"]
    assert sum(row["value"] for row in watching.rows("file.write")) == len("text\nmore\n")
    (probe,) = watching.account.probes
    assert probe.missed > 0, "opens for execution have no descriptor by which to follow them: they are counted"


@pytest.mark.parametrize("hooks", ["fentry", pytest.param("kprobe", marks=pytest.mark.matrix)])
def test_nothing_is_kept_of_threads_that_have_ended_and_what_finds_no_room_is_counted(
    hooks: str, watch: Making, start: Start, tmp_path: Path
) -> None:
    watching = watch("Files", extra=settings(monitor=[tmp_path], more=f'hooks = "{hooks}"'))
    with watching() as agent:
        (probe,) = agent.probes
        assert start(sys.executable, "-I", "-S", HERE / "accesses.py", tmp_path).wait() == 0
        assert nothing_kept(probe, "changes", "u4", "change")
        assert nothing_kept(probe, "calls", "u4", "calls")
        missed = probe.account().missed
        for number in range(8192):
            maps.put(
                probe.program.maps["changes"], (number | 1 << 31).to_bytes(4, "little"),
                bytes(probe.program.dtype("change").itemsize),
            )  # fmt: skip
        shell(start, f"mkdir {tmp_path}/missed")
        assert probe.account().missed > missed
    assert [row for row in watching.rows("file.create") if row["path"].endswith("missed")] == []


def test_paths_are_whole_up_to_4096_bytes_and_marked_beyond(watch: Making, start: Start, tmp_path: Path) -> None:
    """Folders within each other, each entered from the one above: no system call takes such a path."""
    script = f"""
import os
os.chdir({str(tmp_path)!r})
base = len(os.getcwd())
os.close(os.open("first", os.O_CREAT | os.O_WRONLY))
length = base
while length + 201 <= 4000:
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
    length += 201
last = "f" * (4096 - 1 - length)
for name in (last, last + "g"):
    if len(name) <= 255:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
for _ in range(1500):
    os.mkdir("x")
    os.chdir("x")
os.close(os.open("deep", os.O_CREAT | os.O_WRONLY))
print(length)
"""
    watching = watch("Files", extra=settings(monitor=["/"], ignore=["/proc"], more="buffer_kb = 16384"))
    with watching():
        program = start(sys.executable, "-I", "-S", "-c", script)
        length = int(program.communicate()[0])
    rows = {Path(row["path"]).name: row for row in watching.rows("file.open") if row["created"]}
    assert not rows["first"]["path_cut"]
    last = "f" * (4096 - 1 - length)
    assert len(rows[last]["path"]) == 4096
    assert not rows[last]["path_cut"]
    assert rows[last]["path"].startswith(str(tmp_path))
    assert rows[last + "g"]["path_cut"]
    assert rows[last + "g"]["path"].startswith(".../")
    assert rows["deep"]["path_cut"]
    assert rows["deep"]["path"].endswith("/x/x/x/deep")
    whole(watching.account.probes[0])


def test_a_container_s_own_etc_is_etc_and_the_record_has_its_name(tmp_path: Path, podman: Podman) -> None:
    """A real one, whose root is a folder of the host: there, its /etc has another path, and is not watched."""
    parent = "libpod_parent"  # the cgroup that podman's are below
    (cgroup.mount() / parent).mkdir(exist_ok=True)
    watching = Watch(
        f'[[probe]]\npipelines = ["archive"]\n[probe.config]\ntype = "Files"\ncgroup = "{parent}"\n'
        f"{settings(monitor=['/etc'])}\n"
        f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\n',
        tmp_path,
    )
    script = "cat /etc/passwd; echo guest >> /etc/passwd; echo elsewhere > /tmp/passwd"
    with watching(), podman.run("accounts", script) as container:
        assert podman.wait(container) == 0
    opened = [row for row in watching.rows("file.open") if row["path"].endswith("/passwd")]
    assert [(row["process"], row["path"], row["container"]) for row in opened] == [
        ("cat", "/etc/passwd", "accounts"),
        ("sh", "/etc/passwd", "accounts"),
    ]
    (written,) = [row for row in watching.rows("file.write") if row["path"].endswith("/passwd")]
    assert (written["path"], written["value"], written["container_id"]) == ("/etc/passwd", 6, container.id)
    whole(watching.account.probes[0])

"""Files on a kernel that traces: beside strace, in containers, and with names that nobody expects."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, Watch

from guest import straced
from guest.containers import Podman
from guest.kept import nothing_kept
from ingrain import tracing
from ingrain.grains.files import Files
from ingrain.kernel import cgroup, maps

pytestmark = pytest.mark.timeout(900)  # a test loads 40 programs, and an emulated processor verifies them slowly

HERE = Path(__file__).parent
Making = Callable[..., Watch]
Row = dict[str, Any]


def settings(*, monitor: list[Path | str] | None = None, ignore: list[Path | str] | None = None, more: str = "") -> str:
    """The probe's lines of a configuration."""
    lines = [] if monitor is None else [f"monitor_dirs = {[str(one) for one in monitor]}"]
    lines += [] if ignore is None else [f"ignore_dirs = {[str(one) for one in ignore]}"]
    return "\n".join([*lines, more])


def run(start: Start, *command: str | Path, **more: Any) -> str:
    """A program in the test's cgroup, to its end; what it printed."""
    program = start(*command, stderr=subprocess.PIPE, **more)
    out, err = program.communicate(timeout=250)
    assert program.returncode == 0, err
    return out


def shell(start: Start, script: str) -> str:
    return run(start, "sh", "-euc", script)


def whole(watch: Watch) -> None:
    """Nothing was lost, and the account adds up."""
    (probe,) = watch.account.probes
    assert (probe.lost, probe.corrupt, probe.malformed, probe.failed, probe.failed_polls) == (0, 0, 0, 0, 0)
    assert probe.uncounted == 0
    assert probe.handed_over == probe.received == probe.told + probe.parts


def done(watch: Watch) -> Counter[straced.Done]:
    """What the probe told, in the words of `straced`."""
    told: Counter[straced.Done] = Counter()
    columns: dict[str, Callable[[Row], tuple[Any, ...]]] = {
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
    for measurement, rest in columns.items():
        for row in watch.rows(measurement):
            told[measurement, row["process_id"], row["path"], *rest(row)] += row["value"]
    return told


def sums(rows: list[Row], column: str) -> Counter[tuple[int, str]]:
    total: Counter[tuple[int, str]] = Counter()
    for row in rows:
        total[row["process_id"], row["path"]] += row[column]
    return total


@pytest.mark.parametrize(
    "hooks",
    [
        "fentry",
        pytest.param("kprobe", marks=pytest.mark.matrix),
        pytest.param("no kretprobe", marks=pytest.mark.matrix),
    ],
)
def test_what_is_told_is_what_strace_saw_of_the_same_script(
    hooks: str, watch: Making, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no kretprobe sees an end, as when all that the kernel can follow wait."""
    if hooks == "no kretprobe":
        monkeypatch.setitem(tracing.WAYS, "kprobe", (*tracing.WAYS["kprobe"], "kretprobe"))
        hooks = "kprobe"
    folder = (tmp_path / "files").resolve()
    folder.mkdir()
    watching = watch("Files", extra=settings(monitor=[folder], more=f'hooks = "{hooks}"'))
    with watching():
        run(
            start, "strace", "-f", "-y", "-s", "0", "-o", tmp_path / "log",
            sys.executable, "-I", "-S", HERE / "accesses.py", folder,
        )  # fmt: skip
    seen = straced.read((tmp_path / "log").read_text(), str(folder))
    assert len(seen.done) > 30
    assert done(watching) == seen.done
    assert sums(watching.rows("file.read"), "value") == seen.read
    assert sums(watching.rows("file.read"), "calls") == seen.reads
    assert sums(watching.rows("file.write"), "value") == seen.written
    assert sums(watching.rows("file.write"), "calls") == seen.writes
    (hidden,) = [row for row in watching.rows("file.open") if "O_TMPFILE" in row["flags"]]
    assert hidden["deleted"]
    created = {Path(row["path"]).name for row in watching.rows("file.open") if row["created"]}
    assert created - {Path(hidden["path"]).name} == {"one", "two", "appended", "third", "file"}
    whole(watching)


@pytest.mark.matrix
def test_opens_that_wait_for_ever_hide_no_other(watch: Making, start: Start, tmp_path: Path) -> None:
    """A kretprobe follows some calls of a function at a time, ten or as many as there are processors, or so."""
    watched, fifo = tmp_path / "watched", tmp_path / "fifo"
    watched.mkdir()
    os.mkfifo(fifo)
    watching = watch("Files", extra=settings(monitor=[watched], more='hooks = "kprobe"'))
    with watching():
        wait = f"threading.Thread(target=os.open, args=({str(fifo)!r}, 0)).start()"
        waiting = start(sys.executable, "-ISc", f"import os, threading\nfor _ in range(100): {wait}")
        until_waiting(waiting.pid, 101)
        shell(start, f"echo text > {watched}/file; read line < {watched}/file; echo more >> {watched}/file")
        waiting.kill()
    opened = [row["flags"] for row in watching.rows("file.open")]
    assert opened == ["O_WRONLY|O_CREAT|O_TRUNC", "O_RDONLY", "O_WRONLY|O_CREAT|O_APPEND"]
    assert sum(row["value"] for row in watching.rows("file.write")) == len("text\nmore\n")
    (probe,) = watching.account.probes
    assert probe.missed > 0, "what programs were opened to be executed is not known: that was counted"


def until_waiting(pid: int, threads: int) -> None:
    """A process has so many threads, and all of them sleep."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
        if states == ["S"] * threads:
            return
        time.sleep(0.1)
    pytest.fail(f"not all of {threads} threads came to wait: {states}")


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
    whole(watching)


def test_what_an_overlay_deletes_is_told_once_with_the_path_that_was_deleted(
    watch: Making, start: Start, tmp_path: Path
) -> None:
    """overlayfs has the file system below delete the entry there, by the functions that are traced."""
    lower, merged = tmp_path / "lower", tmp_path / "merged"
    for folder in (lower / "old", merged, tmp_path / "upper", tmp_path / "work"):
        folder.mkdir(parents=True)
    (lower / "old" / "file").touch()
    watching = watch("Files", extra=settings(monitor=[tmp_path]))
    with watching():
        run(
            start, "unshare", "--mount", "sh", "-euc",
            f"mount -t overlay none -o lowerdir={lower},upperdir={tmp_path}/upper,workdir={tmp_path}/work {merged}\n"
            f"cd {merged}; mkdir new; touch new/file; ! rmdir new; rm new/file old/file; mv new newer; rmdir newer old",
        )  # fmt: skip
    gone = [row["path"] for row in watching.rows("file.delete")]
    assert gone == [f"{merged}/{one}" for one in ("new/file", "old/file", "newer", "old")]
    assert [row["path"] for row in watching.rows("file.create")] == [f"{merged}/new"]
    whole(watching)


@pytest.mark.parametrize("hooks", ["fentry", pytest.param("kprobe", marks=pytest.mark.matrix)])
def test_nothing_is_kept_of_threads_that_have_ended_and_what_finds_no_room_is_counted(
    hooks: str, watch: Making, start: Start, tmp_path: Path
) -> None:
    watching = watch("Files", extra=settings(monitor=[tmp_path], more=f'hooks = "{hooks}"'))
    with watching() as agent:
        (probe,) = agent.probes
        run(start, sys.executable, "-I", "-S", HERE / "accesses.py", tmp_path)
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


def test_who_accessed_etc_passwd_is_answered_from_the_archive(watch: Making, start: Start, tmp_path: Path) -> None:
    """By the shell, cat, a child with the descriptor, mmap, a container, a bind mount, and a rename onto it."""
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    for place in (elsewhere, root / "etc", root / "bin", root / "old"):
        place.mkdir(parents=True)
    copy = tmp_path / "etc"
    copy.mkdir()
    (copy / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "passwd").write_text("contained\n")
    busybox = subprocess.run(["sh", "-c", "command -v busybox"], check=True, capture_output=True, text=True).stdout
    (root / "bin" / "busybox").write_bytes(Path(busybox.strip()).read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
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
    watching = watch("Files", extra=settings(monitor=["/etc"]))
    pids = {}
    began = time.time_ns()
    # A mount namespace of their own each, in which /etc is the copy, but where it is to be known by what it is.
    with watching():
        for way, script in ways.items():
            inside = script if way == "bind" else f"mount --bind {copy} /etc\n{script}"
            pids[way] = int(run(start, "unshare", "--mount", "sh", "-euc", inside).split()[-1])
    ended = time.time_ns()
    rows = {name: watching.rows(name) for name in ("file.open", "file.read", "file.mmap", "file.rename", "file.write")}

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
    assert all(began <= row["timestamp"] <= ended for measured in rows.values() for row in measured)
    whole(watching)


@pytest.mark.parametrize("by", ["path", pytest.param("identity", marks=pytest.mark.matrix)])
def test_the_nearest_directory_with_a_rule_decides(by: str, watch: Making, start: Start, tmp_path: Path) -> None:
    """watch top, ignore top/a, watch top/a/b, ignore top/a/b/c; of siblings with longer names nothing is said."""
    top = tmp_path / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "topper").mkdir()
    (top / "ab").mkdir()
    seen_at = tmp_path / "mounted" if by == "identity" else top
    seen_at.mkdir(exist_ok=True)
    watching = watch("Files", extra=settings(monitor=[top, top / "a" / "b"], ignore=[top / "a", top / "a/b/c"]))
    touched = ["0", "a/1", "a/b/2", "a/b/c/3", "ab/4"]
    script = f"mount --bind {top} {seen_at}\n" if by == "identity" else ""
    script += "".join(f": > {seen_at}/{one}\n" for one in touched) + f": > {tmp_path}/topper/5\n"
    script += "".join(f"echo text >> {seen_at}/{one}\n" for one in touched) + f"echo text >> {tmp_path}/topper/5\n"
    script += f"mv {seen_at}/a/1 {seen_at}/a/b/c/1; mv {seen_at}/a/b/2 {seen_at}/a/2; rm {seen_at}/a/b/c/1"
    with watching():
        run(start, "unshare", "--mount", "sh", "-euc", script)
    expected = {f"{seen_at}/{one}" for one in ("0", "a/b/2", "ab/4")}
    assert {row["path"] for row in watching.rows("file.open")} == expected
    assert {row["path"]: row["value"] for row in watching.rows("file.write")} == dict.fromkeys(expected, 5)
    (renamed,) = watching.rows("file.rename")
    assert (renamed["path"], renamed["new_path"]) == (f"{seen_at}/a/b/2", f"{seen_at}/a/2")
    assert watching.rows("file.delete") == []
    whole(watching)


def test_many_small_reads_are_a_handful_of_records_with_every_byte(watch: Making, start: Start, tmp_path: Path) -> None:
    size = 64 << 20
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(size)
    watching = watch("Files", extra=settings(monitor=[tmp_path]))
    with watching():
        reader = start("dd", f"if={big}", "of=/dev/null", "bs=4096", "status=none")
        assert reader.wait(250) == 0
    rows = [row for row in watching.rows("file.read") if row["process_id"] == reader.pid]
    assert {row["path"] for row in rows} == {str(big)}
    assert sum(row["value"] for row in rows) == size
    assert sum(row["calls"] for row in rows) == size // 4096 + 1  # the last finds the end
    assert len(rows) < 250
    assert len({row["process_uid"] for row in rows}) == 1
    whole(watching)


def test_a_file_that_is_opened_and_read_at_once_is_one_event(watch: Making, start: Start, tmp_path: Path) -> None:
    folder, count = tmp_path / "many", 200
    folder.mkdir()
    for number in range(count):
        (folder / str(number)).write_text("x" * number)
    watching = watch("Files", extra=settings(monitor=[folder], more="interval_ms = 60_000"))
    with watching():
        script = f"for number in range({count}): open({str(folder)!r} + f'/{{number}}').read()"
        run(start, sys.executable, "-I", "-S", "-c", script)
    opened, read = watching.rows("file.open"), watching.rows("file.read")
    assert {row["path"]: row["value"] for row in read} == {str(folder / str(n)): n for n in range(count)}
    begun = {row["path"]: row["timestamp"] for row in opened}
    assert all(begun[row["path"]] < row["timestamp"] for row in read), "the time is that of the first reading"
    (probe,) = watching.account.probes
    assert (probe.received, probe.parts) == (count, 0)
    whole(watching)


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


def test_any_name_is_told_as_it_is_and_harmless(watch: Making, start: Start, tmp_path: Path) -> None:
    (tmp_path / "names").mkdir()
    folder = os.fsencode(tmp_path / "names")
    script = (
        f"import os\nfor name in {HOSTILE!r}:\n os.close(os.open({folder!r} + b'/' + name, os.O_CREAT | os.O_WRONLY))"
    )
    watching = watch("Files", extra=settings(monitor=[tmp_path / "names"]))
    with watching():
        run(start, sys.executable, "-I", "-S", "-c", script)
    names = [row["path"].removeprefix(os.fsdecode(folder) + "/") for row in watching.rows("file.open")]
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
    whole(watching)


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
        length = int(run(start, sys.executable, "-I", "-S", "-c", script))
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
    whole(watching)


def test_reads_of_processes_that_have_ended_keep_their_process(watch: Making, start: Start, tmp_path: Path) -> None:
    (tmp_path / "small").write_text("twelve bytes")
    watching = watch("Files", extra=settings(monitor=[tmp_path], more="interval_ms = 60000"))
    with watching():
        printed = shell(start, f"for i in 1 2 3; do cat {tmp_path}/small & echo; echo $!; wait; done")
    pids = [int(line) for line in printed.replace("twelve bytes", "").split()]
    rows = watching.rows("file.read")
    assert sorted((row["process_id"], row["process"], row["value"]) for row in rows) == [
        (pid, "cat", 12) for pid in sorted(pids)
    ]
    opened = {row["process_id"]: row["process_uid"] for row in watching.rows("file.open")}
    assert {row["process_id"]: row["process_uid"] for row in rows} == opened
    whole(watching)


def test_io_uring_and_file_handles_are_no_way_around(watch: Making, start: Start, tmp_path: Path) -> None:
    watching = watch("Files", extra=settings(monitor=[tmp_path]))
    with watching():
        pid, written, *read = map(
            int, run(start, sys.executable, "-I", "-S", HERE / "uring.py", tmp_path / "u").split()
        )
    assert (written, read) == (1000, [700, 9])
    opened = [row["flags"] for row in watching.rows("file.open") if row["path"] == f"{tmp_path}/u"]
    assert opened == ["O_RDWR|O_CREAT", "O_WRONLY"]
    names_requests = b"io_cqe" in Path("/sys/kernel/btf/vmlinux").read_bytes()  # since Linux 5.19: probes/uring.h
    key = (pid, f"{tmp_path}/u")
    assert sums(watching.rows("file.write"), "value") == ({key: 1000} if names_requests else {})
    assert sums(watching.rows("file.read"), "value") == ({key: 709} if names_requests else {})
    assert sums(watching.rows("file.read"), "calls") == ({key: 2} if names_requests else {})
    whole(watching)


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
    whole(watching)

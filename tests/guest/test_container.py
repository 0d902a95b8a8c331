"""Container output on a kernel that traces: beside the engine's own log, and beside what came out of the pipe."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, Watch, read

from guest.acting import Act, Acts, Played, Scene, Told
from guest.containers import Container, Podman
from guest.kept import kept, nothing_kept, until_asleep
from ingrain import tracing
from ingrain.account import ProbeAccount
from ingrain.kernel import cgroup
from ingrain.text import bytes_of

pytestmark = pytest.mark.timeout(600)  # an emulated processor

Making = Callable[..., Watch]
Row = dict[str, Any]

MANY = int(os.environ.get("INGRAIN_LINES", "40000"))
ROOM = "buffer_kb = 16384"  # for all of it: an emulated reader is slower than a writer

acts = Acts()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return acts.play(tmp_path_factory.mktemp("container"), "Container", f'hooks = "fentry"\n{ROOM}')


@pytest.fixture(params=["fentry", pytest.param("kprobe", marks=pytest.mark.matrix)])
def told_by(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Act], Told]:
    """What was told of an act by either kind of hooks."""
    if request.param == "fentry":
        shared: Played = request.getfixturevalue("told")
        return shared.__getitem__

    def alone(act: Act) -> Told:
        played = acts.play(tmp_path, "Container", f'hooks = "{request.param}"\n{ROOM}', only=[act])
        whole(played.probe)
        return played[act]

    return alone


def text(rows: list[Row]) -> bytes:
    """What was printed, from its lines."""
    return b"".join(bytes_of(row["line"]) + b"\n" * (not row["partial"]) for row in rows)


def lines(rows: list[Row]) -> list[tuple[bytes, bool]]:
    return [(bytes_of(row["line"]), row["partial"]) for row in rows]


def contain(start: Start, *command: str, stderr: int | None = None) -> subprocess.Popen[str]:
    """A container of the kernel's making alone: the program is the first of its process namespace, and has pipes."""
    return start("unshare", "--pid", "--fork", "--kill-child", *command, stderr=stderr)


def printed(start: Start, program: str) -> bytes:
    """What came out of the pipe of a Python program in such a container."""
    started = contain(start, sys.executable, "-ISc", "import os, sys\n" + textwrap.dedent(program))
    assert started.stdout
    out = started.stdout.buffer.read()  # type: ignore[attr-defined] # a text stream has one
    assert started.wait() == 0
    return bytes(out)


def whole(probe: ProbeAccount) -> None:
    """Nothing was lost, and the account adds up."""
    assert (probe.lost, probe.corrupt, probe.malformed, probe.failed, probe.failed_polls) == (0, 0, 0, 0, 0)
    assert probe.handed_over == probe.received
    assert probe.received + probe.further == probe.told + probe.parts


@acts
def every_call(scene: Scene) -> bytes:
    file = scene.folder / "file"
    file.write_bytes(b"".join(b"sent %d\n" % number for number in range(3000)))
    return printed(
        scene.start,
        f"""
        os.write(1, b"written\\n")
        os.writev(1, [b"of ", b"", b"several ", b"parts\\n"] * 100)
        os.write(os.dup(1), b"by another descriptor\\n")
        os.write(os.open("/proc/self/fd/1", os.O_WRONLY), b"and one opened anew\\n")
        if os.fork() == 0:
            os.write(1, b"by a child\\n")
            os._exit(0)
        os.wait()
        with open({str(file)!r}, "rb") as file:
            sent = os.sendfile(1, file.fileno(), 5000, 3000)
            while os.splice(file.fileno(), 1, 9000):
                pass
        os.write(1, bytes(range(256)) + b"\\\\x41 \\xc3\\xa9 \\xe2\\x80\\xae\\n")
        os.write(1, b"x" * 65536 + b"\\n")
        os.system("echo by a grandchild; head -c 2000 {file}")
        os.write(1, b"and no newline")
        """,
    )


def test_all_that_comes_out_of_a_pipe_is_told_by_whatever_call_it_went_in(told_by: Callable[[Act], Told]) -> None:
    told = told_by(every_call)
    rows, out = told.rows("container.stdout"), told.result
    assert text(rows) == out
    assert out.endswith(b"and no newline")
    assert rows[-1]["partial"]
    assert {row["value"] for row in rows} == {1}
    assert [row["bytes"] for row in rows] == [len(line) for line, _ in lines(rows)]
    processes = {bytes_of(row["line"]): row["process"] for row in rows}
    assert processes[b"by a grandchild"] == "sh"
    assert processes[b"written"] != "sh"


@acts
def elsewhere(scene: Scene) -> bytes:
    out = printed(
        scene.start,
        f"""
        import socket
        os.system("echo file > {scene.folder}/file; echo null > /dev/null; echo pipe | cat > {scene.folder}/other")
        one, other = socket.socketpair()
        one.send(b"socket\\n")
        read, write = os.pipe()
        os.write(write, b"another pipe\\n")
        os.write(1, b"seen\\n")
        """,
    )
    assert scene.done(sys.executable, "-ISc", "print('no container')") == "no container\n"
    return out


def test_what_goes_elsewhere_is_not_told(told: Played) -> None:
    assert text(told[elsewhere].rows("container.stdout")) == told[elsewhere].result == b"seen\n"
    assert not told[elsewhere].rows("container.stderr")


@acts
def from_pipe_to_pipe(scene: Scene) -> bytes:
    return printed(
        scene.start,
        """
        import ctypes
        read, write = os.pipe()
        os.write(1, b"before\\n")
        os.write(write, b"one\\ntwo\\n")
        assert os.splice(read, 1, 100) == 8
        os.write(1, b"between\\n")
        os.write(write, b"three\\n")
        assert ctypes.CDLL(None).tee(read, 1, 100, 0) == 6
        os.write(1, b"after\\n")
        """,
    )


def test_what_a_pipe_gives_to_a_pipe_is_told_by_its_size(told: Played) -> None:
    """splice(2) between pipes, and tee(2): the kernel moves pages, and says how many bytes they hold."""
    assert told[from_pipe_to_pipe].result == b"before\none\ntwo\nbetween\nthree\nafter\n"
    rows = told[from_pipe_to_pipe].rows("container.stdout")
    assert lines(rows) == [(b"before", False), (b"", True), (b"between", False), (b"", True), (b"after", False)]
    assert [row["bytes"] for row in rows] == [6, 8, 7, 6, 5]


@acts
def huge(scene: Scene) -> bytes:
    return printed(scene.start, "os.write(1, b'y' * 1_000_000); os.write(1, b'\\nnext\\n')")


def test_of_a_huge_write_the_true_length_is_told(told: Played) -> None:
    rows = told[huge].rows("container.stdout")
    assert sum(row["bytes"] for row in rows) == 1_000_000 + len("next")
    assert len(text(rows)) >= 65536
    assert told[huge].result.startswith(text(rows)[:65536])
    assert lines(rows)[-1] == (b"next", False)
    assert all(row["partial"] for row in rows[:-2])


@acts
def redirected(scene: Scene) -> bytes:
    """It executes another program, which has another pipe as descriptor 1."""
    return printed(
        scene.start,
        """
        os.write(1, b"one\\n")
        read, write = os.pipe()
        os.set_inheritable(read, True)
        os.dup2(write, 1)
        os.execlp("sh", "sh", "-c", "echo two; echo wrong >&2")
        """,
    )


def test_what_the_first_process_redirects_later_on_is_its_own_affair(told: Played) -> None:
    assert text(told[redirected].rows("container.stdout")) == told[redirected].result == b"one\n"


@acts
def both_streams(scene: Scene) -> None:
    apart = contain(scene.start, "sh", "-c", "echo fine; echo wrong >&2", stderr=subprocess.PIPE)
    assert apart.wait() == 0
    together = contain(scene.start, "sh", "-c", "echo output; echo error >&2", stderr=subprocess.STDOUT)
    assert together.wait() == 0


def test_errors_are_told_as_such_and_both_in_one_pipe_as_output(told: Played) -> None:
    assert [row["line"] for row in told[both_streams].rows("container.stderr")] == ["wrong"]
    assert [row["line"] for row in told[both_streams].rows("container.stdout")] == ["fine", "output", "error"]


@acts
def killed(scene: Scene) -> None:
    started = contain(scene.start, "sh", "-c", "echo first; printf half; exec sleep 600")
    assert started.stdout
    assert started.stdout.read(10) == "first\nhalf"
    (inner,) = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(inner), signal.SIGKILL)
    assert started.wait() != 0


def test_one_that_is_killed_in_the_middle_of_a_line_has_said_its_beginning(told: Played) -> None:
    assert lines(told[killed].rows("container.stdout")) == [(b"first", False), (b"half", True)]


@acts
def megabytes(scene: Scene) -> bytes:
    return printed(scene.start, "for n in range(128): os.write(1, bytes([65 + n % 26]) * 65536)")


def test_eight_megabytes_without_a_newline_come_through_in_pieces(told: Played) -> None:
    rows = told[megabytes].rows("container.stdout")
    assert len(told[megabytes].result) == 8 << 20
    assert {row["partial"] for row in rows} == {True}
    assert max(row["bytes"] for row in rows) <= 16384
    assert hashlib.sha256(text(rows)).digest() == hashlib.sha256(told[megabytes].result).digest()


@acts
def many_lines(scene: Scene) -> bytes:
    started = contain(scene.start, "sh", "-c", f'i=0; while [ $i -lt {MANY} ]; do echo "line $i"; i=$((i+1)); done')
    assert started.stdout
    digest = hashlib.sha256(started.stdout.buffer.read()).digest()  # type: ignore[attr-defined]
    assert started.wait() == 0
    return digest


def test_of_many_lines_none_is_lost_and_each_is_what_it_was(told_by: Callable[[Act], Told]) -> None:
    told = told_by(many_lines)
    rows = told.rows("container.stdout")
    assert len(rows) == MANY
    assert hashlib.sha256(text(rows)).digest() == told.result


def test_nothing_of_all_that_was_lost(told: Played) -> None:
    whole(told.probe)


@pytest.mark.matrix
def test_writes_that_wait_for_long_hide_no_other(start: Start, watch: Making) -> None:
    """A kretprobe follows only a few calls of a function at a time, whoever makes them; these are in no container."""
    full = """
        import os, threading
        def fill():
            while True:
                os.write(ends[1], bytes(4096))
        for _ in range(100):
            ends = os.pipe()
            threading.Thread(target=fill).start()
        print("full", flush=True)
        """
    waiting = start(sys.executable, "-ISc", textwrap.dedent(full))
    assert waiting.stdout
    assert waiting.stdout.readline() == "full\n"
    seen = watch("Container", extra='hooks = "kprobe"')
    with seen():
        again = start(sys.executable, "-ISc", textwrap.dedent(full))
        assert again.stdout
        assert again.stdout.readline() == "full\n"
        until_asleep(again.pid, 101)
        out = printed(
            start,
            """
            for number in range(50):
                os.write(1, b"written %d\\n" % number)
                os.writev(1, [b"of ", b"", b"several ", b"parts\\n"])
            """,
        )
        again.kill()
    whole(seen.account.probes[0])
    assert text(seen.rows("container.stdout")) == out


@pytest.mark.matrix
def test_what_no_kretprobe_sees_the_end_of_is_told_when_the_system_call_returns(
    start: Start, watch: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, if it lies in the writer's memory; by its size, if the kernel moved it, or it has many parts."""
    monkeypatch.setitem(tracing.WAYS, "kprobe", (*tracing.WAYS["kprobe"], "kretprobe"))
    file = tmp_path / "file"
    file.write_bytes(b"x" * 5000)
    seen = watch("Container", extra='hooks = "kprobe"')
    with seen():
        out = printed(
            start,
            f"""
            os.write(1, b"written\\n")
            os.writev(1, [b"of ", b"several ", b"parts\\n"])
            os.write(1, b"y" * 20000 + b"\\n")
            with open({str(file)!r}, "rb") as file:
                os.sendfile(1, file.fileno(), 0, 3000)
            os.writev(1, [b"of ", b"many ", b"parts "] * 10)
            os.write(1, b"\\nend\\n")
            """,
        )
    rows = seen.rows("container.stdout")
    assert lines(rows)[:2] == [(b"written", False), (b"of several parts", False)]
    assert b"y" * 20000 in text(rows)
    assert lines(rows)[-1] == (b"end", False)
    assert sum(row["bytes"] + (not row["partial"]) for row in rows) == len(out)
    (probe,) = seen.account.probes
    assert (probe.lost, probe.missed) == (0, 0)


def test_a_first_process_that_executes_another_program_is_nothing_missed(start: Start, watch: Making) -> None:
    seen = watch("Container")
    with seen(), contain(start, "sh", "-c", "exec sh -c 'exec echo printed'") as container:
        assert container.stdout
        assert container.stdout.read() == "printed\n"
    assert lines(seen.rows("container.stdout")) == [(b"printed", False)]
    (probe,) = seen.account.probes
    assert (probe.lost, probe.missed) == (0, 0)


def test_no_pipe_and_no_container_is_remembered_longer_than_it_is_there(start: Start, watch: Making) -> None:
    """Also where the last two files that are open for a pipe are closed at the same time, by two processes."""
    seen = watch("Container")
    with seen() as agent:
        (probe,) = agent.probes
        closing = """
            import os, subprocess
            for number in range(200):
                read, write = os.pipe()
                child = subprocess.Popen(["unshare", "--pid", "--fork", "true"], stdout=write)
                child.wait()
                kids = [os.fork() for _ in range(2)]
                if 0 in kids:
                    os._exit(0)
                os.close(read), os.close(write)
                [os.waitpid(kid, 0) for kid in kids]
            """
        assert kept(probe, "streams", "u8", "stream") == 0
        with contain(start, "sh", "-c", "echo printed; read go") as container:
            assert container.stdout
            assert container.stdout.readline() == "printed\n"
            assert kept(probe, "streams", "u8", "stream") == 1
            assert kept(probe, "begun", "container", "u1") == 1
        done = start(sys.executable, "-ISc", textwrap.dedent(closing))
        assert done.wait() == 0
        assert nothing_kept(probe, "streams", "u8", "stream")
        assert nothing_kept(probe, "begun", "container", "u1")
        assert nothing_kept(probe, "writes", "u8", "write")


def test_what_no_buffer_held_is_counted_and_no_line_is_glued_together(start: Start, watch: Making) -> None:
    seen = watch("Container", extra="buffer_kb = 8")
    with seen() as agent:
        buffers = agent.probes[0].buffers
        drain, buffers.drain = buffers.drain, lambda: None  # type: ignore[method-assign] # it reads too late
        out = printed(start, "for n in range(5000): os.write(1, b'%d ' % n * 9 + b'\\n')")
        assert agent.account().probes[0].lost > 0
        buffers.drain = drain  # type: ignore[method-assign]
        out += printed(start, "for n in range(5000, 20000): os.write(1, b'%d ' % n * 9 + b'\\n')")
    (probe,) = seen.account.probes
    assert probe.handed_over == probe.received > 0
    assert probe.handed_over + probe.lost == 20000
    real = set(out.splitlines())
    rows = seen.rows("container.stdout")
    assert {line for line, _ in lines(rows)} <= real
    assert len(rows) == probe.handed_over


def engine(podman: Podman, container: Container, stream: str) -> list[bytes]:
    """Whole lines that the engine recorded; it breaks long ones."""
    told, begun = [], b""
    for one in container.printed():
        if one.stream == stream:
            begun += one.line.encode(errors="surrogateescape")
            if not one.partial:
                told.append(begun)
                begun = b""
    return [*told, begun] if begun else told


def of(rows: list[Row], identifier: int) -> list[Row]:
    return [row for row in rows if row["cgroup_id"] == identifier]


def everything(tmp_path: Path, containers: list[str] | None = None) -> Watch:
    """An agent that watches all of the host; and by another probe only some containers."""
    archives = {"archive": ""} | ({} if containers is None else {"some": f"containers = {containers}\n"})
    toml = "".join(
        f'[[probe]]\npipelines = ["{name}"]\n[probe.config]\ntype = "Container"\n{chosen}'
        f'[pipeline.{name}.config]\nbackend = "Archive"\npath = "{tmp_path / name}"\n'
        for name, chosen in archives.items()
    )
    return Watch(toml, tmp_path)


SCRIPT = r"""
read go < /tmp/go
i=0; while [ $i -lt 300 ]; do echo "line $i"; i=$((i+1)); done
echo trouble >&2
(echo from a child; exec 7>&1; echo by another descriptor >&7) & wait
echo elsewhere > /tmp/file; echo between | cat > /dev/null
cat /tmp/text
printf 'colour \033[31m, no UTF-8 \377\376, \\x41\n'
head -c 40000 /dev/zero | tr '\0' 'z'; echo
echo more trouble >&2
printf 'no newline'
"""


def test_every_line_of_the_engine_s_log_is_told(podman: Podman, tmp_path: Path) -> None:
    """Of a container that runs already, and one that starts while the agent runs; and one may be chosen by its id."""
    (podman.root / "tmp" / "text").write_text("".join(f"a line of a file, {n}\n" for n in range(500)))
    go = podman.root / "tmp" / "go"
    begin = podman.root / "tmp" / "begin"  # of its own: who writes to one that is still open is read by nobody
    os.mkfifo(go)
    os.mkfifo(begin)
    with podman.run("before", SCRIPT) as before:
        seen = everything(tmp_path, [before.id[:12]])
        with seen():
            go.write_text("go\n")
            assert podman.wait(before) == 0
            cgroups = {before.name: 0}
            script = "echo the first line; read go < /tmp/begin;" + SCRIPT
            with podman.run("meanwhile", script) as meanwhile:
                cgroups[meanwhile.name] = cgroup.identifier(cgroup.find(meanwhile.cgroup))
                begin.write_text("go\n")
                go.write_text("go\n")
                assert podman.wait(meanwhile) == 0
        for stream in ("stdout", "stderr"):
            rows = seen.rows(f"container.{stream}")
            late = of(rows, cgroups["meanwhile"])
            early = [row for row in rows if row not in late]
            for container, told in ((before, early), (meanwhile, late)):
                assert b"".join(line for line, _ in lines(told)) == b"".join(engine(podman, container, stream))
                assert text(told).rstrip(b"\n").split(b"\n") == engine(podman, container, stream)
    assert text(of(seen.rows("container.stdout"), cgroups["meanwhile"])).startswith(b"the first line\n")
    for stream in ("stdout", "stderr"):
        measurement = f"container.{stream}"
        chosen = read(tmp_path / "some", measurement)
        early = [row for row in seen.rows(measurement) if row["cgroup_id"] != cgroups["meanwhile"]]
        assert lines(chosen) == lines(early)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("hooks", ["fentry", pytest.param("kprobe", marks=pytest.mark.matrix)])
def test_containers_that_share_a_process_namespace_are_seen(
    podman: Podman, tmp_path: Path, hooks: str, when: str
) -> None:
    """The host's, or another container's; begun before the agent is, or while it runs."""
    go = {name: podman.root / "tmp" / f"go-{name}" for name in ("host", "joined")}
    for fifo in go.values():
        os.mkfifo(fifo)
    seen = Watch(
        f'[[probe]]\npipelines = ["archive"]\n[probe.config]\ntype = "Container"\nhooks = "{hooks}"\n'
        f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\n',
        tmp_path,
    )
    script = (
        "read go < /tmp/go-{0}; echo {0}; echo trouble >&2; /bin/echo by another program; echo other | cat > /tmp/{0}"
    )
    with podman.run("first", "sleep 1000") as first, ExitStack() as stack:
        sharing = {"host": ("--pid", "host"), "joined": ("--pid", f"container:{first.id}")}

        def run_all() -> dict[str, Container]:
            return {
                name: stack.enter_context(podman.run(name, script.format(name), *how)) for name, how in sharing.items()
            }

        made = run_all() if when == "before" else {}
        with seen():
            made = made or run_all()
            subprocess.run(["podman", "exec", made["host"].id, "echo", "not the container's"], check=True)
            for name, container in made.items():
                go[name].write_text("go\n")
                assert podman.wait(container) == 0
        for container in made.values():
            for stream in ("stdout", "stderr"):
                rows = [row for row in seen.rows(f"container.{stream}") if row["container_id"] == container.id]
                assert text(rows).splitlines() == engine(podman, container, stream)
                assert {row["container"] for row in rows} == {container.name}
    assert {row["container"] for row in seen.rows("container.stdout")} == {"host", "joined"}


def test_a_terminal_s_lines_are_told_by_whatever_name_it_is_opened(podman: Podman, tmp_path: Path) -> None:
    script = "echo on the terminal; echo an error >&2; echo by its other name > /dev/tty; read go < /tmp/go; echo end"
    go = podman.root / "tmp" / "go"
    os.mkfifo(go)
    seen = everything(tmp_path)
    with seen(), podman.run("terminal", script, "--tty") as container:
        go.write_text("go\n")
        podman.wait(container)
        wanted = [line.removesuffix(b"\r") for line in engine(podman, container, "stdout")]
    assert [line for line, _ in lines(seen.rows("container.stdout"))] == wanted
    assert wanted == [b"on the terminal", b"an error", b"by its other name", b"end"]
    assert not seen.rows("container.stderr")

"""A running agent tells root and its own user how it is, over a Unix socket, and nobody else; nobody holds it up so."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agents import OWN, agent, ingrain
from serving import refusing, until

from ingrain import report
from ingrain.account import Account, ProbeAccount, Station
from ingrain.status import Status, StatusError, StatusServer, ask

NOBODY, OTHER = 65534, 65533
CONSOLE = '[pipeline.out.config]\nbackend = "Console"\n'
CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect(sys.argv[1])
    print(len(b"".join(iter(lambda: asking.recv(65536), b""))))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


def status_of(problems: list[str], detail: int = 0) -> Status:
    station = Station("pipeline out: Console")
    station.detail.update({f"why {number}": 1 for number in range(detail)})
    return Status("1", os.getpid(), "/etc/x.toml", time.time(), time.time(), problems, Account([], {"out": [station]}))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[[Status], str]]:
    with ExitStack() as stack:

        def _served(status: Status) -> str:
            server = StatusServer(str(tmp_path / "status.sock"), lambda: status)
            stack.callback(server.stop)
            return server.path

        yield _served


def asked_as(user: int, path: Path | str) -> subprocess.CompletedProcess[str]:
    """A plain client of that user: the bytes it got."""
    command = [sys.executable, "-c", CLIENT, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, user=user, group=user, extra_groups=[])


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that every user can come to, with room for a user's own."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    os.chown(tmp_path, NOBODY, NOBODY)
    return tmp_path


def test_a_running_agent_says_what_it_is_and_that_all_is_well(tmp_path: Path) -> None:
    with agent(OWN.format(socket=tmp_path / "status.sock") + CONSOLE, tmp_path) as running:
        code, told = running.status()
        people = ingrain("status", "--socket", running.socket)
        assert stat.S_IMODE(running.socket.stat().st_mode) == 0o600
    assert (code, told["healthy"], told["problems"], told["hung"]) == (0, True, [], "")
    assert (told["pid"], told["file"]) == (running.process.pid, str(tmp_path / "config.toml"))
    (station,) = told["account"]["pipelines"]["out"]
    assert station.keys() >= running.account["pipelines"]["out"][0].keys()
    assert "inbox.depth" in station["gauges"]
    assert people.returncode == 0
    assert "\nhealthy\n" in people.stdout
    assert not running.socket.exists()


def test_it_answers_whatever_its_file_is_called_and_when_its_working_directory_is_gone(tmp_path: Path) -> None:
    folder, gone = tmp_path / os.fsdecode(b"caf\xe9"), tmp_path / "gone"
    folder.mkdir()
    gone.mkdir()
    program = (
        "import os, sys\nsys.argv[2] = os.path.relpath(sys.argv[2])\n"
        "from ingrain.__main__ import main\nsys.exit(main())"
    )
    toml = OWN.format(socket=tmp_path / "status.sock") + CONSOLE
    with agent(toml, folder, program=("-c", program), cwd=gone) as running:
        running.socket = tmp_path / "status.sock"
        gone.rmdir()
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("there is no such file")
        _, told = until("the refusal", lambda: found if (found := running.status())[0] else None)
    assert told["file"] == f"{gone}/../caf\\xe9/config.toml"
    assert "caf\\xe9/config.toml: there is no such file" in told["problems"][0]


def test_for_want_of_a_thread_nobody_is_answered_for_a_while_and_the_agent_goes_on(tmp_path: Path) -> None:
    few = tmp_path / "few"
    program = (
        f"import os, threading\nstart = threading.Thread.start\n"
        f"def limited(thread):\n"
        f"    if thread.name in ('status', 'live') and os.path.exists({str(few)!r}):\n"
        f"        raise RuntimeError('can\\'t start new thread')\n"
        f"    start(thread)\n"
        f"threading.Thread.start = limited\n"
        f"import ingrain.service\ningrain.service.HEALTH_S = 0.1\nfrom ingrain.__main__ import main\nmain()"
    )
    toml = OWN.format(socket=tmp_path / "status.sock") + CONSOLE
    few.touch()
    with agent(toml, tmp_path, program=("-c", program)) as running:
        running.wait_for("nobody to ask")
        assert not running.socket.exists()
        few.unlink()
        running.wait_for("are answered now")
        assert running.status()[0] == 0
        few.touch()
        running.reload(toml.replace("status.sock", "other.sock"), says="nobody to ask")
        few.unlink()
        running.wait_for("are answered now", 2)
        running.socket = tmp_path / "other.sock"
        assert running.status()[0] == 0
    assert running.said.count("nobody to ask") == 2


def test_where_no_agent_runs_that_is_said_and_is_not_healthy(tmp_path: Path) -> None:
    done = ingrain("status", "--socket", tmp_path / "none.sock")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no agent answers at" in done.stderr


def test_a_server_that_is_away_makes_the_agent_unhealthy(tmp_path: Path) -> None:
    with refusing(socket.SOCK_DGRAM) as port:
        toml = OWN.format(socket=tmp_path / "status.sock")
        toml += f'[pipeline.out.config]\nbackend = "StatsD"\naddress = "127.0.0.1:{port}"\n'
        away = f"pipeline out: StatsD: sending to 127.0.0.1:{port} failed: Connection refused"
        with agent(toml, tmp_path) as running:

            def told() -> tuple[int, dict[str, Any]] | None:
                code, told = running.status()
                lost = any("records were lost within a minute" in problem for problem in told["problems"])
                return (code, told) if lost and away in told["problems"] else None

            code, document = until("both problems", told)
    assert (code, document["healthy"]) == (1, False)


def test_only_root_and_the_agents_own_user_are_told(open_folder: Path) -> None:
    path = open_folder / "status.sock"
    toml = OWN.format(socket=path) + CONSOLE
    with agent(toml, open_folder, user=NOBODY, group=NOBODY, extra_groups=[]) as running:
        running.wait_for("running")
        assert int(asked_as(NOBODY, path).stdout) > 100
        assert int(asked_as(0, path).stdout) > 100
        refused = asked_as(OTHER, path)
        assert "PermissionError" in refused.stderr
        path.chmod(0o666)  # even if the file lets them
        assert asked_as(OTHER, path).stdout == "0\n"
        assert running.status()[0] == 0
    assert f"user {OTHER} asked, and was told nothing" in running.said


def test_who_asks_does_not_believe_a_user_who_only_may_write_there(open_folder: Path) -> None:
    os.chown(open_folder, 0, 0)
    open_folder.chmod(0o1777)
    path = open_folder / "fake.sock"
    fake = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint(flush=True)\n"
    command = [sys.executable, "-c", fake + "c, _ = s.accept()\nc.sendall(b'{}')\nc.recv(1)\n", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, user=NOBODY, group=NOBODY, extra_groups=[]) as liar:
        assert liar.stdout
        liar.stdout.readline()
        done = ingrain("status", "--socket", path)
        liar.kill()
    assert done.returncode == 1
    assert f"is user {NOBODY}, whom its folder does not belong to" in done.stderr


def test_neither_those_who_do_not_read_nor_a_flood_hold_the_agent_up(tmp_path: Path) -> None:
    with agent(OWN.format(socket=tmp_path / "status.sock") + CONSOLE, tmp_path) as running, ExitStack() as stack:
        silent = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(200)]
        for one in silent:
            one.connect(str(running.socket))
        flood = (
            f"import socket\nwhile True:\n with socket.socket(socket.AF_UNIX) as s: s.connect({str(running.socket)!r})"
        )
        floods = [subprocess.Popen([sys.executable, "-c", flood]) for _ in range(3)]
        try:
            code, told = running.status()
            assert (code, told["healthy"]) == (0, True)
        finally:
            for program in floods:
                program.kill()
                program.wait()
    (station,) = running.account["pipelines"]["out"]
    assert station["delivered"] == station["received"] == len(running.printed.splitlines()) > 0


def test_who_does_not_read_a_long_answer_costs_the_next_one_a_moment(served: Callable[[Status], str]) -> None:
    path = served(status_of([], detail=100_000))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(path)
        assert len(ask(path).account.pipelines["out"][0].detail) == 100_000


def test_problems_reach_who_asks_and_do_no_harm_to_a_terminal(served: Callable[[Status], str]) -> None:
    path = served(status_of(["bad \x1b[31m"]))
    assert ask(path).problems == ["bad \x1b[31m"]
    done = ingrain("status", "--socket", path)
    assert done.returncode == 1
    assert r"NOT HEALTHY (1)" in done.stdout
    assert r"bad \x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout + ingrain("status", "--json", "--socket", path).stdout


@pytest.mark.parametrize("when", [-1.0, 1e18])
def test_a_moment_that_no_calendar_has_is_no_answer(served: Callable[[Status], str], when: float) -> None:
    with pytest.raises(StatusError, match="is of another version"):
        ask(served(replace(status_of([]), started=when)))


def test_a_document_without_end_is_no_answer(tmp_path: Path) -> None:
    path = str(tmp_path / "odd.sock")
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind(path)
        odd.listen()

        def answer() -> None:
            with odd.accept()[0] as asking:
                asking.sendall(b'{"more":' + b"[" * 100_000)

        threading.Thread(target=answer).start()
        with pytest.raises(StatusError, match="is of another version"):
            ask(path)


def test_no_name_in_an_account_does_harm_to_a_terminal() -> None:
    station = Station("pipeline \x1b[2J: Console", detail=Counter({"why\u202e": 1}))
    account = Account([ProbeAccount("D\x9bNS")], {"out": [station]}, {"read": 1, "unknown_links": {"7\x7f\n": 1}})
    status = replace(status_of([]), version="1\x07", account=account)
    for text in (report.state(status), report.as_json(status)):
        assert all(line.isprintable() for line in text.split("\n"))
    assert r"pipeline \x1b[2J: Console" in report.state(status)
    assert json.loads(report.as_json(status))["account"]["capture"]["unknown_links"] == {"7\x7f\n": 1}


def test_an_agent_that_does_not_look_at_itself_any_more_is_not_healthy(served: Callable[[Status], str]) -> None:
    status = status_of([])
    path = served(replace(status, at=1.0))
    assert "has not looked at itself" in ask(path).problems[0]


@pytest.mark.parametrize(
    ("wrong", "alive"),
    [
        ({"problems": ["pipeline out: S3: a server failed"]}, True),
        ({"hung": "the thread that reads has ended"}, False),
        ({"at": 1.0}, False),
    ],
    ids=["a server that is away", "buffers that are not read", "a main thread that hangs"],
)
def test_an_agent_is_alive_until_it_hangs_whatever_is_wrong_elsewhere(
    served: Callable[[Status], str], wrong: dict[str, Any], *, alive: bool
) -> None:
    path = served(replace(status_of([]), **wrong))
    assert (ingrain("status", "--alive", "--socket", path).returncode == 0) is alive


def test_an_agent_that_does_not_answer_is_not_alive(tmp_path: Path) -> None:
    assert ingrain("status", "--alive", "--socket", tmp_path / "none.sock").returncode == 1


def test_what_a_killed_agent_left_is_replaced_and_a_living_ones_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "status.sock")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(path)
    first = StatusServer(path, lambda: status_of([]))
    with pytest.raises(OSError, match="another agent answers there"):
        StatusServer(path, lambda: status_of([]))
    assert ask(path).problems == []
    first.stop()
    Path(path).write_text("precious")
    with pytest.raises(OSError, match="this is no socket"):
        StatusServer(path, lambda: status_of([]))
    assert Path(path).read_text() == "precious"


@pytest.mark.parametrize("answer", [b"", b"{}", b"\xff\xfe", b'{"version":1}', b"[" * 100_000])
def test_an_answer_that_is_none_is_an_error_and_no_crash(tmp_path: Path, answer: bytes) -> None:
    path = str(tmp_path / "odd.sock")
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind(path)
        odd.listen()
        program = subprocess.Popen(
            [sys.executable, "-m", "ingrain", "status", "--socket", path], stderr=subprocess.PIPE
        )
        with odd.accept()[0] as asking:
            asking.sendall(answer)
        assert b"is of another version, or ended while it answered" in program.communicate()[1]
        assert program.returncode == 1


def test_ctrl_c_ends_the_wait_for_an_answer_without_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(path))
        hanging.listen()
        command = [sys.executable, "-m", "ingrain", "status", "--socket", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
            asked, _ = hanging.accept()
            with asked:
                asking.send_signal(signal.SIGINT)
                said = asking.communicate(timeout=60)
    assert (asking.returncode, *said) == (130, "", "")


def test_an_agent_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingrain.status.PATIENCE_S", 0.1)
    path = str(tmp_path / "dead.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen(0)
        for _ in range(3):  # and when as many as can wait there do
            with pytest.raises(StatusError, match="does not answer"):
                ask(path)

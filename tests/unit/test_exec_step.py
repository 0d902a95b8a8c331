"""Exec runs a command for records of which its conditions hold: within its bounds, and never in their way."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from chain import VOLUME, Chain, batch_of, chain, tagged
from hypothesis import given
from hypothesis import strategies as st
from through import loaded, through

from ingrain.account import Station
from ingrain.batch import TEXT, Batch
from ingrain.inbox import Inbox
from ingrain.pipeline import Pipeline, PipelineError
from ingrain.post import Post
from ingrain.stage import Stage
from ingrain.steps import commands
from ingrain.steps import exec as steps_exec
from ingrain.steps.commands import Commands, Rate
from ingrain.steps.exec import Condition, Exec, ExecSettings, finds
from ingrain.steps.template import Template

PATIENCE_S = 60
ENDED = ("ran", "failed", "timed out", "cut off", "not started")
BESIDE = ("same", "no value", "option", "over max_per_s", "over max_running")


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What became of commands is asked for at once, and who does not end is not waited for."""
    monkeypatch.setattr(steps_exec, "_COLLECT_S", 0.01)
    monkeypatch.setattr(commands, "GRACE_S", 0.3)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def exec_of(*command: str, only_if: dict[str, str] | None = None, **bounds: Any) -> tuple[type[Exec], ExecSettings]:
    conditions = [Condition(key=key, regex=regex) for key, regex in (only_if or {}).items()]
    return Exec, ExecSettings(command=list(command), only_if=conditions, **bounds)


def named(*processes: str | None) -> Batch:
    return tagged("process", pa.array(processes, TEXT))


def all_told(steps: Chain) -> bool:
    """Whether it is known of each record that matched what became of it."""
    detail = steps.stations[0].detail
    return detail["matched"] == sum(detail[what] for what in (*ENDED, *BESIDE))


def told(steps: Chain) -> dict[str, int]:
    """What became of each record that was sent, once that is known."""
    if steps.refs[0].is_alive():
        steps.flush()
    until(lambda: all_told(steps))
    return {what: count for what, count in steps.stations[0].detail.items() if count}


def noting(file: Path, *tags: str) -> list[str]:
    """A command that appends what it gets for these tags to a file, a line for each."""
    return ["sh", "-c", f"printf '%s\\n' \"$@\" >> '{file}'", "sh", *(f"{{ {tag} }}" for tag in tags)]


def test_a_command_gets_the_values_of_the_record_and_the_record_goes_on(tmp_path: Path) -> None:
    batch = batch_of(VOLUME, [{"value": 5, "packets": 1, "process": "a b; touch x", "d_port": 443}])
    with chain(exec_of(*noting(tmp_path / "noted", "process", "destination_port_i"))) as steps:
        steps.tell(batch)
        assert told(steps) == {"matched": 1, "ran": 1}
        steps.flush()
        assert [one.records for one in steps.batches] == [batch.records]
        assert (steps.stations[0].delivered, steps.stations[0].in_flight) == (1, 0)
    assert (tmp_path / "noted").read_text() == "a b; touch x\n443\n"


def test_all_conditions_must_hold_and_a_tag_that_is_absent_holds_none(tmp_path: Path) -> None:
    rows = [("sshd", 22), ("sshd", 443), ("curl", 22), (None, 22), ("sshd-session", 22)]
    batch = batch_of(VOLUME, [{"value": 1, "packets": 1, "process": name, "d_port": port} for name, port in rows])
    note = noting(tmp_path / "noted", "process", "d_port")
    with chain(exec_of(*note, only_if={"process_str": "^sshd", "d_port": "^22$"}, max_running=1)) as steps:
        steps.tell(batch.with_records(batch.records.slice(0, 4)))
        assert told(steps) == {"matched": 1, "ran": 1}
        steps.tell(batch.with_records(batch.records.slice(4)))
        assert told(steps) == {"matched": 2, "ran": 2}
    assert (tmp_path / "noted").read_text() == "sshd\n22\nsshd-session\n22\n"
    with chain(exec_of(*note, only_if={"path": ""})) as steps:
        steps.tell(batch)
        steps.flush()
        assert told(steps) == {}


def test_records_of_a_batch_that_make_the_same_command_run_it_once(tmp_path: Path) -> None:
    with chain(exec_of(*noting(tmp_path / "noted", "process"), max_running=8)) as steps:
        steps.tell(named("a", "b", "a", "a", "b"))
        assert told(steps) == {"matched": 5, "same": 3, "ran": 2}
        steps.tell(named("a"))
        assert told(steps) == {"matched": 6, "same": 3, "ran": 3}
    assert sorted((tmp_path / "noted").read_text().split()) == ["a", "a", "b"]


def test_a_command_without_tags_runs_once_a_batch(tmp_path: Path) -> None:
    with chain(exec_of("sh", "-c", f"echo x >> '{tmp_path / 'noted'}'")) as steps:
        steps.tell(named("a", "b", None))
        assert told(steps) == {"matched": 3, "same": 2, "ran": 1}
    assert (tmp_path / "noted").read_text() == "x\n"


def test_a_command_of_which_a_tag_is_absent_is_not_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with chain(exec_of(*noting(tmp_path / "noted", "process", "path"))) as steps:
        steps.tell(named("a"))
        assert told(steps) == {"matched": 1, "no value": 1}
    with chain(exec_of(*noting(tmp_path / "noted", "process"))) as steps:
        steps.tell(named("a", None))
        steps.tell(named(None))
        assert told(steps) == {"matched": 3, "no value": 2, "ran": 1}
    assert caplog.text.count("lacks a tag that the command names") == 2, "once each"
    assert (tmp_path / "noted").read_text() == "a\n"


def test_a_value_that_a_program_would_take_for_an_option_is_kept_away_unless_the_command_says_it_is_none(
    tmp_path: Path,
) -> None:
    hostile = ["-o/etc/passwd", "ok"]
    note = noting(tmp_path / "noted", "process")
    with chain(exec_of(*note)) as steps:
        steps.tell(named(*hostile))
        assert told(steps) == {"matched": 2, "option": 1, "ran": 1}
    assert (tmp_path / "noted").read_text() == "ok\n"
    note[-1:] = ["--", "{ process }"]
    with chain(exec_of(*note, max_running=1)) as steps:
        steps.tell(named(hostile[0]))
        assert told(steps) == {"matched": 1, "ran": 1}
    assert (tmp_path / "noted").read_text() == "ok\n--\n-o/etc/passwd\n"


def test_what_is_beyond_the_rate_is_not_run_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    with chain(exec_of("true", "{ process }", max_per_s=3, max_running=64)) as steps:
        steps.tell(named(*(f"p{number}" for number in range(10_000))))
        found = told(steps)
        steps.flush()
        assert len(steps.rows) == 10_000
    assert found == {"matched": 10_000, "over max_per_s": 9997, "ran": 3}
    assert "more commands are due than max_per_s" in caplog.text


def test_a_rate_is_a_burst_and_what_time_adds_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rate = Rate(10)
    assert [rate.take(4), rate.take(100), rate.take(1)] == [4, 6, 0]
    now[0] += 0.25
    assert [rate.take(1), rate.take(5)] == [1, 1]
    now[0] += 3600
    assert rate.take(100) == 10


def too_long(steps: Chain, pids: Path, processes: int) -> None:
    """Have a command time out again and again, until its time was enough for it to note so many processes."""
    for times in itertools.count(1):
        steps.tell(named("a"))
        assert told(steps) == {"matched": times, "timed out": times}
        if pids.exists() and len(pids.read_text().split()) == processes:
            return


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_began(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $! > '{pids}'; echo $$ >> '{pids}'; wait"
    with chain(exec_of("sh", "-c", script, timeout_s=1)) as steps:
        too_long(steps, pids, 2)
        until(lambda: not any(lives(int(pid)) for pid in pids.read_text().split()))


def test_a_command_that_does_not_end_when_asked_is_made_to(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; echo $$ > '{pids}'; while :; do sleep 1; done"
    with chain(exec_of("sh", "-c", script, timeout_s=1)) as steps:
        too_long(steps, pids, 1)
    assert not lives(int(pids.read_text()))


def test_what_a_command_leaves_behind_in_its_group_ends_with_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with chain(exec_of("sh", "-c", f"sleep 1000 & echo $! > '{pids}'")) as steps:
        steps.tell(named("a"))
        assert told(steps) == {"matched": 1, "ran": 1}
        until(lambda: not lives(int(pids.read_text())))


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_only_so_many_run_at_a_time_and_records_never_wait_for_them() -> None:
    with chain(exec_of("sleep", "1000", "{ process }", max_running=2)) as steps:
        steps.tell(named("1", "2", "3", "4"))
        steps.flush()  # while both still run
        assert [row["process"] for row in steps.rows] == ["1", "2", "3", "4"]
        detail = steps.stations[0].detail
        assert (detail["matched"], detail["over max_running"], detail["timed out"]) == (4, 2, 0)
        steps.refs[0].stop()
        assert told(steps) == {"matched": 4, "over max_running": 2, "cut off": 2}


def test_a_command_that_is_about_to_end_when_the_agent_does_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "GRACE_S", PATIENCE_S)
    go = tmp_path / "go"
    with chain(exec_of("sh", "-c", f"until test -e '{go}'; do sleep 0.01; done")) as steps:
        steps.tell(named("a"))
        until(lambda: steps.stations[0].detail["matched"])
        go.touch()
        steps.refs[0].stop()
        assert told(steps) == {"matched": 1, "ran": 1}


def test_how_a_command_fails_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with chain(exec_of("sh", "-c", "exit 3")) as steps:
        steps.tell(named("a"))
        steps.tell(named("a"))
        assert told(steps) == {"matched": 2, "failed": 2}
    assert caplog.text.count("a command failed (exit code 3)") == 1
    with chain(exec_of("sh", "-c", "kill -9 $$")) as steps:
        steps.tell(named("a"))
        assert told(steps) == {"matched": 1, "failed": 1}
    assert "a command failed (signal 9)" in caplog.text


def test_a_command_that_cannot_be_started_is_told_until_one_can(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with chain(exec_of(str(program), "{ process }")) as steps:
        program.rename(tmp_path / "gone")
        steps.tell(named("a"))
        assert told(steps) == {"matched": 1, "not started": 1}
        assert steps.stations[0].failing == {f"running {program}": "No such file or directory"}
        (tmp_path / "gone").rename(program)
        steps.tell(named("a"))
        assert told(steps) == {"matched": 2, "not started": 1, "ran": 1}
        assert steps.stations[0].failing == {}
        steps.tell(named("x" * (1 << 18)))
        assert told(steps)["not started"] == 2
        assert steps.stations[0].failing == {f"running {program}": "its arguments are too long"}


def test_records_go_on_also_where_their_command_cannot_be_thought_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with chain(exec_of("true", "{ process }")) as steps:
        monkeypatch.setattr(Template, "fill", lambda *_: 1 / 0)
        steps.tell(named("a", "b"))
        steps.flush()
        station = steps.stations[0]
        assert [row["process"] for row in steps.rows] == ["a", "b"]
        assert (station.delivered, station.lost, station.in_flight, station.detail["errors"]) == (2, 0, 0, 1)


@pytest.mark.parametrize(
    ("program", "said"), [("no-such-program", "no folder of /usr/local/sbin"), ("/etc/passwd", "no program that can")]
)
def test_a_program_that_is_not_there_ends_the_start(tmp_path: Path, program: str, said: str) -> None:
    config = loaded(tmp_path, f'type = "Exec"\ncommand = ["{program}"]')
    with pytest.raises(PipelineError, match=f"pipeline out: Exec: the command '{program}' .*{said}"):
        Pipeline(config).fill()
    (problem,) = config.lacking()
    assert (problem.key, problem.line) == ("pipeline.out.steps[0].command", 11)
    assert said in problem.message


CHILD = """
import json, os, signal, sys
fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
state = {
    "environment": dict(os.environ), "stdin": os.read(0, 1).decode(), "blocked": list(signal.pthread_sigmask(0, [])),
    "files": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in fds if os.path.lexists(f"/proc/self/fd/{fd}")},
    "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
}
print("what nobody reads")
open(sys.argv[1], "w").write(json.dumps(state))
"""


def test_a_command_gets_nothing_of_the_agent_but_its_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script := tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP])  # as the agent does
    try:
        with (
            (tmp_path / "open").open("w") as file,
            chain(exec_of(sys.executable, "-IS", str(script), str(tmp_path / "state"))) as steps,
        ):
            os.set_inheritable(file.fileno(), True)  # noqa: FBT003 - as C libraries open files
            steps.tell(named("a"))
            assert told(steps) == {"matched": 1, "ran": 1}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    state = json.loads((tmp_path / "state").read_text())
    assert state["environment"].pop("LC_CTYPE", "C.UTF-8") == "C.UTF-8", "Python's own"
    assert state["environment"] == commands.ENVIRONMENT
    assert (state["stdin"], state["blocked"], state["leads"]) == ("", [], True)
    assert set(state["files"].values()) == {"/dev/null"}


def test_a_command_ignores_no_signal_though_python_does(tmp_path: Path) -> None:
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    with chain(exec_of("sh", "-c", f"grep SigIgn /proc/$$/status > '{tmp_path / 'said'}'")) as steps:
        steps.tell(named("a"))
        assert told(steps) == {"matched": 1, "ran": 1}
    ignored = int((tmp_path / "said").read_text().split()[1], 16)
    assert not ignored >> signal.SIGPIPE - 1 & 1


def test_a_command_may_do_what_the_agent_may_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with chain(exec_of("true")):
        assert f"they run as user {os.geteuid()}, and " in caplog.text
    without = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill", sys.executable, "-c"]
    said = subprocess.run(
        [*without, "from ingrain.steps.commands import rights; print(rights())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (
        said == f"they run as user {os.geteuid()}, and without CAP_KILL they can signal that user's processes alone\n"
    )


ITEMS = st.none() | st.text("abc", max_size=3)


@given(st.lists(st.none() | st.lists(ITEMS, max_size=3), max_size=6), st.sampled_from(["", "a", "^b", "c$"]))
def test_a_regex_is_found_in_a_list_where_it_is_in_one_of_its_items(
    rows: list[list[str | None] | None], regex: str
) -> None:
    expected = [any(item is not None and re.search(regex, item) for item in row or []) for row in rows]
    column = pa.array([None, ["x"], *rows], pa.list_(pa.string())).slice(2)
    assert finds(column, regex).tolist() == expected
    answers = [None if row is None else [{"type": "A", "data": item} for item in row] for row in rows]
    kind = pa.list_(pa.struct([("type", TEXT), ("data", pa.string())]))
    assert finds(pa.array(answers, kind), regex).tolist() == expected


@given(st.lists(ITEMS), st.sampled_from(["", "a", "^b", "c$"]))
def test_a_regex_is_found_in_the_rows_whose_value_it_is_in(rows: list[str | None], regex: str) -> None:
    expected = [row is not None and bool(re.search(regex, row)) for row in rows]
    assert finds(pa.array(rows, TEXT), regex).tolist() == expected
    assert finds(pa.array(rows, pa.string()), regex).tolist() == expected


def test_it_works_in_a_pipeline_that_asks_its_probes_for_what_it_needs(tmp_path: Path) -> None:
    command = json.dumps(noting(tmp_path / "noted", "process"))  # which is TOML, too
    step = f'type = "Exec"\ncommand = {command}\nonly_if = [{{ key = "d_port", regex = "^443$" }}]'
    assert Pipeline(loaded(tmp_path, step)).wants is None
    steps = (step, 'type = "Whitelist"\nallow = ["direction"]')
    with through(tmp_path, *steps) as run:
        assert run.pipeline.wants == frozenset({"process", "d_port", "direction"})
        run.pipeline.put(
            batch_of(
                VOLUME, [{"value": 1, "packets": 1, "process": p, "d_port": n} for p, n in [("curl", 443), ("ssh", 22)]]
            )
        )
        until(lambda: run.stations[0].detail["ran"])
    assert (tmp_path / "noted").read_text() == "curl\n"
    assert [row["value"] for row in run.rows["volume.out"]] == [1, 1]


def test_commands_that_were_never_run_leave_nothing_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        Commands("true", 4, 1).stop()
    step = Exec(ExecSettings(command=["true"]), Station("x"), Post(lambda: Stage(Station("y")), Station("y"), Inbox()))
    step.on_failure()
    step.on_failure()
    assert len(list(Path("/proc/self/fd").iterdir())) == before

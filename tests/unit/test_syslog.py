"""The agent's own log goes to the host's syslog, line by line, and never holds the agent up."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingrain import cli
from ingrain.config import LogConfig
from ingrain.config.model import LEVELS
from ingrain.syslog import Lines, Syslog

TALKER = """\
import logging
from ingrain import cli
from ingrain.config import LogConfig
cli._start_logging(LogConfig(type="Syslog", log_level="TRACE"))
log = logging.getLogger("ingrain.test")
log.debug("one")
log.info("two")
log.warning("three")
log.error("four\\n<0>kernel: forged")
log.critical("five \\x1b[2J \\u202e 日本")
try:
    raise ValueError("its reason")
except ValueError:
    log.exception("six")
log.info("x" * 1_000_000)
logging.getLogger("boto3").info("a library's")
"""

NAMESPACE = """\
mount -t tmpfs tmpfs /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/urandom c 1 9
busybox syslogd -n -O "$1/messages" & syslogd=$!
until [ -S /dev/log ]; do sleep 0.05; done
"$2" -c "$3"
until grep -q xxxx "$1/messages"; do sleep 0.05; done
kill $syslogd
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("ingrain")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "log"))
        made.settimeout(60)
        yield made


def handler_at(path: Path) -> Syslog:
    made = Syslog(str(path))
    made.setFormatter(Lines())
    return made


def say(handler: Syslog, text: str, level: int = logging.INFO) -> None:
    handler.handle(logging.LogRecord("ingrain.test", level, "", 0, text, (), None))


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
def test_busybox_s_syslogd_has_each_line_with_its_facility_severity_name_and_id(tmp_path: Path) -> None:
    command = ["unshare", "--mount", "sh", "-eu", "-c", NAMESPACE, "sh", str(tmp_path), sys.executable, TALKER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    written = (tmp_path / "messages").read_text().splitlines()
    told = [
        re.fullmatch(r"\S+ +\d+ \S+ \S+ (\S+) ingrain\[\d+\]: (.*)", line) for line in written if "ingrain[" in line
    ]
    lines = [match.groups() for match in told if match]
    assert len(lines) == len(told)
    assert lines[:4] == [
        ("user.debug", "DEBUG: one"),
        ("user.info", "INFO: two"),
        ("user.warn", "WARNING: three"),
        ("user.err", r"ERROR: four\x0a<0>kernel: forged"),
    ]
    assert lines[4][0] == "user.crit"
    assert lines[4][1].startswith(r"CRITICAL: five \x1b[2J \u202e ")
    assert lines[5] == ("user.err", "ERROR: six")
    assert lines[-2] == ("user.err", "ValueError: its reason")
    assert lines[-1][0] == "user.info"
    assert set(lines[-1][1].removeprefix("INFO: ")) == {"x"}
    assert not [line for line in written if "library" in line or "kern." in line]


def test_a_line_is_a_datagram_as_syslog_3_writes_it(tmp_path: Path, receiver: socket.socket) -> None:
    say(handler_at(tmp_path / "log"), "hello", logging.WARNING)
    assert receiver.recv(9999) == b"<12>ingrain[%d]: WARNING: hello" % os.getpid()


def test_a_syslog_that_hangs_holds_nobody_up_and_what_it_does_not_take_goes_to_stderr(
    tmp_path: Path, receiver: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = handler_at(tmp_path / "log")
    for number in range(5000):
        say(handler, f"line {number}")
    taken = 0
    receiver.settimeout(0.0)
    while True:
        try:
            assert receiver.recv(9999).endswith(f"line {taken}".encode())
        except BlockingIOError:
            break
        taken += 1
    assert 0 < taken < 5000
    assert capsys.readouterr().err.splitlines() == [f"ingrain: INFO: line {number}" for number in range(taken, 5000)]


def test_a_syslog_that_is_started_anew_is_found_again(
    tmp_path: Path, receiver: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = handler_at(tmp_path / "log")
    say(handler, "before")
    receiver.close()
    (tmp_path / "log").unlink()
    say(handler, "meanwhile")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(tmp_path / "log"))
        say(handler, "after")
        assert again.recv(9999).endswith(b": INFO: after")
    assert capsys.readouterr().err == "ingrain: INFO: meanwhile\n"


def test_without_a_syslog_the_log_goes_to_stderr_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(cli, "Syslog", lambda: Syslog(str(tmp_path / "none")))
    cli._start_logging(LogConfig(type="Syslog"))
    logging.getLogger("ingrain.test").info("hello")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(
        "ingrain: WARNING: the log goes to stderr: /dev/log cannot be used: No such file or directory"
    )
    assert "In a container, mount the host's there" in first
    assert second == "ingrain: INFO: hello"


@pytest.mark.parametrize(
    ("level", "said"),
    [("OFF", ""), ("ERROR", "CE"), ("WARN", "CEW"), ("INFO", "CEWI"), ("DEBUG", "CEWID"), ("TRACE", "CEWID")],
)
def test_each_log_level_lets_through_what_is_as_grave(
    level: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli._start_logging(LogConfig(log_level=level))
    log, library = logging.getLogger("ingrain.test"), logging.getLogger("a.library")
    for one in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG):
        log.log(one, "x")
        if one < logging.WARNING:
            library.log(one, "x")
    assert "".join(line.split()[1][0] for line in capsys.readouterr().err.splitlines()) == said


def test_a_message_is_one_line_on_stderr_too(capsys: pytest.CaptureFixture[str]) -> None:
    cli._start_logging(LogConfig())
    logging.getLogger("ingrain.test").error("a\ningrain: ERROR: forged\x1b[2J")
    assert capsys.readouterr().err == "ingrain: ERROR: a\\x0aingrain: ERROR: forged\\x1b[2J\n"


def test_there_is_no_other_log_level() -> None:
    assert set(LEVELS) == set(cli._LEVELS)

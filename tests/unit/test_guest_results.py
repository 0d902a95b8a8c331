"""What a guest's pytest tells is the host's result; what it does not tell is a failure. The guest is a process here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from guest.results import Lines, Results

TESTS = Path(__file__).parents[1]

CONFTEST = """
import os, signal, subprocess, sys
from pathlib import Path
import pytest
from guest import outside
from guest.inside import Inside
outside.GRACE_S = 2.0

class Process:
    '''The command as a process of this machine, in the place of a guest.'''
    def __init__(self, name, command, environment, files):
        Path("booted").write_text(name)
        self.shared = Path(f"shared-{name}").absolute()
        self.shared.mkdir()
        for file, text in files.items():
            (self.shared / file).write_text(text)
        command = COMMAND or [sys.executable, *command[1:]]
        self._it = subprocess.Popen(command, env=os.environ | environment | {outside.FOLDER: str(self.shared)},
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    @property
    def ended(self): return self._it.poll()
    def last_lines(self): return "kernel panic - not syncing"
    def wait(self, seconds): self._it.wait(seconds)
    def end(self):
        self._it.kill()
        self._it.wait()

COMMAND = []
KERNELS = ["9.9"]
def pytest_configure(config):
    inside = outside.KERNEL in os.environ
    folder = Path(os.environ[outside.FOLDER]) if inside else None
    config.pluginmanager.register(Inside(config, folder) if inside else outside.Outside(config, Process))

@pytest.fixture(scope="session", autouse=True)
def kernel(request): return request.param

@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    names = [os.environ[outside.KERNEL]] if outside.KERNEL in os.environ else KERNELS
    metafunc.parametrize("kernel", names, indirect=True, scope="session")
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run tests of a guest whose place a process takes; what pytest printed."""

    def _run(code: str, *options: str, command: str = "[]", kernels: str = '["9.9"]') -> str:
        folder = tmp_path / "guest"
        folder.mkdir()
        (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {TESTS}\n")
        (folder / "conftest.py").write_text(
            CONFTEST.replace("COMMAND = []", f"COMMAND = {command}").replace('["9.9"]', kernels)
        )
        (folder / "test_it.py").write_text(f"import os, pytest, signal\nINSIDE = {INSIDE}\n{code}")
        words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *options]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
        assert "INTERNALERROR" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    return _run


INSIDE = "'INGRAIN_GUEST_KERNEL' in os.environ"


def outcomes(printed: str) -> dict[str, str]:
    return dict(re.findall(r"^guest/test_it\.py::(\S+) (PASSED|FAILED|SKIPPED|XFAIL|ERROR)", printed, re.MULTILINE))


def test_every_outcome_comes_back_with_its_kernel_its_output_and_its_traceback(run: Run) -> None:
    printed = run("""
def test_good(): assert INSIDE
def test_bad():
    print("said in there")
    value = 41
    assert value == 42
@pytest.mark.skip(reason="no such thing")
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert 0
@pytest.fixture
def broken(): raise OSError("not set up")
def test_error(broken): pass
""")
    assert outcomes(printed) == {
        "test_good[9.9]": "PASSED",
        "test_bad[9.9]": "FAILED",
        "test_skipped[9.9]": "SKIPPED",
        "test_expected[9.9]": "XFAIL",
        "test_error[9.9]": "ERROR",
    }
    assert "assert 41 == 42" in printed
    assert "said in there" in printed
    assert "not set up" in printed


def test_a_guest_that_dies_fails_the_test_and_all_after_it_with_its_console(run: Run) -> None:
    printed = run("def test_1(): pass\ndef test_2(): os._exit(9) if INSIDE else None\ndef test_3(): pass\n")
    assert outcomes(printed) == {"test_1[9.9]": "PASSED", "test_2[9.9]": "FAILED", "test_3[9.9]": "FAILED"}
    assert printed.count("the guest died with 9") >= 2
    assert "kernel panic - not syncing" in printed


def test_a_guest_that_does_not_boot_fails_every_test(run: Run) -> None:
    printed = run("def test_1(): pass\ndef test_2(): pass\n", command="['false']")
    assert outcomes(printed) == {"test_1[9.9]": "FAILED", "test_2[9.9]": "FAILED"}
    assert "the guest did not boot" in printed
    assert "kernel panic - not syncing" in printed


def test_a_guest_that_hangs_fails_the_test_and_all_after_it(run: Run) -> None:
    printed = run("""
@pytest.mark.timeout(1)
def test_1(): os.kill(os.getpid(), signal.SIGSTOP)
def test_2(): pass
""")
    assert outcomes(printed) == {"test_1[9.9]": "FAILED", "test_2[9.9]": "FAILED"}
    assert "the guest hangs" in printed


def test_what_cannot_be_collected_in_the_guest_fails_with_the_reason(run: Run) -> None:
    printed = run("if INSIDE: raise ImportError('a library is missing')\ndef test_1(): pass\n")
    assert outcomes(printed) == {"test_1[9.9]": "FAILED"}
    assert "a library is missing" in printed


def test_the_guest_runs_just_what_was_selected(run: Run) -> None:
    code = """
def test_other(): raise AssertionError("ran")
@pytest.mark.parametrize("n", [1, 2])
def test_one(n, request): assert [item.name for item in request.session.items] == ["test_one[9.9-2]"]
"""
    assert outcomes(run(code, "-k", "9.9-2")) == {"test_one[9.9-2]": "PASSED"}


def test_the_first_failure_ends_the_run_where_it_is_asked_to(run: Run) -> None:
    printed = run("def test_1(): assert 0\ndef test_2(): pass\n", "-x")
    assert outcomes(printed) == {"test_1[9.9]": "FAILED"}


UNTIL = """
import time
from pathlib import Path
def until(name):
    deadline = time.monotonic() + 60
    while not Path(name).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
"""


def test_the_first_guest_works_while_this_machine_s_own_tests_do(run: Run, tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(UNTIL + "def test_here(): until('there')\n")
    printed = run("def test_1(): open('there', 'w')\n")
    assert outcomes(printed) == {"test_1[9.9]": "PASSED"}
    assert "2 passed" in printed


def test_what_is_loud_comes_when_no_guest_works_any_more(run: Run, tmp_path: Path) -> None:
    here = "@pytest.mark.loud\ndef test_here(): assert Path('ended').exists()\n"
    (tmp_path / "test_other.py").write_text(f"import pytest\nfrom pathlib import Path\n{here}")
    assert "2 passed" in run(f"{UNTIL}def test_1(): Path('ended').touch()\n")


def test_the_next_guest_works_beside_the_one_of_which_is_told_and_no_third(run: Run) -> None:
    code = """
def test_1(kernel):
    Path(f"began {kernel}").touch()
    if kernel == "1.1":
        until("began 2.2")
    assert Path("began 3.3").exists() == (kernel == "3.3")
    assert kernel != "3.3" or Path("ended 1.1").exists()
    Path(f"ended {kernel}").touch()
"""
    names = ["1.1", "2.2", "3.3"]
    printed = run(UNTIL + code, kernels=str(names))
    assert outcomes(printed) == {f"test_1[{name}]": "PASSED" for name in names}


def test_no_guest_boots_where_none_of_its_tests_is_selected(run: Run, tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_here(): pass\n")
    printed = run("def test_1(): pass\n", "-k", "test_here")
    assert "1 passed" in printed
    assert not (tmp_path / "booted").exists()


def test_a_message_is_read_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = Lines(path)
    assert lines.read() == []
    path.write_text('{"started": "6.1"}\n{"fin')
    assert lines.read() == [{"started": "6.1"}]
    with path.open("a") as file:
        file.write('ished": "a"}\n')
    assert lines.read() == [{"finished": "a"}]
    assert lines.read() == []


def test_reports_are_kept_until_their_test_s_turn() -> None:
    results = Results()
    for message in ({"started": "6.1.0"}, {"report": {"nodeid": "b"}}, {"finished": "b"}, {"report": {"nodeid": "a"}}):
        results.add(message)
    assert results.kernel == "6.1.0"
    assert [report["nodeid"] for report in results.take("a")] == ["a"]
    assert not results.finished("a")
    assert results.take("a") == []
    assert [report["nodeid"] for report in results.take("b")] == ["b"]
    assert (results.finished("b"), results.ended) == (True, False)

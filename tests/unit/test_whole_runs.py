"""In a run in which everything is installed nothing is skipped unseen: `--whole`, which `make test` gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = {
    "a test": "import pytest\ndef test_it(): pytest.skip('no such server')\n",
    "a module": "import pytest\npytest.skip('no such server', allow_module_level=True)\ndef test_it(): pass\n",
    "a mark": "import pytest\n@pytest.mark.skipif(True, reason='no such server')\ndef test_it(): pass\n",
}


def run(folder: Path, code: str, *options: str) -> tuple[int, str]:
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {Path(__file__).parents[1]}\naddopts = -p whole -ra\n")
    (folder / "test_it.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_what_is_skipped_where_everything_is_there_has_failed_with_its_reason(tmp_path: Path, code: str) -> None:
    status, said = run(tmp_path, code, "--whole")
    assert status in (1, 2)
    assert "though everything that it needs was to be there" in said
    assert "no such server" in said
    assert "1 skipped" in run(tmp_path, code)[1]


def test_what_is_expected_to_fail_is_no_test_that_is_skipped(tmp_path: Path) -> None:
    status, said = run(tmp_path, "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n", "--whole")
    assert (status, "1 xfailed" in said) == (0, True)

"""A command's arguments are those that the file lists, whatever the values that go into them are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingrain.steps.template import Template, is_command
from ingrain.text import harmless

HOSTILE = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        "; reboot",
        "$(reboot)",
        "`reboot`",
        "--force",
        "a b",
        "{ process }",
        "{process_id}",
        "",
        "'",
        '"',
        "\n",
        "\0",
        "*",
    ]
)


@given(HOSTILE, HOSTILE)
def test_a_value_is_a_part_of_its_one_argument_and_nothing_else(one: str, other: str) -> None:
    template = Template(["logger", "--tag={ process }", "--", "{ path }", "{path}{ process }", "literal", "{ path"])
    filled = template.fill({"process": one, "path": other})
    one, other = harmless(one), harmless(other)
    assert filled == ["logger", f"--tag={one}", "--", other, other + one, "literal", "{ path"]


@settings(max_examples=20)
@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_a_real_program_gets_them_so(values: list[str]) -> None:
    names = [f"t{number}" for number in range(len(values))]
    template = Template(["printf", "%s\\0", *(f"{{ {name} }}" for name in names)])
    said = subprocess.run(template.fill(dict(zip(names, values, strict=True))), capture_output=True, check=True).stdout
    assert said.decode().split("\0")[:-1] == [harmless(value) for value in values]


def test_tags_are_those_that_are_named_under_the_names_of_records() -> None:
    template = Template(["kill", "-{ signal }", "{process_pid}", "{ path_str }", "{}", "{ two words }"])
    assert template.tags == {"signal", "process_id", "path"}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["kill", "{ process_id }"], {"process_id"}),
        (["kill", "--", "{ process_id }"], set()),
        (["logger", "--tag={ process }"], set()),
        (["logger", "{ process }{ path }"], {"process", "path"}),
        (["logger", "{ process }", "--", "{ path }"], {"process"}),
    ],
)
def test_what_a_program_could_take_for_an_option_is_what_an_argument_begins_with(
    command: list[str], expected: set[str]
) -> None:
    assert Template(command).options == expected


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["{ process }"], "the program"),
        (["/usr/bin/{ process }"], "the program"),
        ([""], "the program"),
        (["bin/logger"], "whole path"),
        (["logger", "a\0b"], "NUL"),
    ],
)
def test_a_command_of_which_a_value_could_make_another_is_refused(command: Sequence[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        is_command(list(command))


@pytest.mark.parametrize(
    "command",
    [
        ["kill", "-9", "{ process_id }"],
        ["sh", "-c", 'logger -- "$1"', "sh", "{ process }"],
        ["sh", "-c", 'logger -- "$1"', "{ process }", "{ path }"],
        ["/bin/bash", "-c", "echo $#"],
        ["bash", "-lc", "echo $#"],
        ["python3.11", "-c", "import sys; print(sys.argv)", "{ process }"],
        [sys.executable, "/opt/x.py", "-c", "{ process }"],
        ["perl", "/opt/x.pl", "-e", "{ process }"],
        ["/opt/x.sh", "-c", "{ process }"],
        ["awk", "BEGIN { print 1 }"],
        ["timeout", "5", "sh", "-c", "true"],
        ["docker", "kill", "{ container_id }"],
        ["find", "/", "-exec", "ls", "{}", ";"],
        ["find", "{ path }", "-exec", "ls", "{}", ";"],
        ["find", "/quarantine", "-exec", "touch", "{ path }", ";"],
        ["ssh-keygen", "-t", "ed25519", "-C", "{ process }"],
        ["/opt/watch-files", "{ process }"],
        ["/opt/script2.sh", "{ process }"],
    ],
)
def test_others_are_taken(command: Sequence[str]) -> None:
    is_command(list(command))


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", "echo { process }"],
        ["sh", "-c", "{ process }"],
        ["bash", "-lc", "{ process }"],
        ["sh", "-ce", "{ process }"],
        ["sh", "-c", "--", "{ process }"],
        ["sh", "-c", "-", "{ process }"],
        ["bash", "-c", "-e", "{ process }"],
        ["bash", "-c", "+x", "{ process }"],
        ["bash", "-o", "errexit", "-c", "{ process }"],
        ["sh", "{ path }"],
        ["sh", "x.sh", "{ path }"],
        ["/usr/bin/env", "sh", "-c", "{ process }"],
        ["env", "-S", "sh -c { process }"],
        ["env", "X={ process }", "sh", "-c", "echo $X"],
        ["busybox", "sh", "-c", "{ process }"],
        ["sudo", "-u", "root", "bash", "-c", "{ process }"],
        ["nice", "{ path }"],
        ["timeout", "5", "sh", "-c", "{ process }"],
        ["unknown-launcher", "sh", "-c", "{ process }"],
        ["docker", "exec", "web", "/bin/sh", "-c", "{ process }"],
        ["sh", "-c", '"$@"', "sh", "bash", "-c", "{ process }"],
        ["perl", "-e", "{ process }"],
        ["sqlite3", "/x.db", "{ path }"],
        ["m4", "-D", "x={ process }"],
        ["rbash", "-c", "{ process }"],
        ["bash-static", "-c", "{ process }"],
        ["busybox.static", "{ process }"],
        ["python3-dbg", "-c", "{ process }"],
        ["gawk-5.1.0", "{ process }"],
        ["vim.tiny", "-c", "{ process }"],
        ["perl5.36-x86_64-linux-gnu", "-e", "{ process }"],
        ["perl", "-e", "1", "-e", "{ process }"],
        ["perl", "-we", "print 1", "{ process }"],
        ["ruby", "-e", "{ process }"],
        ["node", "--eval", "{ process }"],
        ["python3", "-Ic", "{ process }"],
        ["python3", "-m", "{ process }"],
        ["awk", "{ process }"],
        ["gawk-5.1", "-f", "{ path }"],
        ["sed", "p", "-e", "{ process }"],
        ["ssh", "host", "logger", "{ process }"],
        ["su", "root", "-c", "{ process }"],
        ["xargs", "{ path }"],
        ["psql", "-c", "insert into t values ('{ process }')"],
        ["find", "/", "-exec", "{ path }", ";"],
        ["find", "/", "-exec", "sh", "-c", "echo { process }", ";"],
        ["find", "/", "-execdir", "env", "{ process }", ";"],
    ],
)
def test_a_program_that_runs_its_arguments_gets_values_only_as_arguments_of_a_script(command: Sequence[str]) -> None:
    with pytest.raises(ValueError, match="could run a value as a command"):
        is_command(list(command))


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "ksh", "mksh"])
def test_what_a_shell_gets_behind_its_script_is_no_option_and_no_code_to_it(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip("it is not installed")
    for value in ("-c", "-e", "--", "+x", "-s", f"$(touch {tmp_path}/a)", f"; touch {tmp_path}/b", "-o"):
        said = subprocess.run(
            [shell, "-c", 'printf "%s\\n" "$@"', "sh", value, value], capture_output=True, text=True, check=True
        )
        assert said.stdout == f"{value}\n{value}\n"
    assert list(tmp_path.iterdir()) == []

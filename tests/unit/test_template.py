"""A command's arguments are those that the file lists, whatever the values that go into them are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

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
        (["sh", "-c", "echo { process }"], "is a script"),
        (["bash", "-lc", "{ process }"], "is a script"),
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
        [sys.executable, "-I", "/opt/x.py", "{ process }"],
        ["find", "/", "-exec", "ls", "{}", ";"],
    ],
)
def test_others_are_taken(command: Sequence[str]) -> None:
    is_command(list(command))

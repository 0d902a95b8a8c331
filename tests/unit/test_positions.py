"""Every key that tomli finds in a file has the line on which it stands there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from ingrain.config import positions

ROOT = Path(__file__).parents[2]


def paths(value: Any, path: positions.Path = ()) -> Iterator[positions.Path]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths(inner, (*path, number))


def check(source: str) -> dict[positions.Path, int]:
    """The same paths as tomli's, each on a line that holds its key."""
    found = positions.positions(source)
    assert set(found) == set(paths(tomli.loads(source)))
    lines = source.split("\n")
    for path, line in found.items():
        if path and isinstance(path[-1], str):
            assert path[-1] in lines[line - 1], (path, line)
    return found


def test_each_key_of_ingraind_s_file_has_its_line() -> None:
    found = check(
        "[[probe]]\n"
        'pipelines = ["s3"]\n'
        "[probe.config]\n"
        'type = "Files"\n'
        "[[probe]]\n"
        "[probe.config]\n"
        'type = "TLS"\n'
        "[[pipeline.s3.steps]]\n"
        'type = "Regex"\n'
        "patterns = [\n"
        "  # two\n"
        '  { key = "process", regex = "conn\\\\d+" },\n'
        '  { key = "path",\n'
        '    regex = "x" },\n'
        "]\n"
    )
    assert found["probe", 0, "config", "type"] == 4
    assert found["probe", 1] == 5
    assert found["probe", 1, "config"] == 6
    assert found["probe", 1, "config", "type"] == 7
    assert found["pipeline", "s3"] == 8
    assert found["pipeline", "s3", "steps", 0, "patterns"] == 10
    assert found["pipeline", "s3", "steps", 0, "patterns", 0, "regex"] == 12
    assert found["pipeline", "s3", "steps", 0, "patterns", 1] == 13
    assert found["pipeline", "s3", "steps", 0, "patterns", 1, "regex"] == 14


@pytest.mark.parametrize(
    "source",
    [
        "",
        "\n\n# only this\n",
        'a = """\n[b]\nc = 1"""\nd = 2\n',
        'a = """""x"""""\nb = 1\n',
        "a = '''\n'' x = 1'''''\nb = 1\n",
        'a = "]" # ]\nb = [ "]", \'[\', # ]\n "}" ]\nc = { d = "}", e = [1, 2] }\n',
        'a = "\\"" \nb = "\\\\"\nc = """\\""""\nd = 1\n',
        "a.b.c = 1\na.b.d = 2\n[e.f]\ng = 1\n[e]\nh = 2\n",
        '"a.b" = 1\n\'c d\'."e#f" = 2\n["g]".h]\ni = 1\n[["j"]]\n[["j"]]\n[j.k]\nl = 1\n',
        "[[a]]\n[[a.b]]\nc = 1\n[[a.b]]\n[[a]]\n[[a.b]]\nd = 1\n[a.b.e]\nf = 1\n",
        "a = 1979-05-27 07:32:00Z\nb = 1_000\nc = -inf\nd = [1.5, true,]\ne = {}\nf = []\n",
        "a = 1\r\n[b]\r\nc = [ 1,\r\n 2 ]\r\n[ d . e ]\r\nf = 2\r\n",
        "[a]\nb=1",
        "a = [[1, [2]], [{b = [{c = 1}]}]]\nd = 3",
        "a = {\n  b = 1, # }\n  c = 2,\n}\nd = 1\n",
    ],
)
def test_every_form_of_toml_is_followed(source: str) -> None:
    check(source)


def test_escapes_in_quoted_keys_are_read_as_tomli_reads_them() -> None:
    assert positions.positions('x = 0\n"a\\u0062\\n" = 1\n')["ab\n",] == 2


KEYS = st.text("abc.-_ #=[]'\"é", min_size=1, max_size=4)
SCALARS = st.sampled_from(
    ["1", "-0.5", "true", "07:32:00", '"x"', "'#'", '"""\n]\n"""', "'''\n[a]\n'''", '"\\"}"', "1979-05-27 07:32:00"]
)
BREAKS = st.sampled_from(["", " ", "\n", "\n\n", " # ], }\n", "\n\t# x = 1\n"])


def quote(draw: st.DrawFn, key: str) -> str:
    if key.isascii() and key.replace("-", "a").replace("_", "a").isalnum() and draw(st.booleans()):
        return key
    return f"'{key}'" if "'" not in key else f'"{key}"'


@st.composite
def texts_of_values(draw: st.DrawFn, depth: int = 0) -> str:
    kind = draw(st.sampled_from(["scalar", "scalar", "array", "table"])) if depth < 3 else "scalar"
    if kind == "scalar":
        return draw(SCALARS)
    parts = [draw(texts_of_values(depth + 1)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "array":
        inner = "".join(draw(BREAKS) + part + draw(BREAKS) + "," for part in parts)
        return f"[{inner}{draw(BREAKS)}]"
    keys = draw(st.lists(KEYS, min_size=len(parts), max_size=len(parts), unique=True))
    return "{" + ", ".join(f"{quote(draw, key)} = {part}" for key, part in zip(keys, parts, strict=True)) + "}"


@st.composite
def files(draw: st.DrawFn) -> str:
    text = ""
    for at in range(draw(st.integers(0, 5))):
        header = ".".join(quote(draw, key) for key in [f"t{at % 3}", *draw(st.lists(KEYS, max_size=2))])
        text += draw(st.sampled_from([f"[{header}]\n", f"[[{header}]]  # [[\n", ""]))
        for key in draw(st.lists(KEYS, max_size=3, unique=True)):
            dotted = draw(st.sampled_from(["", "d.", "'d' . "]))
            text += f"{dotted}{quote(draw, key)} = {draw(texts_of_values())}{draw(st.sampled_from(['', ' # x']))}\n"
    return text


def accepted(source: str) -> bool:
    try:
        tomli.loads(source)
    except tomli.TOMLDecodeError:
        return False
    return True


@given(files().filter(accepted))
def test_every_path_that_tomli_finds_has_a_line_that_holds_its_key(source: str) -> None:
    check(source)


@pytest.mark.parametrize(
    "file", [*sorted((ROOT / "config").glob("*.toml")), ROOT / "pyproject.toml"], ids=lambda f: f.name
)
def test_every_key_of_the_files_of_this_project_has_a_line(file: Path) -> None:
    check(file.read_text())

"""The pages say what the code says: links, tests, messages and configurations are real, generated parts are fresh."""

from __future__ import annotations

import ast
import errno
import os
import re
from functools import cache
from pathlib import Path

import pytest
from reference import ROOT, pages, settings

from ingrain import config
from ingrain.backends import BACKENDS
from ingrain.config.model import AgentConfig, LogConfig
from ingrain.grains import GRAINS, OWN
from ingrain.onefile import tree
from ingrain.registry import find_class
from ingrain.steps import STEPS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_DIFFERS = "…"


def links(page: Path) -> list[str]:
    """What it leads to in the repository, with anchors."""
    return [link for link in _LINK.findall(_CODE.sub("", page.read_text())) if not link.startswith("http")]


@cache
def anchors(page: Path) -> set[str]:
    """As GitHub makes them of titles."""
    titles = re.findall(r"^#+ (.*)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    made = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in plain]
    return {f"{one}-{before}" if (before := made[:at].count(one)) else one for at, one in enumerate(made)}


@pytest.mark.parametrize("page", pages())
def test_what_is_made_from_the_code_is_fresh(page: str) -> None:
    assert (ROOT / page).read_text() == pages()[page], f"`make docs` writes the generated parts of {page} anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), link
        if anchor:
            assert anchor in anchors(there), link


def test_every_page_is_one_click_from_the_readme() -> None:
    led_to = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    assert [page.name for page in PAGES[1:] if page not in led_to] == []


def test_every_example_is_two_clicks_from_the_readme() -> None:
    clicked = [ROOT / "README.md", *PAGES[1:]]
    shown = "".join(page.read_text() for page in clicked)
    files = [*(ROOT / "config").glob("*.*"), *(ROOT / "docker").glob("*.yaml"), ROOT / "docker/Dockerfile"]
    assert [file.name for file in files if file.name not in shown] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_is_one(page: Path) -> None:
    named = set(re.findall(r"\btest_\w+", _CODE.sub("", page.read_text())))
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(name for name in named - files if f"def {name}(" not in sources) == []


def test_every_promise_of_delivery_and_memory_has_its_test() -> None:
    rows = re.findall(r"^\| (?!promise|-)[^|]+ \| ([^|]*) \|$", promises(), re.MULTILINE)
    assert len(rows) >= 18
    assert [row for row in rows if "`test_" not in row and "the same" not in row] == []


def promises() -> str:
    """The tables of docs/reliability.md whose second column is the test."""
    page = (ROOT / "docs/reliability.md").read_text()
    return "\n".join(re.findall(r"^\| promise \| test \|\n(?:\|.*\n)+", page, re.MULTILINE))


@cache
def said() -> list[str]:
    """Every text of the code, in the pieces between what is put into it, and those of the C library."""
    found = [os.strerror(number) for number in errno.errorcode]
    for path in (ROOT / "ingrain").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += re.split(r"%[-.,\d]*[sdrfg]", node.value)
    return found


def test_every_message_that_troubleshooting_quotes_is_one_of_the_code_s() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text()
    cells = re.findall(r"^\| (?!you see)((?:`[^`]*`|[^|`])+) \|", page, re.MULTILINE)
    messages = [quoted for cell in cells for quoted in re.findall(r"`([^`]+)`", cell) if " " in quoted]
    assert len(messages) > 50
    for message in messages:
        if message.startswith("FILE:LINE"):  # what each problem of a configuration is printed as
            continue
        for piece in filter(None, (part.strip(" :;,.(") for part in message.split(_DIFFERS))):
            assert any(piece in text for text in said()), f"{message!r}: no text of the code has {piece!r}"


def completed(excerpt: str) -> str:
    """A configuration of an excerpt of one: with backends for its pipelines, and a probe that feeds them."""
    pipelines = set(re.findall(r"^\[+pipeline\.(\w+)\.", excerpt, re.MULTILINE))
    for listed in re.findall(r"^pipelines = \[(.*)\]", excerpt, re.MULTILINE):
        pipelines |= set(re.findall(r'"(\w+)"', listed))
    for name in sorted(pipelines):
        if f"[pipeline.{name}.config]" not in excerpt:
            excerpt += f'[pipeline.{name}.config]\nbackend = "Console"\n'
    if "[[probe]]" not in excerpt:
        excerpt += f'[[probe]]\npipelines = {sorted(pipelines)}\n[probe.config]\ntype = "Files"\n'
    return excerpt


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "extending.md"], ids=lambda page: page.name)
def test_every_configuration_on_a_page_loads(page: Path, tmp_path: Path) -> None:
    for number, excerpt in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)):
        file = tmp_path / f"{number}.toml"
        file.write_text(completed(excerpt))
        config.load(file)


def test_the_one_file_has_what_the_page_on_installing_says_that_questions_need() -> None:
    page = " ".join((ROOT / "docs/install.md").read_text().split())
    assert "The one file contains what they need" in page
    assert "duckdb" in tree.versions()


@pytest.mark.parametrize("place", [*GRAINS.values(), *OWN.values(), *STEPS.values(), *BACKENDS.values()])
def test_every_key_is_described(place: str) -> None:
    described = settings.described(find_class(place).Settings)
    assert all(described.values())


def test_every_key_of_agent_and_log_is_described() -> None:
    assert set(settings.described(AgentConfig)) == set(AgentConfig.__struct_fields__)
    assert set(settings.described(LogConfig)) == set(LogConfig.__struct_fields__)

"""The report in a real browser: it asks for nothing, says nothing, tells what is pointed at, and harms nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import day
import pytest
from browser import Browser, browser
from pictures import picture

from ingrain import cli

PNG_MOST = 200_000


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    return report(day.write(folder / "archive", day.hostile()), folder / "report.html")


def report(archive: Path, file: Path) -> Path:
    assert cli.main(["report", "--archive", str(archive), *day.WHEN, "-o", str(file)]) == 0
    return file


def test_it_looks_as_it_should_and_tells_what_is_pointed_at(
    shown: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.write(tmp_path / "archive", day.events())
    monkeypatch.chdir(tmp_path)  # whose path is not for a picture
    file = report(Path("archive"), tmp_path / "report.html")
    shown.open(file)
    shown.point("#traffic .tip:nth-of-type(41)")
    assert (
        shown.evaluate("document.getElementById('tip').textContent.split('\\n')[0]") == "2025-03-01 12:20:00 UTC, 5 min"
    )
    assert "sent  " in shown.evaluate("document.getElementById('tip').innerText")
    assert shown.evaluate("getComputedStyle(document.getElementById('tip')).display") == "block"
    shown.point("#talks .ribbon")
    assert "nginx in shop → api.example.test" in shown.evaluate("document.getElementById('tip').textContent")
    shown.point("h1")
    assert shown.evaluate("getComputedStyle(document.getElementById('tip')).display") == "none"
    width = shown.evaluate("document.documentElement.scrollWidth")
    assert width <= shown.evaluate("innerWidth"), "no part of it is wider than the page"
    taken = picture("report.png", tmp_path)
    shown.picture(taken, height=1450)
    assert 10_000 < taken.stat().st_size < PNG_MOST
    ground = "getComputedStyle(document.body).backgroundColor"
    light = shown.evaluate(ground)
    shown.open(file, dark=True)
    assert shown.evaluate(ground) != light
    assert shown.requests() == [file.as_uri()]
    assert shown.complaints() == []


def test_names_that_are_chosen_to_do_harm_are_texts(shown: Browser, hostile: Path) -> None:
    shown.open(hostile)
    assert shown.evaluate("document.title").startswith("ingrain: ")
    assert shown.evaluate("document.querySelectorAll('script, img, style, iframe, link').length") == 3
    cells = shown.evaluate("[...document.querySelectorAll('#programs td:first-child')].map(one => one.textContent)")
    expected = [text.replace("\u202e", "\\u202e") for text in day.HOSTILE]
    assert sorted(cells) == sorted(expected)
    told = shown.evaluate("JSON.parse(document.getElementById('figures').textContent).sections.programs.programs.rows")
    assert sorted(row["executable"] for row in told) == sorted(expected)
    shown.point("#talks .ribbon")
    assert shown.evaluate("document.getElementById('tip').children.length") == 0
    assert shown.requests() == [hostile.as_uri()]
    assert shown.complaints() == []


def test_a_script_that_got_into_the_page_would_not_run(shown: Browser, hostile: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    harm = "<script>document.title='pwned'</script><img src='http://127.0.0.1:9/' onerror=\"document.title='pwned'\">"
    file.write_text(hostile.read_text().replace("</body>", f"{harm}</body>"))
    shown.open(file)
    assert shown.evaluate("document.title") != "pwned"
    assert any("Content Security Policy" in one for one in shown.complaints())

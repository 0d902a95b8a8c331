"""The report in a real browser: it asks for nothing, says nothing, tells what is pointed at, and harms nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import day
import pytest
from browser import Browser, browser
from pictures import picture

from ingrain import cli

PNG_MOST = 300_000
READABLE = 4.5
"""The least contrast of text that WCAG 2.2 asks for (1.4.3)."""

FAINTEST = """(() => {
  const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const linear = (of) => (of / 255 <= 0.04045 ? of / 255 / 12.92 : ((of / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    const [red, green, blue] = numbers(colour).map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (of) => {
    const colour = getComputedStyle(of).backgroundColor;
    return numbers(colour)[3] === 0 ? ground(of.parentElement) : colour;
  };
  const contrast = (of) => {
    const style = getComputedStyle(of);
    const both = [of instanceof SVGElement ? style.fill : style.color, ground(of)].map(luminance);
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  };
  const written = (of) => [...of.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
  return [...document.querySelectorAll("body :not(script, title, #tip)")]
    .filter(written)
    .map((of) => [contrast(of), of.outerHTML.slice(0, 100)])
    .sort((one, other) => one[0] - other[0])[0];
})()"""
"""The contrast of the text that has the least, and whose it is."""


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
    assert "nginx in shop on web-1 → api.example.test" in shown.evaluate("document.getElementById('tip').textContent")
    shown.point("h1")
    assert shown.evaluate("getComputedStyle(document.getElementById('tip')).display") == "none"
    width = shown.evaluate("document.documentElement.scrollWidth")
    assert width <= shown.evaluate("innerWidth"), "no part of it is wider than the page"
    taken = picture("report.png", tmp_path)
    shown.picture(taken, height=shown.evaluate("document.querySelector('#talks .plot').getBoundingClientRect().bottom"))
    assert 10_000 < taken.stat().st_size < PNG_MOST
    ground = "getComputedStyle(document.body).backgroundColor"
    light = shown.evaluate(ground)
    shown.open(file, dark=True)
    assert shown.evaluate(ground) != light
    assert shown.requests() == [file.as_uri()]
    assert shown.complaints() == []


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("known")
    return report(day.write(folder / "archive", day.events()), folder / "report.html")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_has_the_contrast_that_is_needed_to_read_it(shown: Browser, known: Path, *, dark: bool) -> None:
    shown.open(known, dark=dark)
    contrast, whose = shown.evaluate(FAINTEST)
    assert contrast >= READABLE, whose


def test_on_paper_it_is_light_and_nothing_is_cut_off(shown: Browser, known: Path) -> None:
    shown.open(known)
    light = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    shown.open(known, dark=True, paper=True, width=720)  # A4 between its margins
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == light
    assert shown.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    cut_off = "[...document.querySelectorAll('.wide')].filter(one => one.scrollWidth > one.clientWidth + 1).length"
    assert shown.evaluate(cut_off) == 0


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

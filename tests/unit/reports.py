"""Reports as tests read them: what a page is made of, and the figures in it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import day
from archived import Row

from ingrain import cli

Figures = dict[str, dict[str, Any]]


class Page(HTMLParser):
    """What a page is made of: its elements with their attributes, and the text of its data."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.text = file.read_text()
        self.feed(self.text)
        self.document = json.loads(self.data)
        self.figures: Figures = self.document["sections"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1] == ("script", {"type": "application/json", "id": "figures"}):
            self.data += data

    def rows(self, section: str, figure: str) -> list[Row]:
        return list(self.figures[section][figure]["rows"])


def report(archive: Path, file: Path, *more: str) -> Page:
    """The report of the six hours of an archive."""
    assert cli.main(["report", "--archive", str(archive), *day.WHEN, *more, "-o", str(file)]) == 0
    return Page(file)


def made_of(made: dict[str, list[Row]], folder: Path, *more: str) -> Page:
    """The report of an archive of these records."""
    return report(day.write(folder / "archive", made), folder / "report.html", *more)


def tile(page: Page, title: str) -> str:
    """The number that stands at the top under this title."""
    (found,) = re.findall(rf">{title}</a></dt><dd[^>]*>([^<]*)<", page.text)
    return str(found)


def when(ns: int) -> str:
    """A time as the figures have it, to the second."""
    return datetime.fromtimestamp(ns // day.SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")

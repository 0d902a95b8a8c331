"""The screen: how the agent is, its rates, and one table at a time, once a second. 80x24 is enough, without colours."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from rich.filesize import decimal
from rich.text import Text
from textual import on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.widgets import DataTable, Footer, Input, Static, TabbedContent, TabPane

from ingrain.live.frames import Frame
from ingrain.status import Status, StatusError
from ingrain.text import harmless
from ingrain.top.sources import Seen, Source
from ingrain.top.tally import Row
from ingrain.top.views import NOTHING, VIEWS, WINDOW_S, Figure, Table

ROWS = 500
"""Shown at the most; more than anybody scrolls through in a second."""

_MARKS = "▲▼"  # of the column by which rows are sorted: rising, falling
_WIDEST = 40  # of a text in a table; the whole of it is found by a filter all the same

Connect = Callable[[Seen, Callable[[str], None]], Source]
"""Begins to watch: gives frames to the first, and why there are no more to the second. Raises LocalError."""


class Top(App[None]):
    """`connect`: to what is watched."""

    TITLE = "ingrain top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #agent, #probes, #problems { height: auto; padding: 0 1; }
    #problems { color: $text-error; text-style: bold; max-height: 4; }
    #problems.none { display: none; }
    Screen { overflow: hidden; }
    TabbedContent, ContentSwitcher, TabPane, DataTable { height: 1fr; }
    TabPane { padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "sort by next column"),
        Binding("r", "reverse", "reverse"),
        Binding(
            "slash", "filter", "filter", key_display="/", priority=True
        ),  # what is typed behind it is for the filter
        Binding("space", "pause", "pause"),
        *(Binding(str(at), f"show('{view.title}')", view.title, show=False) for at, view in enumerate(VIEWS, 1)),
        Binding("q", "quit", "quit"),
        Binding("escape", "unfilter", "no filter", show=False),
    ]

    def __init__(self, connect: Connect) -> None:
        super().__init__()
        self._connect = connect
        self._source: Source | None = None
        self._tables = {view.title: Table(view) for view in VIEWS}
        self._sorted = {view.title: len(view.keys) for view in VIEWS}  # by the first figure
        self._falling = True
        self._paused = False
        self._left_out = 0
        self._ended = ""
        self.failed = ""
        """Why nothing can be watched."""

        self._before: tuple[float, dict[str, tuple[int, int]]] = (0.0, {})
        self._lock = threading.Lock()  # frames come in a thread of their own

    def compose(self) -> ComposeResult:
        """The widgets, from above."""
        yield Static(id="agent", markup=False)
        yield Static(id="probes")
        yield Static(id="problems", classes="none", markup=False)
        yield Input(placeholder="press / to filter rows, Esc to show all", id="filter", compact=True)
        with TabbedContent():
            for view in VIEWS:
                with TabPane(view.title, id=view.title):
                    yield DataTable(id=f"table-{view.title}", cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to watch."""
        for view in VIEWS:
            table = self._widget(view.title)
            for title in _titles(view.title):
                table.add_column(f"{title}  ", key=title)
        self.query_one("#agent", Static).update("connecting ...")
        self._widget(VIEWS[0].title).focus()
        self._begin()
        self.set_interval(1.0, self._look)

    def on_unmount(self) -> None:
        """Watch no more."""
        if self._source:
            self._source.stop()

    def action_sort(self) -> None:
        """Sort by the next column."""
        title = self._shown
        self._sorted[title] = (self._sorted[title] + 1) % len(_titles(title))
        self._falling = len(self._tables[title].view.keys) <= self._sorted[title]
        self._draw()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._falling = not self._falling
        self._draw()

    def action_pause(self) -> None:
        """Keep what is shown, or go on."""
        self._paused = not self._paused

    def action_filter(self) -> None:
        """Ask for a text that rows must contain."""
        asked = self.query_one("#filter", Input)
        if asked.has_focus:
            asked.insert_text_at_cursor("/")
        else:
            self.set_focus(asked)

    def action_unfilter(self) -> None:
        """Show all rows."""
        self.query_one("#filter", Input).value = ""
        self._widget(self._shown).focus()
        self._draw()

    def action_show(self, title: str) -> None:
        """Another table."""
        self.query_one(TabbedContent).active = title

    @on(Input.Submitted)
    def _filtered(self) -> None:
        self._widget(self._shown).focus()

    @on(Input.Changed)
    @on(TabbedContent.TabActivated)
    def _draw(self) -> None:
        """The table that is shown, as it is now."""
        title = self._shown
        with self._lock:
            rows = self._tables[title].rows(time.monotonic(), self.query_one("#filter", Input).value)
            cells = [_values(title, row) for row in rows]
        by = self._sorted[title]
        cells.sort(key=lambda row: row[by], reverse=self._falling)
        table = self._widget(title)
        at = table.cursor_row
        for number, (column, name) in enumerate(zip(table.ordered_columns, _titles(title), strict=True)):
            column.label = Text(f"{name} {_MARKS[self._falling] if number == by else ' '}")
        table.clear()
        for row in cells[:ROWS]:
            table.add_row(*_cells(title, row))
        table.move_cursor(row=at, animate=False)

    @work(thread=True)
    def _begin(self) -> None:
        """Probes take seconds to load."""
        try:
            self._source = self._connect(self._seen, self._end)
        except Exception as error:  # noqa: BLE001 the thread's edge: it is told when the screen is gone
            self.failed = str(error)
            self._show(self.exit, None, 1)

    def _seen(self, frame: Frame) -> None:
        now = time.monotonic()
        with self._lock:
            self._left_out += frame.left_out
            for table in self._tables.values():
                table.add(frame, now)

    def _end(self, why: str) -> None:
        self._ended = why

    def _look(self) -> None:
        if not self._paused:
            self._ask()
            with suppress(NoMatches):  # it is ending, and what it draws on has gone
                self._draw()

    @work(thread=True, exclusive=True)
    def _ask(self) -> None:
        if self._source is None or self._ended:
            self._show(self._trouble, [self._ended] if self._ended else [])
            return
        try:
            status = self._source.status()
        except StatusError as error:
            self._show(self._trouble, [str(error)])
        else:
            self._show(self._tell, status)

    def _show(self, what: Callable[..., None], *arguments: object) -> None:
        """Call it in the thread that draws; not at the end, when what it draws on has gone."""
        with suppress(NoMatches, RuntimeError):  # the latter where the app has ended
            self.call_from_thread(what, *arguments)

    def _tell(self, status: Status) -> None:
        now, (before, counts) = time.monotonic(), self._before
        told = {harmless(probe.name): (probe.records, probe.lost) for probe in status.account.probes}
        self._before = now, told
        words = Text()
        for name, (seen, lost) in told.items():
            seen_before, lost_before = counts.get(name, (seen, lost))
            words.append(f"{name} {max(0, seen - seen_before) / max(now - before, 0.1):,.0f}/s", "bold")
            words.append(f" {lost:,} lost  " if lost else "  ", "bold red" if lost > lost_before else "red")
        self.query_one("#probes", Static).update(words)
        up = time.strftime("%T", time.gmtime(max(0.0, status.at - status.started)))
        whose = Path(status.file).name or "its own probes"
        self.query_one("#agent", Static).update(
            f"ingrain {harmless(status.version)}  {harmless(whose)}  up {up}  rates of {WINDOW_S} s"
        )
        left_out = [f"{self._left_out:,} records were not shown: they came too fast"] if self._left_out else []
        self._trouble([*left_out, *status.problems])

    def _trouble(self, problems: Sequence[str]) -> None:
        shown = self.query_one("#problems", Static)
        shown.set_class(not problems, "none")
        shown.update("\n".join(map(harmless, problems)))

    @property
    def _shown(self) -> str:
        return self.query_one(TabbedContent).active or VIEWS[0].title

    def _widget(self, title: str) -> DataTable[Text]:
        return self.query_one(f"#table-{title}", DataTable)


def _titles(title: str) -> list[str]:
    view = next(view for view in VIEWS if view.title == title)
    figures = [f"{figure.title}/s" if figure.is_bytes else figure.title for figure in view.figures]
    return [*map(_short, view.keys), *figures, *map(_short, view.last)]


def _short(tag: str) -> str:
    return {"process_id": "id", "q_name": "name", "container_id": "container id"}.get(tag, tag)


def _values(title: str, row: Row) -> list[str | float]:
    """What the columns are sorted by: bytes a second, counts of all the time, texts."""
    view = next(view for view in VIEWS if view.title == title)
    numbers = [_number(figure, *pair) for figure, *pair in zip(view.figures, row.recent, row.total, strict=True)]
    return [*row.key, *numbers, *(row.last.get(tag, NOTHING) for tag in view.last)]


def _number(figure: Figure, recent: int, total: int) -> float:
    return recent / WINDOW_S if figure.is_bytes else total


def _cells(title: str, values: Sequence[str | float]) -> list[Text]:
    return [_cell(name, value) for name, value in zip(_titles(title), values, strict=True)]


def _cell(title: str, value: str | float) -> Text:
    if isinstance(value, str):
        text = Text(value)
        text.truncate(_WIDEST, overflow="ellipsis")
        return text
    told = (
        decimal(int(value)).replace(" bytes", " B").replace(" byte", " B") if title.endswith("/s") else f"{value:,.0f}"
    )
    return Text(told if value else "", justify="right")

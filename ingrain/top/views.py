"""What is shown: tables, each with its keys and the sums that records add to. A table more is an entry of `VIEWS`.

In: frames, as the agent sends them. Out: rows, filtered and sorted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ingrain.columns import as_text, groups, sums
from ingrain.live.frames import Frame
from ingrain.text import harmless
from ingrain.top.tally import Row, Tally

WINDOW_S = 10
"""Rates are those of the last seconds, so many."""

NOTHING = "-"
"""What stands for a tag that a record does not have."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of numbers: the sum of `of`, a measurement's column; without one, its records are counted."""

    title: str
    measurement: str
    of: str = ""

    @property
    def is_bytes(self) -> bool:
        """Whether it is shown as bytes a second."""
        return bool(self.of)


@dataclass(frozen=True, slots=True)
class View:
    """A table: a row for each value of `keys`. last: tags of which the last value is shown, too."""

    title: str
    keys: tuple[str, ...]
    figures: tuple[Figure, ...]
    last: tuple[str, ...] = ()


_SENT, _RECEIVED = Figure("sent", "volume.out", "value"), Figure("recv", "volume.in", "value")
_CONNECTIONS, _RUN = Figure("conns", "connection.out"), Figure("runs", "process.exec")

VIEWS = (
    View(
        "Processes",
        ("process", "process_id"),
        (_SENT, _RECEIVED, _CONNECTIONS, Figure("names", "dns.query"), Figure("opens", "file.open"), _RUN),
        ("container",),
    ),
    View("Names", ("q_name",), (Figure("queries", "dns.query"), Figure("answers", "dns.answer")), ("rcode", "process")),
    View("TLS", ("sni",), (Figure("hellos", "tls.handshake.clienthello"),), ("d_ip", "ja4", "process")),
    View(
        "Files",
        ("path",),
        (
            Figure("read", "file.read", "value"),
            Figure("written", "file.write", "value"),
            Figure("opens", "file.open"),
            Figure("deletes", "file.delete"),
        ),
        ("process",),
    ),
    View(
        "Containers",
        ("container",),
        (_SENT, _RECEIVED, Figure("lines", "container.stdout"), Figure("errors", "container.stderr"), _RUN),
        ("image", "container_id"),
    ),
)


class Table:
    """One view, filled."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._tally = Tally(len(view.figures), WINDOW_S)

    def add(self, frame: Frame, now: float) -> None:
        """Take what concerns it of these records."""
        keys = [key for key in self.view.keys if key in frame.records.schema.names]
        for which, figure in enumerate(self.view.figures):
            if figure.measurement == frame.measurement and len(keys) == len(self.view.keys):
                self._add(frame.records, which, figure, now)

    def rows(self, now: float, containing: str = "") -> list[Row]:
        """Those in which the text is found, in any case; in no order."""
        wanted = containing.casefold()
        return [
            row
            for row in self._tally.rows(now)
            if not wanted or any(wanted in text.casefold() for text in (*row.key, *row.last.values()))
        ]

    def _add(self, records: pa.RecordBatch, which: int, figure: Figure, now: float) -> None:
        group, first = groups(records, self.view.keys)
        count = len(first)
        if figure.of:
            amounts = sums(records.column(figure.of).to_numpy(), group, count)
        else:
            amounts = np.bincount(group, minlength=count)
        newest = np.zeros(count, np.int64)
        newest[group] = np.arange(len(group))
        texts = [_texts(records.column(key), first) for key in self.view.keys]
        lasts = {tag: _texts(records.column(tag), newest) for tag in self.view.last if tag in records.schema.names}
        for at, (key, amount) in enumerate(zip(zip(*texts, strict=True), amounts.tolist(), strict=True)):
            if any(text != NOTHING for text in key):
                row = self._tally.add(key, which, amount, now)
                row.last.update((tag, values[at]) for tag, values in lasts.items() if values[at] != NOTHING)


def _texts(column: pa.Array, rows: np.ndarray) -> list[str]:
    """Of these rows, as a terminal can show it."""
    values = as_text(column.take(pa.array(rows))).to_pylist()
    return [NOTHING if value is None or value == "" else harmless(value) for value in values]

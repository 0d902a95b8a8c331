"""Console: records on stdout, one per line, for people or as JSON.

In: any batch. A reader that has gone, or that does not read for STALL_S, costs the records, counted, not the agent.
"""

from __future__ import annotations

from typing import Literal

from ingrain.account import Station
from ingrain.backends.lines import json_lines, raw, text_lines
from ingrain.backends.output import Output
from ingrain.backends.pieces import pieces
from ingrain.backends.reach import Reach
from ingrain.batch import Batch
from ingrain.settings import Settings
from ingrain.stage import Backend

_ROWS, _TEXT = 8192, 4 << 20  # rendered at a time: some megabytes


class ConsoleSettings(Settings, frozen=True):
    """How a record is printed.

    format: `text` for people, or `json`, one object per line
    """

    format: Literal["text", "json"] = "text"


class Console(Backend):
    """A record is delivered when its line is written. `detail` has the reasons of losses."""

    Settings = ConsoleSettings

    def __init__(self, settings: ConsoleSettings, station: Station, output: Output | None = None) -> None:
        super().__init__(station)
        self._render = json_lines if settings.format == "json" else text_lines
        self._output = output or Output.stdout()
        self._reach = Reach(station, "writing to stdout")

    def deliver(self, batch: Batch) -> None:
        """Write the batch's lines, as far as stdout takes them."""
        rest = len(batch)
        for part in pieces(batch, _ROWS, _TEXT):
            data, bounds = raw(self._render(part))
            written, why = self._output.write(data, bounds.tolist(), self)
            rest -= written
            if written:
                self.delivered(written, part.oldest)
            if why:
                self.station.lost += rest
                self.station.detail[why] += rest
                self._reach.fails(why, "Records that cannot be written are counted as lost")
                return
        if len(batch):
            self._reach.works()

    def close(self) -> None:
        """Finish the line that stdout took in part, if it can be finished now."""
        if not self._output.finish(self):
            self.station.delivered -= 1
            self.station.lost += 1
            self.station.detail["cut off"] += 1

"""Exec: run a command for records that meet conditions. In: any batch; out: the same batch, at once.

Conditions are tried on a column's distinct values. There is no shell: each `{ tag }` of the command becomes a part of
one argument, whatever the value is. How often, how many at a time and for how long is bounded; each outcome is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingrain.account import Station
from ingrain.backends.reach import Reach
from ingrain.batch import Batch
from ingrain.columns import as_text, groups
from ingrain.settings import Settings
from ingrain.stage import Downstream, Place, Step
from ingrain.steps.commands import Commands, Rate, find, rights
from ingrain.steps.regex import re2
from ingrain.steps.template import Template, is_command, named, only_program
from ingrain.tags import canonical

log = logging.getLogger(__name__)

_COLLECT_S = 0.5  # how often what became of commands is asked for while some run

_SAID = {
    "no value": "a record lacks a tag that the command names; no command is run for such records",
    "option": "a value begins with a dash, which the program would take for an option; no command is run for such "
    'records. Where the program knows "--", let that stand before it',
    "over max_per_s": "more commands are due than max_per_s; those beyond are not run",
    "over max_running": "as many commands run as max_running; those beyond are not run",
    "failed": "a command failed",
    "timed out": "a command took longer than timeout_s, and was ended",
}
"""What is not as it should be, and what an operator reads of it the first time."""


class Condition(Settings, frozen=True):
    """What has to hold of a record.

    key: the tag
    regex: found anywhere in its value, or, if that is a list, in one of its items (RE2 syntax)
    """

    key: Annotated[str, msgspec.Meta(min_length=1)]
    regex: Annotated[str, msgspec.Meta(extra={"check": re2})]


class ExecSettings(Settings, frozen=True):
    """The command and its bounds. What exceeds them is counted and not run later: by then a process id may be reused.

    command: the program and its arguments; `{ tag }` is replaced by the tag's value
    only_if: conditions, all of which must hold; by default the command runs for every record
    max_per_s: the most commands started per second
    max_running: the most commands that run at the same time
    timeout_s: seconds that a command may take before it is ended
    """

    command: Annotated[list[str], msgspec.Meta(min_length=1, extra={"check": is_command, "shown": only_program})]
    only_if: list[Condition] = msgspec.field(default_factory=list)
    max_per_s: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    max_running: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 10

    def lacking(self) -> list[str]:
        """The program."""
        try:
            find(self.command[0])
        except ValueError as error:
            return [f"command: {error}"]
        return []


class Exec(Step):
    """Records of a batch that make the same command run it once. `detail` tells what became of each of them.

    matched (all conditions hold of it) = same (another of the batch makes that command) + no value (a tag of the
    command is absent) + option (see `Template.options`) + over max_per_s + over max_running + not started + ran +
    failed + timed out + cut off + those that run now. Raises ValueError where the program is not there.
    """

    Settings = ExecSettings

    def __init__(self, settings: ExecSettings, station: Station, downstream: Downstream) -> None:
        super().__init__(station, downstream)
        self._template = Template(settings.command)
        self._conditions = [(canonical(one.key), one.regex) for one in settings.only_if]
        self._commands = Commands(settings.command[0], settings.max_running, settings.timeout_s)
        self._rate = Rate(settings.max_per_s)
        self._reach = Reach(station, f"running {settings.command[0]}")
        log.info("%s: commands run with the agent's rights: %s", station.name, rights())

    @classmethod
    def wants(cls, settings: ExecSettings, after: frozenset[str] | None) -> frozenset[str] | None:
        """What those after it want, and what it looks at."""
        return None if after is None else after.union(canonical(tag) for _, tag in cls.names(settings))

    @classmethod
    def names(cls, settings: ExecSettings) -> Iterable[tuple[Place, str]]:
        """The tags of its conditions and of its command."""
        for at, condition in enumerate(settings.only_if):
            yield ("only_if", at, "key"), condition.key
        for at, argument in enumerate(settings.command):
            yield from ((("command", at), tag) for tag in named(argument))

    def process(self, batch: Batch) -> Iterable[Batch]:
        """The batch, whatever becomes of its commands; they are begun before, so that no later stage holds them up."""
        try:
            rows = self._matching(batch)
            if len(rows):
                self._count("matched", len(rows))
                self._begin(batch, rows)
            self._collect()
        finally:
            yield batch

    def tick(self) -> None:
        """Count what became of commands."""
        self._collect()

    def on_stop(self) -> None:
        """Pykka's last call: commands end with it."""
        super().on_stop()
        self._end()

    def on_failure(self, *why: object) -> None:
        """Pykka's call when it dies; likewise."""
        super().on_failure(*why)
        self._end()

    def _end(self) -> None:
        self._commands.stop()
        self._collect()

    def _matching(self, batch: Batch) -> npt.NDArray[np.int64]:
        """The rows of which all conditions hold; of a tag that is not there none does."""
        found = np.ones(len(batch), np.bool_)
        tags = set(batch.tags)
        for tag, regex in self._conditions:
            if tag not in tags:
                return np.empty(0, np.int64)
            found &= finds(batch.records.column(tag), regex)
        return np.flatnonzero(found)

    def _begin(self, batch: Batch, rows: npt.NDArray[np.int64]) -> None:
        """Run the commands of these rows, as many as may."""
        tags = sorted(self._template.tags)
        if not set(tags).issubset(batch.tags):
            self._count("no value", len(rows))
            return
        columns = {tag: as_text(batch.records.column(tag).take(pa.array(rows))) for tag in tags}
        valued, plain = np.ones((2, len(rows)), np.bool_)
        for tag, column in columns.items():
            valued &= finds(column, "")
            if tag in self._template.options:
                plain &= ~finds(column, "^-")
        self._count("no value", int(np.count_nonzero(~valued)))
        self._count("option", int(np.count_nonzero(valued & ~plain)))
        values = pa.record_batch({"": rows, **columns}).filter(pa.array(valued & plain))
        _, first = groups(values, tags)
        self._count("same", len(values) - len(first))
        allowed = self._rate.take(len(first))
        self._count("over max_per_s", len(first) - allowed)
        for one in values.take(pa.array(first[:allowed])).to_pylist():
            if not self._commands.start(self._template.fill(one)):
                self._count("over max_running", 1)

    def _collect(self) -> None:
        """Count what became of those that have ended."""
        for what, why in self._commands.outcomes():
            self._count(what, 1, why)
            if what == "not started":
                self._reach.fails(why, "What such commands were to do is not done; records are passed on")
            else:
                self._reach.works()
        if self._commands.running:
            self.wake_in(_COLLECT_S)

    def _count(self, what: str, count: int, why: str = "") -> None:
        """Count it; say the first time what is not as it should be, as the operator may not look at the account."""
        if not count:
            return
        if not self.station.detail[what] and what in _SAID:
            log.warning("%s: %s%s", self.station.name, _SAID[what], f" ({why})" if why else "")
        self.station.detail[what] += count


def finds(column: pa.Array, regex: str) -> npt.NDArray[np.bool_]:
    """In which rows a regex is found, in a list in one of the items, in a struct in the field `data`; in no null."""
    if pa.types.is_list(column.type):
        before = np.concatenate(([0], np.cumsum(finds(column.values, regex))))
        bounds = before[column.offsets.to_numpy()]
        return np.asarray((bounds[1:] > bounds[:-1]) & np.asarray(column.is_valid()))
    if pa.types.is_struct(column.type):
        at = column.type.get_field_index("data")
        return finds(column.flatten()[at], regex) if at >= 0 else np.zeros(len(column), np.bool_)
    text = as_text(column)
    found = pc.match_substring_regex(text.dictionary, regex).take(text.indices)
    return np.asarray(found.fill_null(False))  # noqa: FBT003 - a value, not a flag

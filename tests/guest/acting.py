"""Tests of a module that share an agent: an emulated processor takes seconds to load what traces.

What each of them does is an act. All acts are played in turn under one agent, each by processes in a cgroup of its own;
then every test looks at what was told of its act.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from conftest import Start, Watch, starting, watching

from ingrain.account import ProbeAccount
from ingrain.agent import Agent
from ingrain.kernel import cgroup

Row = dict[str, Any]

_numbers = itertools.count()


@dataclass(frozen=True)
class Scene:
    """Where an act is played. start: a program in its cgroup. folder: its own, below the one that all acts are in."""

    start: Start
    group: Path
    folder: Path
    agent: Agent

    def run(self, *command: str | bytes | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """A program in its cgroup, to its end, however that is."""
        return subprocess.run(
            command,
            check=False,
            text=True,
            capture_output=True,
            preexec_fn=lambda: cgroup.enter(self.group),
            **options,
        )

    def done(self, *command: str | Path, **options: Any) -> str:
        """A program to its end, which has to be a good one; what it printed."""
        ended = self.run(*command, **options)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


Act = Callable[[Scene], Any]


@dataclass
class Told:
    """What an act gave back, and the records of what was done in its cgroup. Raises what the act raised."""

    _read: Callable[[str], list[Row]]
    _cgroup_id: int
    _result: Any = None
    _error: Exception | None = None

    @property
    def result(self) -> Any:
        """What the act gave back."""
        if self._error:
            raise self._error
        return self._result

    def rows(self, measurement: str) -> list[Row]:
        """Its records of a measurement, in the archive's order."""
        if self._error:
            raise self._error
        return [row for row in self._read(measurement) if row["cgroup_id"] == self._cgroup_id]


@dataclass
class Played:
    """What was told of each act, by the key that it was added with; of all of them, the probe's account."""

    _watch: Watch
    _told: dict[Hashable, Told]

    def __getitem__(self, act: Hashable) -> Told:
        return self._told[act]

    @property
    def probe(self) -> ProbeAccount:
        """The account of the probe."""
        (probe,) = self._watch.account.probes
        return probe


@dataclass
class Acts:
    """The acts of a module, in their order: by key, with the name of the folder that each is played in."""

    _acts: dict[Hashable, tuple[Act, str]] = field(default_factory=dict)

    def __call__(self, act: Act) -> Act:
        """An act; it is its own key, and its folder has its name."""
        self.add(act, act, act.__name__)
        return act

    def add(self, key: Hashable, act: Act, folder: str) -> None:
        """An act of this key."""
        self._acts[key] = act, folder

    def play(self, folder: Path, probe: str, extra: str = "", only: Collection[Hashable] = ()) -> Played:
        """Play all of them, or only these, under an agent with this probe. extra: lines of its settings.

        The acts' folders are in `folder / "acts"`.
        """
        told: dict[Hashable, Told] = {}
        with cgroup.temporary(f"ingrain-acts-{os.getpid()}-{next(_numbers)}") as group:
            watch = watching(group.name, folder, probe, extra=extra)
            read = cache(watch.rows)
            with watch() as agent:
                for number, (key, (act, name)) in enumerate(self._acts.items()):
                    if key in only or not only:
                        told[key] = _play(act, group / f"act-{number}", folder / "acts" / name, read, agent)
        return Played(watch, told)


def _play(act: Act, group: Path, folder: Path, read: Callable[[str], list[Row]], agent: Agent) -> Told:
    group.mkdir()
    folder.mkdir(parents=True, exist_ok=True)
    told = Told(read, cgroup.identifier(group))
    with starting(group) as start:
        try:
            told._result = act(Scene(start, group, folder, agent))
        except Exception as error:  # noqa: BLE001 it is for the test that asks for this act
            told._error = error
    return told

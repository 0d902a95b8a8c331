"""A load on a running agent: events at a steady rate for some seconds, and what became of each of them.

The agent is an `ingrain run` of its own with one probe and one pipeline; the load goes into its own kernel half. The
account must add up, at the far end too: what the target holds is what the agent says that it delivered.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import agent
import attached
import group
from agent import BenchError, Running
from attached import Attached
from native import FLOOD_FRAME, Generator
from targets import Place, Target

from ingrain.kernel.program import Program

BUFFER_KB = 8192
"""Of each CPU's buffer: at a million events a second it holds 80 ms of them, for when the reader gets no core."""

Frames = Sequence[tuple[int, bytes]]
"""Each with the number of the program that it is for."""

_TOML = """
[agent]
{settings}
[[probe]]
pipelines = ["bench"]
[probe.config]
type = "{probe}"
cgroup = "{cgroup}"
buffer_kb = {buffer_kb}
[pipeline.bench.config]
{target}
[[pipeline.bench.steps]]
type = "Whitelist"
allow = [{allow}]
[[pipeline.bench.steps]]
type = "Regex"
patterns = [{{ key = "{key}", regex = '{regex}', replace_with = "{replace_with}" }}]
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a load consists of: events of which probe, made how, and what the pipeline's steps do with them.

    programs: the probe's own, which take the frames; without any, the events are those of flood.bpf.c. regex: a key,
    a pattern, and what replaces the values that it is found in.
    """

    probe: str
    allow: tuple[str, ...]
    regex: tuple[str, str, str]
    programs: tuple[str, ...] = ()
    frames: Frames = ((0, FLOOD_FRAME),)
    repeat: int = 1


CONNECTIONS = Kind(
    "Network", ("process", "s_ip", "d_port", "path"), ("process", r"conn\d+", "docker_conn_proxy"), repeat=4096
)
"""Connection events, through the steps of ingraind's announcement."""


@dataclass(frozen=True, slots=True)
class Load:
    """One run. seconds: from the first event until the last one was delivered. cpu_s: the agent's, in that time."""

    offered: float
    events: int
    seconds: float
    cpu_s: float
    lost: dict[str, int]
    memory_mb: float

    @property
    def all_lost(self) -> int:
        """Events that did not reach the target, wherever they were lost."""
        return sum(self.lost.values())

    @property
    def rate(self) -> float:
        """Events delivered in a second; the time that the last ones took counts too."""
        return (self.events - self.all_lost) / self.seconds

    @property
    def cpu_s_per_million(self) -> float:
        """The agent's processor seconds for a million events."""
        return self.cpu_s * 1e6 / max(1, self.events - self.all_lost)


@dataclass(slots=True)
class Loaded:
    """An agent that is ready for a load. made: events that there were. lost: how many, and where, when it has ended."""

    running: Running
    _folder: Path
    _kind: Kind
    _programs: Mapping[str, Attached]
    made: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def at(self, rate: float) -> Iterator[Generator]:
        """Events inside, so many a second; 0: as fast as can be."""
        with _generator(self._folder, self._kind, self._programs, rate) as generator:
            try:
                yield generator
            finally:
                self.made += generator.stop().done


@contextmanager
def loaded(folder: Path, kind: Kind, place: Place, settings: str = "") -> Iterator[Loaded]:
    """An agent inside, ended at the end. settings: lines of its `[agent]`. Raises BenchError for a wrong account."""
    with group.own() as cgroup, place(folder) as target:
        key, regex, replace_with = kind.regex
        toml = _TOML.format(
            settings=settings,
            probe=kind.probe,
            cgroup=cgroup.name,
            buffer_kb=BUFFER_KB,
            target=target.toml,
            allow=", ".join(f'"{tag}"' for tag in kind.allow),
            key=key,
            regex=regex,
            replace_with=replace_with,
        )
        with agent.running(folder, toml, target.environment) as running, attached.programs(cgroup) as programs:
            yield (it := Loaded(running, folder, kind, programs))
        it.lost = _check(running.account, it.made, target)


def run(folder: Path, kind: Kind, place: Place, rate: float, seconds: float) -> Load:
    """Offer events at a rate (a second; 0: as fast as can be). Raises BenchError where the account is wrong."""
    with loaded(folder, kind, place) as it:
        used = it.running.cpu_s()
        with it.at(rate) as generator:
            time.sleep(seconds)
            generated = generator.stop()
        memory_mb = it.running.memory_mb()
    spent = it.running.cpu_s_at_end - used
    return Load(rate, it.made, generated.seconds + it.running.ending_s, spent, it.lost, memory_mb)


@contextmanager
def _generator(folder: Path, kind: Kind, programs: Mapping[str, Attached], rate: float) -> Iterator[Generator]:
    if kind.programs:
        fds = [programs[name].fd for name in kind.programs]
        with Generator(folder, fds, kind.frames, repeat=kind.repeat, rate=rate) as generator:
            yield generator
        return
    maps = {name: fd for name, fd in programs["network_egress"].maps.items() if name in {"events", "counts"}}
    with (
        Program(str(folder / "flood"), {}, maps) as flood,
        Generator(folder, [flood.fd("flood")], kind.frames, repeat=kind.repeat, rate=rate) as generator,
    ):
        yield generator


def _check(account: Mapping[str, Any], made: int, target: Target) -> dict[str, int]:
    """Where events were lost, and how many. Raises BenchError where the account does not add up to the last of them."""
    (probe,) = account["probes"]
    (stations,) = account["pipelines"].values()
    unread = probe["malformed"] + probe["cut"] + probe["failed"] + probe["unfinished"]
    outcomes = probe["told"] + probe["malformed"] + probe["cut"] + probe["failed"] + probe["parts"]
    arrived = target.arrived()
    _same("made and handed over or lost", made, probe["handed_over"] + probe["lost"])
    _same("handed over and received", probe["handed_over"], probe["received"])
    _same("received and told, or not to be read", probe["received"] + probe["further"], outcomes)
    _same("records and taken or refused by the pipeline", probe["records"], _taken(stations[0]))
    for before, after in itertools.pairwise(stations):
        _same(f"passed on by {before['name']} and received by {after['name']}", before["delivered"], after["received"])
    for one in stations:
        _same(f"received and accounted for by {one['name']}", one["received"], _accounted(one))
    if arrived > stations[-1]["delivered"]:
        raise BenchError(f"{arrived:,} records arrived, but only {stations[-1]['delivered']:,} were delivered")
    return {
        "kernel": probe["lost"],
        "unreadable": unread,
        "refused": stations[0]["refused"],
        "pipeline": sum(one["lost"] for one in stations),
        "on the way": stations[-1]["delivered"] - arrived,
    }


def _taken(station: Mapping[str, int]) -> int:
    return station["received"] + station["refused"]


def _accounted(station: Mapping[str, int]) -> int:
    return station["delivered"] + station["merged"] + station["lost"]


def _same(what: str, one: int, other: int) -> None:
    if one != other:
        raise BenchError(f"the account is wrong: {what} should be the same, and are {one:,} and {other:,}")

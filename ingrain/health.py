"""Whether an agent does its work now: looked at again and again, and told as a list of what is wrong.

In: the account at each look. Out: problems in words, as an operator should read them.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from ingrain.account import Account, ProbeAccount, Station

RECENT_S = 60.0
"""What was lost or refused is a problem for so long."""

STALLED_S = 5.0
"""Events that wait for so long while none is read are a problem: buffers are read once a second at least."""

STUCK_S = 30.0
"""Likewise records while their stage takes none: longer than any backend waits for its server."""

_SAMPLE_S = 5.0


class Health:
    """What was seen at the looks before. For one thread."""

    def __init__(self) -> None:
        self._recent: defaultdict[Hashable, _Recent] = defaultdict(_Recent)
        self._idle: defaultdict[Hashable, _Idle] = defaultdict(_Idle)

    def look(self, account: Account) -> list[str]:
        """What is wrong now."""
        now = time.monotonic()
        problems = []
        seen: Counter[str] = Counter()
        for probe in account.probes:
            seen[probe.name] += 1
            problems += self._probe((probe.name, seen[probe.name]), probe, now)
        for stations in account.pipelines.values():
            for station in stations:
                problems += self._station(station.name, station, now)
        return problems

    def _probe(self, key: Hashable, probe: ProbeAccount, now: float) -> list[str]:
        problems = []
        lost = self._recent[key, "lost"].rose(probe.lost, now)
        failed = self._recent[key, "failed"].rose(probe.failed, now)
        failed_polls = self._recent[key, "failed_polls"].rose(probe.failed_polls, now)
        idle = self._idle[key]
        if idle.taken != probe.received:  # read before what was handed over: what is beyond that now has come since
            idle.came = probe.handed_over
        if lost:
            problems.append(f"{lost:,} events were lost within a minute: its buffers were full (buffer_kb)")
        if failed:
            problems.append(f"{failed:,} events could not be decoded within a minute; the log tells why")
        if failed_polls:
            problems.append(f"{failed_polls:,} readings or queries failed within a minute; the log tells why")
        if idle.for_s(probe.received, now, waits=probe.handed_over > idle.came) > STALLED_S:
            problems.append(f"its buffers stall: {probe.handed_over - probe.received:,} events wait, and none is read")
        return [f"probe {probe.name}: {problem}" for problem in problems]

    def _station(self, key: Hashable, station: Station, now: float) -> list[str]:
        problems = [f"{what} failed: {why}" for what, why in station.failing.items()]
        for what, count in (("refused", station.refused), ("lost", station.lost)):
            rose = self._recent[key, what].rose(count, now)
            if rose:
                problems.append(f"{rose:,} records were {what} within a minute")
        waiting = station.gauges.get("inbox.depth", 0)
        if self._idle[key].for_s(station.received, now, waits=waiting > 0) > STUCK_S:
            problems.append(f"it takes nothing, and {waiting:,} records wait for it")
        return [f"{station.name}: {problem}" for problem in problems]


class _Recent:
    """By how much a count rose lately. Counts begin at 0, and so does one that has become smaller."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque([(float("-inf"), 0)])

    def rose(self, count: int, now: float) -> int:
        """The difference to what it was `RECENT_S` ago."""
        if count < self._samples[-1][1]:
            self._samples = deque([(now, 0)])
        while len(self._samples) > 1 and self._samples[1][0] <= now - RECENT_S:
            self._samples.popleft()
        if now - self._samples[-1][0] >= _SAMPLE_S:
            self._samples.append((now, count))
        return count - self._samples[0][1]


@dataclass(slots=True)
class _Idle:
    """For how long something waits while nothing is taken. `came`: what had come when something was taken last."""

    taken: int = -1
    came: int = 0
    since: float = 0.0

    def for_s(self, taken: int, now: float, *, waits: bool) -> float:
        """Seconds that `waits` was so at each look, and the count of what was taken the same."""
        if taken != self.taken or not waits:
            self.taken, self.since = taken, now
        return now - self.since

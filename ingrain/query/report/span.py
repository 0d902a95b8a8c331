"""The period of a report, and the buckets that its plots have: whole minutes, hours, days, so their edges are round.

Buckets are numbered from 0; they begin at whole multiples of their length in UTC, so
the first and last may be part ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ingrain.query.archive import Window
from ingrain.query.question import BEGINNING, Said

_BARS = 150  # what can be told apart, and pointed at, in a plot as wide as a page
_LABELS = 8
_FINEST = 1_500  # by how many a gap is looked for: a day's are minutes
_MINUTE = 60
_STEPS_S = (
    *(1, 5, 10, 30),
    *(of * _MINUTE for of in (1, 5, 10, 15, 30, 60, 180, 360, 720)),
    *(of * 1440 * _MINUTE for of in (1, 7, 28, 364)),
)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Span:
    """From when (with it) to when (without it), UTC, and how long before that is known already: the baseline."""

    since: datetime
    until: datetime
    baseline: timedelta

    @property
    def window(self) -> Window:
        """As questions have it."""
        return self.since, self.until

    @property
    def with_baseline(self) -> Window:
        """Likewise, begun as much earlier as the baseline is long."""
        return Said("", self.since, self.until).before(self.baseline)

    @property
    def one_day(self) -> date | None:
        """The day, in UTC, in which all of it is; None where it is longer."""
        day = self.since.astimezone(UTC).date()
        return day if (self.until - _MICROSECOND).astimezone(UTC).date() == day else None

    @property
    def step(self) -> timedelta:
        """The length of a bucket."""
        return _step(self.until - self.since, _BARS)

    @property
    def fine(self) -> timedelta:
        """In such a length something is expected of each host: a minute, or more. A place of a strip is one or some."""
        step = self.strip
        steps = (timedelta(seconds=one) for one in _STEPS_S if one >= _MINUTE)
        fits = (one for one in steps if step % one == timedelta(0))
        return next((one for one in fits if (self.until - self.since) / one <= _FINEST), step)

    @property
    def strip(self) -> timedelta:
        """The length of a place in a strip: a bucket, or some of them where these are shorter than a minute."""
        return max(self.step, timedelta(seconds=_MINUTE))

    @property
    def first(self) -> datetime:
        """When the first bucket begins, at `since` or before."""
        return self.since - (self.since - BEGINNING) % self.step

    @property
    def count(self) -> int:
        """How many buckets there are."""
        return -((self.first - self.until) // self.step)

    @property
    def strip_count(self) -> int:
        """How many places a strip has, from the first bucket on."""
        return -((self.first - self.until) // self.strip)

    @property
    def fine_count(self) -> int:
        """How many of the fine ones, from the first bucket on."""
        return -((self.first - self.until) // self.fine)

    @property
    def labels(self) -> list[datetime]:
        """Times to be written below a plot: round ones, from `since` on, which do not touch."""
        apart = _step(self.until - self.since, _LABELS)
        first = self.since - (self.since - BEGINNING) % apart
        every = [first + at * apart for at in range(_LABELS + 2)]
        return [one for one in every if self.since <= one < self.until]

    def begins(self, bucket: int) -> datetime:
        """When a bucket begins."""
        return self.first + bucket * self.step

    def parameters(self) -> dict[str, int]:
        """`first_us` and `step_us` of SQL: epoch_us(timestamp) in buckets is (epoch_us(timestamp) - first) // step."""
        return {"first_us": microseconds(self.first), "step_us": self.step // _MICROSECOND}


def microseconds(when: datetime) -> int:
    """Since 1970."""
    return (when - BEGINNING) // _MICROSECOND


def _step(length: timedelta, most: int) -> timedelta:
    """The shortest of the round steps of which there are no more than that many in it; else the longest, more often."""
    for seconds in _STEPS_S:
        if length / timedelta(seconds=seconds) <= most:
            return timedelta(seconds=seconds)
    return timedelta(seconds=_STEPS_S[-1]) * -(-length // (timedelta(seconds=_STEPS_S[-1]) * most))

"""A line of StatsD's protocol, with DogStatsD's extensions: `NAME:VALUE|TYPE|@RATE|#KEY:VALUE,...`.

Sources: https://github.com/statsd/statsd/blob/master/docs/metric_types.md and, up to protocol 1.4,
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell. What comes in is bytes that anybody may have sent.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from ingrain.own import foreign
from ingrain.text import safe

TAGS = 64
"""Tags of a line at the most; each is a column."""

RESERVED = ("metric", "value", "lower", "upper", "p25", "p50", "p75", "p90", "p95", "p99")
"""Columns of the records; a tag of such a name gets a `_` behind it."""

_FAMILIES = {b"c": "counter", b"g": "gauge", b"s": "set", b"ms": "timer", b"h": "timer", b"d": "timer"}
_OF_NO_METRIC = b"_e{", b"_sc|"  # DogStatsD's events and service checks
_PASSED_OVER = b"c:", b"T", b"e:", b"card:"  # the client's container, a time, and what tells of its origin
_NUMBER = b"0123456789.+-eE"
_GREATEST = 1e30  # sums of as many numbers as ever come stay finite
_LEAST_RATE = 1e-6


class MalformedError(ValueError):
    """A line that is not what it claims to be."""


class NoMetricError(ValueError):
    """A line of the protocol that tells no metric."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a line says beside its value. family: counter, gauge, set or timer (histograms and distributions too).

    tags: in the order of their keys, each key once. weight: how many the client counted for each that it sent.
    """

    family: str
    name: str
    tags: tuple[tuple[str, str], ...]
    weight: float


def metric(name: bytes, rest: bytes) -> Metric:
    """The metric of a line with this name, and this behind its value: `TYPE|@RATE|#TAGS`.

    Raises MalformedError, and NoMetricError for events and service checks, which are told by their beginning.
    """
    if name.startswith(_OF_NO_METRIC):
        raise NoMetricError("an event or a service check")
    kind, *fields = rest.strip().split(b"|")
    if kind not in _FAMILIES:
        raise MalformedError("no type of metric")
    weight, tags = 1.0, []
    for field in fields:
        if field.startswith(b"@"):
            weight = 1 / _rate(field[1:])
        elif field.startswith(b"#"):
            tags += field[1:].split(b",")
        elif not field.startswith(_PASSED_OVER):
            raise MalformedError("a field that the protocol does not have")
    try:
        return Metric(_FAMILIES[kind], foreign.name(name), _tags(tags), weight)
    except ValueError as error:
        raise MalformedError(str(error)) from error


def numbers(raw: bytes) -> list[float]:
    """The numbers of a value: one, or several with a colon between them (protocol 1.1). Raises MalformedError."""
    return [_number(one) for one in raw.split(b":")] if b":" in raw else [_number(raw)]


def is_delta(raw: bytes) -> bool:
    """Whether a gauge's value changes the one before: it has a sign."""
    return raw.startswith((b"+", b"-"))


def _number(raw: bytes) -> float:
    if raw.strip(_NUMBER):  # float() also takes spaces, underscores, nan and inf
        raise MalformedError("no number")
    try:
        number = float(raw)
    except ValueError as error:
        raise MalformedError("no number") from error
    if not abs(number) <= _GREATEST:
        raise MalformedError("a number that is too great to be summed up")
    return number


def _rate(raw: bytes) -> float:
    rate = _number(raw)
    if not _LEAST_RATE <= rate <= 1 or math.isnan(rate):
        raise MalformedError("no sample rate")
    return rate


def _tags(raw: list[bytes]) -> tuple[tuple[str, str], ...]:
    """A tag without a value is `true`; the values of a key that comes several times stand together, with spaces."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for one in filter(None, raw):
        key, colon, value = one.partition(b":")
        told = safe(value) if colon else "true"
        found[foreign.tag(key.decode("latin-1"), RESERVED)].add(told)
    if len(found) > TAGS:
        raise MalformedError(f"more than {TAGS} tags")
    return tuple((key, " ".join(sorted(values))) for key, values in sorted(found.items()))

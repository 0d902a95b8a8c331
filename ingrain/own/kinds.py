"""ingraind's words for what a measurement is, as they stand in the settings of Osquery and Test, in any case."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ingrain.batch import Kind

_KINDS = {
    "counter": Kind.COUNTER,
    "meter": Kind.COUNTER,
    "gauge": Kind.GAUGE,
    "histogram": Kind.GAUGE,
    "timer": Kind.GAUGE,
    "set": Kind.GAUGE,
    "set_uniques": Kind.GAUGE,
    "percentile": Kind.GAUGE,
}
_UNITS = {"count": "events", "byte": "bytes"}


def is_aggregation(text: str) -> None:
    """Raise ValueError for no `aggregation_type`."""
    if text.lower() not in _KINDS:
        raise ValueError(f"expected one of {', '.join(_KINDS)}")


def is_unit(text: str) -> None:
    """Raise ValueError for no `measurement_type`."""
    if text.lower() not in _UNITS:
        raise ValueError(f"expected one of {', '.join(_UNITS)}")


Aggregation = Annotated[str, msgspec.Meta(extra={"check": is_aggregation})]
Unit = Annotated[str, msgspec.Meta(extra={"check": is_unit})]


def kind(aggregation: str) -> Kind:
    """Counters and meters add up; of all others the last value counts."""
    return _KINDS[aggregation.lower()]


def unit(measured: str) -> str:
    """The unit of `value`."""
    return _UNITS[measured.lower()]

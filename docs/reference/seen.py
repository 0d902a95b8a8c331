"""What the agent sees, in short: a line for each probe with its measurements and the tags of its own.

In: the measurements of grains and of own probes. Out: Markdown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ingrain.batch import Measurement
from ingrain.grains import GRAINS, OWN
from ingrain.grains.common import COMMON, PROCESS
from ingrain.query.tables import plain
from ingrain.registry import find_class

_FAMILY = 4
"""More measurements than this whose names differ only in the last part stand as one, `ingrain.events.*`."""

_SENT = "as clients send them"
_CONFIGURED = "as configured"


def probes() -> str:
    """The table."""
    rows = ["| probe | measurements | tags of its own |", "|---|---|---|"]
    for kind, place in (GRAINS | OWN).items():
        measurements: Sequence[Measurement] = find_class(place).measurements
        named = ", ".join(_named(measurements)) or _CONFIGURED
        own = _own_tags(measurements) or (_SENT if any(one.named_by for one in measurements) else "")
        rows.append(f"| `{kind}` | {named} | {own if measurements else _CONFIGURED} |")
    return "\n".join(rows)


def common_tags() -> str:
    """The tags that many measurements have, with their types."""
    network = [tag for tag in COMMON if tag not in PROCESS]
    return "\n".join(
        f"- {whose}: {', '.join(f'`{tag.name}` {plain(tag.type)}' for tag in tags)}"
        for whose, tags in (("every record of a probe with a kernel half", PROCESS), ("network records, too", network))
    )


def _named(measurements: Iterable[Measurement]) -> Iterable[str]:
    by_family = Counter(one.name.rpartition(".")[0] for one in measurements)
    told = set()
    for one in measurements:
        family = one.name.rpartition(".")[0]
        if "." in family and by_family[family] > _FAMILY:
            name = f"`{family}.*` ({by_family[family]})"
        else:
            beside = [f"`{value.name}`" for value in one.values[1:]]
            unit = [] if one.unit == "events" or one.named_by else [one.unit]
            name = f"`{one.name}`" + (f" ({', '.join(unit + beside)})" if unit or beside else "")
        if name not in told:
            told.add(name)
            yield name


def _own_tags(measurements: Sequence[Measurement]) -> str:
    names = dict.fromkeys(tag.name for one in measurements for tag in one.tags if tag not in COMMON)
    return ", ".join(f"`{name}`" for name in names)

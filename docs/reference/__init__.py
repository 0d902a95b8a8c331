"""The parts of README.md and docs/ that are made from the code, so that they say what it says.

A part is what is between `<!-- NAME: ... -->` and `<!-- end NAME -->` on its page. `make docs` writes all parts anew; a
test compares them with what is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ingrain.query import tables
from ingrain.query.schema import measurements
from reference import seen, settings

ROOT = Path(__file__).parents[2]

PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {
        "probes": seen.probes,
        "tags": seen.common_tags,
        "steps": settings.steps_in_short,
        "backends": settings.backends_in_short,
    },
    "docs/configuration.md": {
        "agent": settings.agent,
        "log": settings.log,
        "probes": settings.probes,
        "steps": settings.steps,
        "backends": settings.backends,
    },
}
"""Page -> part -> what it is."""

_ARCHIVE = "docs/archive.md"
_FIRST_TABLE = "\n### "
"""Where the tables of docs/archive.md begin, which go on to its end."""


def pages() -> dict[str, str]:
    """Every page that has such a part, by its path, as it should be. Raises ValueError for a page that lacks one."""
    made = {}
    for page, parts in PARTS.items():
        text = (ROOT / page).read_text()
        for name, make in parts.items():
            text = _with(page, text, name, make())
        made[page] = text
    archive = (ROOT / _ARCHIVE).read_text()
    kept = archive[: archive.index(_FIRST_TABLE) + 1]
    made[_ARCHIVE] = kept + tables.page(list(measurements().values()))
    return made


def _with(page: str, text: str, name: str, part: str) -> str:
    marked = re.compile(rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if len(marked.findall(text)) != 1:
        raise ValueError(f"{page} has no part <!-- {name}: ... --> ... <!-- end {name} -->")
    return marked.sub(lambda found: f"{found[1]}{part}\n{found[2]}", text)

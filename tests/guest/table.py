"""The table at the end of a run: which probe runs on which kernel by which hooks, as the doctor says there.

The test that asks the doctor leaves its answer with its report, as the property `PROPERTY`.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

PROPERTY = "doctor"

Doctor = Mapping[str, Any]
"""What `ingrain doctor --json` prints."""


def answers(properties: Iterable[tuple[str, object]]) -> list[tuple[str, Doctor]]:
    """Kernel and doctor's answer of each report that has one."""
    return [tuple(json.loads(str(value))) for name, value in properties if name == PROPERTY]


def table(found: Iterable[tuple[str, Doctor]], width: int = 120) -> list[str]:
    """Lines: kernel, probe, and its hooks, or why it cannot run."""
    rows = [("kernel", "probe", "runs by")]
    for kernel, doctor in found:
        rows += [(kernel, probe["probe"], _verdict(probe)) for probe in doctor["probes"]]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines, before = [], ""
    for kernel, probe, verdict in rows:
        shown = "" if kernel == before else kernel
        before = kernel
        head = f"{shown:<{first}}  {probe:<{second}}  "
        lines += textwrap.wrap(verdict, width, initial_indent=head, subsequent_indent=" " * len(head))
    return lines


def _verdict(probe: Mapping[str, Any]) -> str:
    return ", ".join(probe["hooks"]) if probe["runs"] else f"CANNOT RUN: {probe['reason']}"

"""What a guest's pytest tells the host's: a JSON message a line, in a file that both have.

`{"started": KERNEL}`, then for every test `{"report": ...}` for each of its phases (as pytest itself makes a report
serializable) and `{"finished": NODEID}`; `{"uncollected": NODEID, "why": TEXT}` for a module that cannot be imported;
`{"ended": CODE}`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Report = dict[str, Any]


class Lines:
    """The messages of a file that somebody else is writing, line by line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def read(self) -> list[Message]:
        """Those that were completed since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            whole, newline, _begun = file.read().rpartition(b"\n")
        self._at += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()]


class Results:
    """What is known of each test."""

    def __init__(self) -> None:
        self.kernel = ""
        """What the guest says that it runs, once it has begun."""
        self.ended = False
        self._reports: dict[str, list[Report]] = defaultdict(list)
        self._finished: set[str] = set()
        self._uncollected: dict[str, str] = {}

    def add(self, message: Message) -> None:
        """Take a message."""
        match message:
            case {"started": kernel}:
                self.kernel = kernel
            case {"report": report}:
                self._reports[report["nodeid"]].append(_with_tuples(report))
            case {"finished": nodeid}:
                self._finished.add(nodeid)
            case {"uncollected": nodeid, "why": why}:
                self._uncollected[nodeid] = why
            case {"ended": _code}:
                self.ended = True

    def take(self, nodeid: str) -> list[Report]:
        """The reports of a test that came since the last call."""
        return self._reports.pop(nodeid, [])

    def finished(self, nodeid: str) -> bool:
        """Whether all reports of a test came."""
        return nodeid in self._finished

    def uncollected(self, nodeid: str) -> str:
        """Why a test could not even be collected in the guest; empty where that is not known."""
        return "\n".join(why for node, why in self._uncollected.items() if not node or nodeid.startswith(node))


def _with_tuples(report: Report) -> Report:
    """JSON knows lists only; pytest wants tuples again, in a skip's place and reason for instance."""
    told = dict(report)
    for name in ("location", "longrepr"):
        if isinstance(told.get(name), list):
            told[name] = tuple(told[name])
    for name in ("sections", "user_properties"):
        told[name] = [tuple(entry) for entry in told.get(name, [])]
    return told

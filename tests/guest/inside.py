"""The half of the plugin that works in a guest: it runs the tests that the host selected, and tells how they went."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

SELECTED, RESULTS = "selected.json", "results.jsonl"
"""Files of the shared folder: node ids in their order, and the messages that results.py describes."""


class Inside:
    """Registered in a guest. folder: what it shares with the host."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config = config
        self._selected = {nodeid: at for at, nodeid in enumerate(json.loads((folder / SELECTED).read_text()))}
        self._out = (folder / RESULTS).open("a")

    def _tell(self, **message: Any) -> None:
        self._out.write(json.dumps(message, default=str) + "\n")
        self._out.flush()

    def pytest_sessionstart(self) -> None:
        """The kernel has booted, and pytest runs."""
        self._tell(started=os.uname().release)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What cannot be collected."""
        if report.failed:
            self._tell(uncollected=report.nodeid, why=report.longreprtext)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Just what the host selected, in its order."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self._selected), key=lambda item: self._selected[item.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test."""
        self._tell(report=self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test."""
        self._tell(finished=nodeid)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """All of them."""
        self._tell(ended=int(exitstatus))

"""The pytest plugin of property tests: on a busy machine any example may take long, which says nothing of the code."""

from __future__ import annotations

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Before the first of them is imported, and not in guests, where that takes long."""
    if isinstance(collector, pytest.Module) and collector.path.parent.name == "unit":
        import hypothesis  # noqa: PLC0415 as the docstring says

        hypothesis.settings.register_profile("patient", deadline=None)
        hypothesis.settings.load_profile("patient")

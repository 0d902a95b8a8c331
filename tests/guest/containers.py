"""Real containers for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingrain.demo.podman import Container, Podman, Printed

__all__ = ["Container", "Podman", "Printed", "podman"]


@pytest.fixture
def podman(tmp_path: Path) -> Podman:
    """Containers of a test."""
    return Podman(tmp_path)

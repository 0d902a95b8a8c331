"""What tests in guests have: the kernel they run on, containers, and what native tests have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import group, namespace, replay_apart, start, watch

from guest.containers import podman
from guest.plugin import names

__all__ = ["group", "namespace", "podman", "replay_apart", "start", "watch"]


@pytest.fixture(scope="session", autouse=True)
def kernel(request: pytest.FixtureRequest) -> str:
    """Its name, `6.1` for instance, or `native`."""
    return str(request.param)


@pytest.fixture(scope="session", autouse=True)
def _patient() -> Iterator[None]:
    """An emulated processor takes long to end what runs, to find names, and to deliver what is left at the end."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ingrain.kernel.cgroup._REMOVE_S", 60.0)
        patched.setattr("ingrain.containers.waiting.HOLD_S", 60.0)
        patched.setattr("ingrain.probe.LAST_WAIT_S", 60.0)
        patched.setattr("ingrain.backends.spooled.FLUSH_S", 280.0)
        patched.setattr("ingrain.pipelines.FINISH_SECONDS", 300.0)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test runs on every kernel, and its id begins with it."""
    metafunc.parametrize("kernel", names(metafunc.config), indirect=True, scope="session")

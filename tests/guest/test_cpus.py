"""A CPU that comes online while the agent runs: what happens on it is told, too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Start, Talker, Watch
from serving import until

SWITCH = Path("/sys/devices/system/cpu/cpu1/online")


@pytest.fixture
def switch(kernel: str) -> Iterator[Callable[[str], None]]:
    """Turns the second CPU off (`0`) and on (`1`); it is on again afterwards."""
    if kernel == "native":
        pytest.skip("a CPU is turned off only where nobody else needs it")

    def _switch(state: str) -> None:
        SWITCH.write_text(state)

    yield _switch
    _switch("1")


def test_what_happens_on_a_cpu_that_comes_online_later_or_again_is_told(
    watch: Callable[..., Watch], start: Start, switch: Callable[[str], None]
) -> None:
    client, server = Talker(start, "client"), Talker(start, "server")
    there = server("bind", "u", family=4, proto="udp")

    def storm() -> None:
        """Ten connections, sent and received on the second CPU."""
        os.sched_setaffinity(client.pid, {1})
        client("storm", count=10, to=there)
        os.sched_setaffinity(client.pid, {0})

    watched = watch("Network", extra="buffer_kb = 64")
    switch("0")
    with watched() as agent:
        (probe,) = agent.probes
        assert sorted(probe.buffers.opened) == [0]
        switch("1")
        until("its buffer", lambda: 1 in probe.buffers.opened)
        storm()
        switch("0")
        until("its buffer to go", lambda: 1 not in probe.buffers.opened)
        switch("1")
        until("its buffer", lambda: 1 in probe.buffers.opened)
        storm()
        assert probe.account().lost == 0
        until("all to be received", lambda: probe.account().received == 40)
        before = probe.buffers.opened[1]
        switch("0")
        switch("1")  # before anybody looks
        storm()
        lost = probe.account().lost
        until("another buffer", lambda: not lost or probe.buffers.opened.get(1) not in {None, before})
        storm()
    (account,) = watched.account.probes
    assert account.received == account.handed_over == 80 - lost
    assert account.lost == lost

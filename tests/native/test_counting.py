"""Counts are read from maps that the kernel lets go of in its own time, which holds nobody up."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from conftest import Start, Talker, Watch
from serving import until

from ingrain.kernel import maps


def test_connections_are_told_while_the_kernel_takes_its_time_to_let_go_of_the_counts(
    watch: Callable[..., Watch], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on, swap = threading.Event(), threading.Event(), maps.swap

    def slowly(outer: int, inner: int) -> None:
        asked.set()
        go_on.wait(60)
        swap(outer, inner)

    client, server = Talker(start, "client"), Talker(start, "server")
    there = server("bind", "u", family=4, proto="udp")
    watched = watch("Network", extra="interval_ms = 10")
    with watched() as agent:
        monkeypatch.setattr(maps, "swap", slowly)
        assert asked.wait(60)
        (probe,) = agent.probes
        told = probe.account().received
        client("storm", count=20, to=there)
        until("connections to be told", lambda: probe.account().received == told + 40)
        go_on.set()
    for way in ("out", "in"):
        assert sum(row["value"] for row in watched.rows(f"volume.{way}")) == 20

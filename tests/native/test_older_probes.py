"""ingraind's older probes: what Network sees, narrowed to what each is about."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Watch
from test_attribution import talkers

__all__ = ["talkers"]


@pytest.mark.parametrize(
    ("probe", "seen"),
    [("TCP4", {("tcp", 4)}), ("UDP", {("udp", 4), ("udp", 6)})],
)
def test_an_older_probe_tells_what_it_is_about_and_nothing_else(
    watch: Callable[..., Watch],
    talkers: tuple[Callable[..., tuple[str, int]], ...],
    probe: str,
    seen: set[tuple[str, int]],
) -> None:
    client, server = talkers
    watched = watch(probe)
    with watched():
        for family in (4, 6):
            there = server("listen", f"l{family}", family=family, proto="tcp")
            client("connect", f"c{family}", family=family, proto="tcp", to=there)
            server("accept", f"s{family}", **{"from": f"l{family}"})
            client("send", f"c{family}", size=1_000)
            server("receive", f"s{family}", size=1_000)
            peer = server("bind", f"u{family}", family=family, proto="udp")
            client("bind", f"d{family}", family=family, proto="udp")
            client("sendto", f"d{family}", size=1_000, to=peer)
            server("receive", f"u{family}", size=1_000)
    for measurement in ("connection.out", "connection.in", "volume.out", "volume.in"):
        rows = watched.rows(measurement)
        assert {(row["proto"], 6 if ":" in row["d_ip"] else 4) for row in rows} == seen
    assert {row["value"] for row in watched.rows("volume.out") if row["value"]} == {1_000}  # else acknowledgements
    (account,) = watched.account.probes
    assert (account.name, account.lost, account.uncounted) == (probe, 0, 0)

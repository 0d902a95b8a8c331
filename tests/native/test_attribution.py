"""Live traffic of several processes: each byte and connection is told with the process that owns the socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from conftest import Start, Talker, Watch
from serving import until

from ingrain.agent import Agent


@pytest.fixture
def talkers(start: Start) -> tuple[Talker, Talker]:
    return Talker(start, "the client"), Talker(start, "the server")


Watcher = Callable[..., Watch]
Ends = tuple[str, int, str, int]


def volumes(watch: Watch, direction: str) -> dict[tuple[str, int, Ends], int]:
    """Bytes by process name, process id and ends."""
    total: dict[tuple[str, int, Ends], int] = defaultdict(int)
    for row in watch.rows(f"volume.{direction}"):
        ends = (row["s_ip"], row["s_port"], row["d_ip"], row["d_port"])
        total[row["process"], row["process_id"], ends] += row["value"]
    return {key: size for key, size in total.items() if size}


def connections(watch: Watch, direction: str) -> list[tuple[str, int, Ends]]:
    rows = watch.rows(f"connection.{direction}")
    return [
        (row["process"], row["process_id"], (row["s_ip"], row["s_port"], row["d_ip"], row["d_port"])) for row in rows
    ]


@pytest.mark.parametrize("family", [4, 6])
def test_tcp_bytes_of_new_sockets_are_those_that_were_sent(
    watch: Watcher, talkers: tuple[Talker, Talker], family: int
) -> None:
    client, server = talkers
    watched = watch("Network", extra="interval_ms = 50")
    with watched():
        there = server("listen", "l", family=family, proto="tcp")
        here = client("connect", "c", family=family, proto="tcp", to=there)
        server("accept", "s", **{"from": "l"})
        client("send", "c", size=300_001)
        assert server("receive", "s", size=300_001) == 300_001
        server("send", "s", size=1_234_567)
        server("close", "s")  # what is still in its queue belongs to it all the same
        assert client("receive", "c", size=2_000_000) == 1_234_567
        client("close", "c")
    up, down = (*here, *there), (*there, *here)
    one, two = (client.name, client.pid), (server.name, server.pid)
    assert volumes(watched, "out") == {(*one, up): 300_001, (*two, down): 1_234_567}
    assert volumes(watched, "in") == {(*two, up): 300_001, (*one, down): 1_234_567}
    assert connections(watched, "out") == [(*one, up)]
    assert connections(watched, "in") == [(*two, up)]


@pytest.mark.parametrize("family", [4, 6])
def test_tcp_sockets_opened_before_the_agent_have_their_owner_and_their_bytes_since(
    watch: Watcher, talkers: tuple[Talker, Talker], family: int
) -> None:
    client, server = talkers
    there = server("listen", "l", family=family, proto="tcp")
    here = client("connect", "c", family=family, proto="tcp", to=there)
    server("accept", "s", **{"from": "l"})
    client("send", "c", size=55_555)
    server("receive", "s", size=55_555)
    watched = watch("Network")
    with watched():
        client("send", "c", size=4_321)
        server("receive", "s", size=4_321)
        server("send", "s", size=99_000)
        client("receive", "c", size=99_000)
        late = client("connect", "d", family=family, proto="tcp", to=there)  # to the listener that was there before
        server("accept", "t", **{"from": "l"})
        client("send", "d", size=777)
        server("receive", "t", size=777)
    up, down, new = (*here, *there), (*there, *here), (*late, *there)
    one, two = (client.name, client.pid), (server.name, server.pid)
    assert volumes(watched, "out") == {(*one, up): 4_321, (*two, down): 99_000, (*one, new): 777}
    assert volumes(watched, "in") == {(*two, up): 4_321, (*one, down): 99_000, (*two, new): 777}
    assert connections(watched, "out") == [(*one, new)]
    assert connections(watched, "in") == [(*two, new)]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("opened", ["before", "after"])
def test_udp_datagrams_are_told_by_process_and_peer(
    watch: Watcher, talkers: tuple[Talker, Talker], family: int, opened: str
) -> None:
    client, server = talkers
    sockets: dict[str, Any] = {}

    def open_all() -> None:
        sockets["a"] = server("bind", "a", family=family, proto="udp")
        sockets["b"] = server("bind", "b", family=family, proto="udp")
        sockets["c"] = client("bind", "c", family=family, proto="udp")

    if opened == "before":
        open_all()
    watched = watch("Network", extra="interval_ms = 20")
    with watched():
        if opened == "after":
            open_all()
        for _ in range(5):
            client("sendto", "c", size=1_000, to=sockets["a"])
            client("sendto", "c", size=10, to=sockets["b"])
            server("receive", "a", size=1_000)
            server("receive", "b", size=10)
        server("sendto", "a", size=0, to=sockets["c"])
        server("sendto", "a", size=60_000, to=sockets["c"])
    a, b, c = sockets["a"], sockets["b"], sockets["c"]
    one, two = (client.name, client.pid), (server.name, server.pid)
    expected = {(*c, *a): 5_000, (*c, *b): 50}
    assert volumes(watched, "out") == {(*one, ends): size for ends, size in expected.items()} | {
        (*two, (*a, *c)): 60_000
    }
    assert volumes(watched, "in") == {(*two, ends): size for ends, size in expected.items()} | {
        (*one, (*a, *c)): 60_000
    }
    assert sorted(connections(watched, "out")) == sorted((*one, ends) for ends in expected)
    assert sorted(connections(watched, "in")) == sorted((*two, ends) for ends in expected)


def test_a_burst_that_overflows_the_buffer_is_accounted_for_to_the_event(
    watch: Watcher, talkers: tuple[Talker, Talker]
) -> None:
    client, server = talkers
    there = server("bind", "a", family=4, proto="udp")
    watched = watch("Network", extra="buffer_kb = 8\ninterval_ms = 3600000")
    sent = 0
    with watched() as agent:
        buffers = agent.probes[0].buffers
        drain, buffers.drain = buffers.drain, lambda: None  # type: ignore[method-assign] # it reads too late
        sent += client("storm", count=2_000, to=there)
        assert agent.account().probes[0].lost > 0
        buffers.drain = drain  # type: ignore[method-assign]
        for _ in range(3):
            sent += client("storm", count=2_000, to=there)
    (probe,) = watched.account.probes
    # each datagram is a connection out of the client's new socket and one into the server's
    assert probe.handed_over + probe.lost == 2 * sent
    assert probe.received == probe.handed_over
    rows = len(watched.rows("connection.out")) + len(watched.rows("connection.in"))
    assert rows == probe.received
    (station,) = watched.account.pipelines["archive"]
    assert station.received == station.delivered == probe.records
    assert station.lost == station.refused == station.in_flight == 0


def test_flows_beyond_what_the_map_holds_are_counted_as_uncounted(watch: Watcher, start: Start, namespace: str) -> None:
    client = Talker(start, "the sprayer", "ip", "netns", "exec", namespace)
    watched = watch("Network", extra="buffer_kb = 8192\ninterval_ms = 3600000")
    with watched():
        client("socket", "c", family=4, proto="udp")
        sent = client("spray", "c", to=["127.0.0.1", "127.0.0.2"])
    (probe,) = watched.account.probes
    assert probe.uncounted > 0, "the map did not overflow: this test shows nothing"
    counted = sum(row["packets"] for way in ("out", "in") for row in watched.rows(f"volume.{way}"))
    assert counted + probe.uncounted == sent + 2  # one to each address goes to the sprayer's own port, and arrives


def told_more(agent: Agent, than: int) -> bool:
    return agent.account().probes[0].records > than


def test_sockets_and_peers_keep_their_own_counts_while_places_are_emptied_and_used_again(
    watch: Watcher, talkers: tuple[Talker, Talker]
) -> None:
    client, server = talkers
    peers = [server("bind", f"u{n}", family=4, proto="udp") for n in range(3)]
    listener = server("listen", "l", family=4, proto="tcp")
    watched = watch("Network", extra="interval_ms = 10")
    sizes = [3, 50, 700]
    rounds = 30
    with watched() as agent:
        client("socket", "near", family=4, proto="udp")
        for n in range(3):
            client("connect", f"t{n}", family=4, proto="tcp", to=listener)
            server("accept", f"a{n}", **{"from": "l"})
        for turn in range(rounds):  # in another order each time, and each in an interval of its own
            before = agent.account().probes[0].records
            for n in sorted(range(3), key=lambda n: (n * 7 + turn) % 5):
                client("sendto", "near", size=sizes[n], to=peers[n])
                server("receive", f"u{n}", size=sizes[n])
                client("send", f"t{n}", size=sizes[n])
                server("receive", f"a{n}", size=sizes[n])
            until("it to be told", partial(told_more, agent, before))
        ports = [client("send", f"t{n}", size=0)[1] for n in range(3)]
    sent: Counter[tuple[str, int]] = Counter()
    for row in watched.rows("volume.out"):
        if row["process"] == client.name:
            end = row["d_port"] if row["proto"] == "udp" else row["s_port"]
            sent[row["proto"], end] += row["value"]
    expected = {("udp", peer[1]): rounds * size for peer, size in zip(peers, sizes, strict=True)}
    expected |= {("tcp", port): rounds * size for port, size in zip(ports, sizes, strict=True)}
    assert sent == expected
    begun = Counter((row["proto"], row["d_port"]) for row in watched.rows("connection.out"))
    assert begun == {("udp", peer[1]): 1 for peer in peers} | {("tcp", listener[1]): 3}
    assert len({row["timestamp"] for row in watched.rows("volume.out")}) > rounds // 2


def test_processes_outside_the_cgroup_are_not_seen(watch: Watcher, talkers: tuple[Talker, Talker]) -> None:
    client, server = talkers
    there = server("bind", "a", family=4, proto="udp")
    watched = watch("Network")
    with watched(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.sendto(b"from outside", tuple(there))
        server("receive", "a", size=12)
        client("socket", "c", family=4, proto="udp")
        client("sendto", "c", size=3, to=there)
        server("receive", "a", size=3)
        outsider = outside.getsockname()[1]
    assert {row["process"] for row in watched.rows("volume.out")} == {client.name}
    assert {(row["process"], row["s_port"] == outsider, row["value"]) for row in watched.rows("volume.in")} == {
        (server.name, True, 12),
        (server.name, False, 3),
    }


@pytest.mark.skipif(not shutil.which("nft"), reason="nft (nftables) is not installed")
@pytest.mark.parametrize("family", [4, 6])
def test_retransmissions_are_not_counted_as_bytes(watch: Watcher, start: Start, namespace: str, family: int) -> None:
    inside = ("ip", "netns", "exec", namespace)
    rules = "add table inet lossy; add chain inet lossy in { type filter hook input priority 0; }; "
    rules += "add rule inet lossy in meta l4proto tcp numgen inc mod 40 == 20 drop"  # and what is sent again arrives
    subprocess.run([*inside, "nft", rules], check=True)
    client, server = Talker(start, "the client", *inside), Talker(start, "the server", *inside)
    watched = watch("Network", extra="interval_ms = 30")
    with watched():
        there = server("listen", "l", family=family, proto="tcp")
        here = client("connect", "c", family=family, proto="tcp", to=there)
        server("accept", "s", **{"from": "l"})
        client.begin("send", "c", size=20_000_000)
        assert server("receive", "s", size=20_000_000) == 20_000_000
        client.answer()
        server.begin("send", "s", size=5_000_000)
        assert client("receive", "c", size=5_000_000) == 5_000_000
        server.answer()
        client("close", "c")
        server("close", "s")
    snmp = subprocess.run([*inside, "cat", "/proc/net/snmp"], check=True, capture_output=True, text=True).stdout
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Tcp:"))
    assert int(values[names.index("RetransSegs")]) > 0, "nothing was lost: this test shows nothing"
    up, down = (*here, *there), (*there, *here)
    one, two = (client.name, client.pid), (server.name, server.pid)
    assert volumes(watched, "out") == {(*one, up): 20_000_000, (*two, down): 5_000_000}
    assert volumes(watched, "in") == {(*two, up): 20_000_000, (*one, down): 5_000_000}

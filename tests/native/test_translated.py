"""Addresses that are translated in a process's own network namespace: they are told as the process itself has them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Start, Watch

Watcher = Callable[..., Watch]

pytestmark = pytest.mark.skipif(not shutil.which("nft"), reason="nft (nftables) is not installed")

# As Docker has its own DNS server in each container's namespace, and kube-proxy the addresses of services.
RULES = """
add table inet translated
add chain inet translated out { type nat hook output priority -100; }
add chain inet translated post { type nat hook postrouting priority 100; }
add rule inet translated out ip daddr 127.0.0.11 udp dport 53 dnat ip to 127.0.0.11:4321
add rule inet translated out ip daddr 10.96.0.1 tcp dport 80 dnat ip to 127.0.0.1:8080
add rule inet translated out ip6 daddr fd00::1 tcp dport 80 dnat ip6 to [::1]:8080
add rule inet translated out ip6 daddr fd00::7 udp dport 53 dnat ip6 to [fd00::7]:4321
"""

PEERS = """
import ctypes, os, socket, struct, sys
def server(address, port, kind):
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.bind((address, port))
    return made
def client(kind, address, port, connect=True):
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    if connect:
        made.connect((address, port))
    return made
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
"""


@pytest.fixture
def translated(start: Start, namespace: str) -> Callable[[str], str]:
    """Run Python code in the cgroup and the namespace to its end; what it printed."""
    for command in (["address", "add", "10.96.0.7/24", "dev", "lo"], ["address", "add", "fd00::7/64", "dev", "lo"]):
        subprocess.run(["ip", "-n", namespace, *command], check=True)
    inside = ("ip", "netns", "exec", namespace)
    made = subprocess.run([*inside, "nft", "-f", "-"], input=RULES, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"addresses cannot be translated here: {made.stderr}")

    def _do(code: str) -> str:
        program = start(*inside, sys.executable, "-c", PEERS + code)
        said, _ = program.communicate(timeout=60)
        assert program.returncode == 0, said
        return said

    return _do


End = tuple[str, int]
Ends = tuple[str, int, str, int]


def ends(rows: list[dict[str, Any]], port: int) -> list[Ends]:
    """Those of the rows of which one is this port, a client's."""
    told = [(row["s_ip"], row["s_port"], row["d_ip"], row["d_port"]) for row in rows]
    return sorted(one for one in told if one[1] == port or one[3] == port)


@pytest.mark.parametrize(
    ("kind", "ends_are"),
    [
        ("TCP", (("10.96.0.1", 80), ("127.0.0.1", 8080), "10.96.0.7")),
        ("TCP", (("fd00::1", 80), ("::1", 8080), "fd00::7")),
        ("UDP", (("127.0.0.11", 53), ("127.0.0.11", 4321), "127.0.0.1")),
        ("UDP", (("fd00::7", 53), ("fd00::7", 4321), "fd00::7")),
    ],
    ids=["TCP over IPv4", "TCP over IPv6", "UDP over IPv4", "UDP over IPv6"],
)
def test_a_connection_is_told_between_the_ends_that_its_process_knows(
    watch: Watcher, translated: Callable[[str], str], kind: str, ends_are: tuple[End, End, str]
) -> None:
    asked, there, near = ends_are
    watched = watch("Network", extra="interval_ms = 3600000")
    with watched():
        port = int(
            translated(f"""
far = server(*{there}, {kind})
if {kind} == TCP:
    far.listen()
near = client({kind}, *{asked})
if {kind} == TCP:
    far, _ = far.accept()
near.send(b"x" * 100)
_, whose = far.recvfrom(200)
far.sendto(b"y" * 30, whose) if {kind} == UDP else far.send(b"y" * 30)
near.recv(100)
print(near.getsockname()[1])
""")
        )
    up, down, arrives, answers = (near, port, *asked), (*asked, near, port), (near, port, *there), (*there, near, port)
    assert ends(watched.rows("connection.out"), port) == [up]
    assert ends(watched.rows("connection.in"), port) == [arrives]
    assert ends(watched.rows("volume.out"), port) == sorted([up, answers])
    assert ends(watched.rows("volume.in"), port) == sorted([down, arrives])


def test_an_answer_has_its_query_where_the_servers_address_is_translated(
    watch: Watcher, translated: Callable[[str], str]
) -> None:
    watched = watch("DNS")
    with watched():
        translated("""
question = b"\\x05plain\\x04test\\0\\0\\x01\\0\\x01"
far, near = server("127.0.0.11", 4321, UDP), client(UDP, "127.0.0.11", 53)
near.send(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + question)
_, whose = far.recvfrom(512)
far.sendto(struct.pack("!HHHHHH", 7, 0x8183, 1, 0, 0, 0) + question, whose)
near.recv(512)
""")
    (query,) = (row for row in watched.rows("dns.query") if row["direction"] == "out")
    (answer,) = (row for row in watched.rows("dns.answer") if row["direction"] == "in")
    assert (query["d_ip"], query["d_port"]) == (answer["s_ip"], answer["s_port"]) == ("127.0.0.11", 53)
    assert answer["query_seen"]
    assert answer["latency_ns"] > 0


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "sends",
    [
        "near.sendto(b'x' * 100, there)",
        "cork(near, 1); near.sendto(b'x' * 100, there); cork(near, 0)",
        "near.connect(there); near.send(b'x' * 100)",
        "near.connect(there); cork(near, 1); near.send(b'x' * 100); near.connect(plain); cork(near, 0)",
        """disconnect(near); near.connect(there); cork(near, 1); near.send(b'x' * 100)
disconnect(near); near.connect(plain); cork(near, 0)""",
    ],
    ids=["addressed", "corked and addressed", "connected again", "corked and connected", "corked and disconnected"],
)
def test_a_datagram_that_goes_elsewhere_than_its_socket_is_connected_to_is_told_where_it_goes(
    watch: Watcher, translated: Callable[[str], str], family: int, sends: str
) -> None:
    watched = watch("Network")
    with watched():
        port = int(
            translated(f"""
import select
cork = lambda sock, held: sock.setsockopt(17, 1, held)  # UDP_CORK
def disconnect(sock):
    assert not ctypes.CDLL(None).connect(sock.fileno(), bytes(16), 16)  # to AF_UNSPEC: connect(2)
address = "127.0.0.1" if {family} == 4 else "::1"
servers = [server(address, port, UDP) for port in (9999, 6666)]
plain, there = (one.getsockname()[:2] for one in servers)
near = client(UDP, *plain)
{sends}
(reached,), _, _ = select.select(servers, [], [])
print(reached.getsockname()[1])
""")
        )
    assert [(row["d_port"], row["value"]) for row in watched.rows("volume.out")] == [(port, 100)]
    assert [row["d_port"] for row in watched.rows("connection.out")] == [port]


@pytest.mark.parametrize(
    "sends",
    [
        "near.bind(('127.0.0.2', 0)); near.connect(there); near.send(b'x' * 100)",
        "near.bind(('239.1.1.1', 0)); near.connect(there); near.send(b'x' * 100)",
        "near.connect(there); near.sendmsg([b'x' * 100], [(socket.IPPROTO_IP, 8, info)])",
    ],
    ids=["bound", "bound to a group", "with an address for itself"],
)
def test_a_datagram_is_told_from_the_address_that_it_was_sent_from(
    watch: Watcher, translated: Callable[[str], str], sends: str
) -> None:
    watched = watch("Network")
    with watched():
        address = translated(f"""
far, near = server("127.0.0.1", 6666, UDP), socket.socket(type=UDP)
there, info = far.getsockname(), struct.pack("=i4s4x", 0, bytes([127, 0, 0, 2]))  # of IP_PKTINFO
{sends}
print(far.recvfrom(200)[1][0])
""")
    (sent,), (received,) = watched.rows("volume.out"), watched.rows("volume.in")
    assert sent["s_ip"] == received["s_ip"] == address.strip()

"""What a process may do to go unseen, or to be taken for something else: it is seen, or what is not seen is counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agents import agent
from conftest import Start, Watch
from serving import until

from ingrain.kernel import cgroup

Watcher = Callable[..., Watch]


@pytest.fixture
def do(start: Start) -> Callable[[str], str]:
    """Run Python code in the cgroup to its end; what it printed."""

    def _do(code: str) -> str:
        program = start(sys.executable, "-c", "import os, socket, struct\n" + code)
        said, _ = program.communicate(timeout=60)
        assert program.returncode == 0, said
        return said

    return _do


DNS = """
question = b"\\x05plain\\x04test\\0\\0\\x01\\0\\x01"
record = b"\\0\\0\\x10\\0\\x01" + bytes(6)
def message(flags, counts, rest=question):
    return struct.pack("!HHHHHH", 7, flags, *counts) + rest
far = socket.socket(type=socket.SOCK_DGRAM); far.bind(("127.0.0.1", 0))
near = socket.socket(type=socket.SOCK_DGRAM); near.connect(far.getsockname())
"""


@pytest.mark.parametrize(
    "query",
    [
        "message(0x0140, (1, 0, 0, 0))",  # the reserved bit
        "message(0x0101, (1, 0, 0, 0))",  # a query with a response code
        "message(0x0100, (1, 0, 0, 3), question + 3 * record)",
        "message(0x0100, (1, 0, 1, 0), question + record)",
    ],
    ids=["reserved bit", "response code", "three additional records", "an authority record"],
)
def test_an_odd_query_that_a_server_may_answer_is_seen(watch: Watcher, do: Callable[[str], str], query: str) -> None:
    watched = watch("DNS")
    with watched():
        do(f"{DNS}\nnear.send({query}); far.recv(512)")
    assert [row["q_name"] for row in watched.rows("dns.query")] == ["plain.test"] * 2  # sent, and received


def test_a_refusal_that_is_nothing_but_a_header_is_an_answer(watch: Watcher, do: Callable[[str], str]) -> None:
    watched = watch("DNS")
    with watched():
        do(f"{DNS}\nnear.send(message(0x8101, (0, 0, 0, 0), b'')); far.recv(512)")
    assert [(row["q_name"], row["rcode"]) for row in watched.rows("dns.answer")] == [(None, "FORMERR")] * 2


def test_queries_that_are_sent_at_once_are_seen_one_by_one(watch: Watcher, do: Callable[[str], str]) -> None:
    watched = watch("DNS")
    with watched():
        do(
            f"{DNS}\none = message(0x0100, (1, 0, 0, 0))\n"
            "near.setsockopt(17, 103, len(one))\n"  # SOL_UDP, UDP_SEGMENT
            "near.send(one * 5)\nfor _ in range(5): far.recv(512)"
        )
    rows = watched.rows("dns.query")
    assert [sum(row["direction"] == way for row in rows) for way in ("out", "in")] == [5, 5]


@pytest.mark.parametrize("first", [1, 3, 4, 5, 6, 9])
def test_a_hello_cut_into_records_is_seen(watch: Watcher, do: Callable[[str], str], first: int) -> None:
    watched = watch("TLS")
    with watched():
        do(f"""
import ssl
out = ssl.MemoryBIO()
context = ssl.create_default_context()
try:
    context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="cut.test").do_handshake()
except ssl.SSLWantReadError:
    pass
body = out.read()[5:]
parts = body[:{first}], body[{first}:]
records = b"".join(b"\\x16\\x03\\x01" + struct.pack("!H", len(part)) + part for part in parts)
server = socket.create_server(("127.0.0.1", 0)); client = socket.create_connection(server.getsockname())
taken, _ = server.accept()
client.sendall(records); taken.recv(1 << 16, socket.MSG_PEEK)
""")
    assert [row["sni"] for row in watched.rows("tls.handshake.clienthello")] == ["cut.test"] * 2
    (probe,) = watched.account.probes
    assert probe.unfinished == probe.malformed == 0


def test_a_socket_without_room_for_the_agents_notes_is_counted_all_the_same(
    watch: Watcher, do: Callable[[str], str]
) -> None:
    watched = watch("Network")
    with watched():
        joined = do("""
near = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
far = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); far.bind(("::1", 0))
joined = 0
try:
    for number in range(100_000):  # each takes of what the socket may have for options
        group = socket.inet_pton(socket.AF_INET6, f"ff02::1:{number >> 16:x}:{number & 0xffff:x}")
        near.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", 1))
        joined = number
except OSError:
    pass
for _ in range(10):
    near.sendto(b"x" * 1000, far.getsockname()[:2])
print(joined)
""")
    assert int(joined) > 0, "no group could be joined: this test shows nothing"
    assert [(row["value"], row["packets"]) for row in watched.rows("volume.out")] == [(10_000, 10)]
    assert len(watched.rows("connection.out")) == 1


FILL = """
def fill(sock):  # each takes of what the socket may have for options
    keys = 0
    try:
        while True:
            far = struct.pack("=HH4s120x", socket.AF_INET, 0, struct.pack("!I", 0x0a000000 + keys))
            sock.setsockopt(socket.IPPROTO_TCP, 14, far + struct.pack("=BBHI80s", 0, 0, 3, 0, b"key"))  # TCP_MD5SIG
            keys += 1
    except OSError:
        assert keys, "this kernel knows no such keys: this test shows nothing"
server, client = socket.create_server(("127.0.0.1", 0)), socket.socket()
"""


def test_a_connection_of_a_socket_without_room_for_the_agents_notes_is_told(
    watch: Watcher, do: Callable[[str], str]
) -> None:
    watched = watch("Network")
    with watched():
        port = int(do(f"{FILL}\nfill(client); client.connect(server.getsockname()); print(server.getsockname()[1])"))
    assert [row["d_port"] for row in watched.rows("connection.out")] == [port]
    (probe,) = watched.account.probes
    assert probe.uncounted > 0


def test_a_connection_to_a_listener_without_room_for_the_agents_notes_is_told(
    watch: Watcher, do: Callable[[str], str]
) -> None:
    watched = watch("Network")
    with watched():
        port = do(f"""{FILL}
fill(server)
client.connect(server.getsockname())
taken, _ = server.accept()
client.sendall(b"x" * 100); taken.recv(100)
print(client.getsockname()[1])
""")
    assert [row["s_port"] for row in watched.rows("connection.in")] == [int(port)]
    assert sum(row["value"] for row in watched.rows("volume.in")) == 100


def test_tcp_that_a_process_writes_itself_is_told_by_its_peers(watch: Watcher, do: Callable[[str], str]) -> None:
    watched = watch("Network", extra="interval_ms = 3600000")
    with watched():
        ports = do("""
def segment(port, size, flags=2):
    return struct.pack("!HHIIBBHHH", 4444, port, 1, 0, 0x50, flags, 1000, 0, 0) + b"x" * size
held = [socket.socket() for _ in range(2)]
for one in held:
    one.bind(("127.0.0.1", 0))  # it does not listen
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)  # and gets a copy of what arrives here
whole = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
one, other = (each.getsockname()[1] for each in held)
for _ in range(2):
    raw.sendto(segment(one, 50), ("127.0.0.1", 0))
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 1, 0, 64, 6, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]))
whole.sendto(head + segment(other, 7), ("127.0.0.1", 0))
print(one, other)
""")
    one, other = map(int, ports.split())

    def told(measurement: str) -> list[tuple[int, int]]:
        return [(row["d_port"], row["value"]) for row in watched.rows(measurement) if row["s_port"] == 4444]

    assert told("connection.out") == [(one, 1), (other, 1)]
    assert sorted(told("volume.out")) == sorted([(one, 100), (other, 7)])
    assert {row["proto"] for row in watched.rows("volume.out")} == {"tcp"}
    received = watched.rows("volume.in")
    assert sum(row["value"] for row in received) == 107  # by the raw socket; what else arrives there are refusals


def test_a_socket_that_listens_after_it_tried_to_connect_takes_connections(
    watch: Watcher, do: Callable[[str], str]
) -> None:
    watched = watch("Network")
    with watched():
        port, client_port = do("""
held = socket.socket(); held.bind(("127.0.0.1", 0)); nobody = held.getsockname()  # it does not listen
server = socket.socket(); server.bind(("127.0.0.1", 0))
try:
    server.connect(nobody)
except ConnectionRefusedError:
    pass
server.listen()
client = socket.create_connection(server.getsockname()); taken, _ = server.accept()
taken.sendall(b"x"); client.recv(1)
print(server.getsockname()[1], client.getsockname()[1])
""").split()
    told = {
        (measurement, row["s_port"], row["d_port"])
        for measurement in ("connection.out", "connection.in")
        for row in watched.rows(measurement)
        if int(client_port) in {row["s_port"], row["d_port"]}
    }
    assert told == {
        ("connection.out", int(client_port), int(port)),
        ("connection.in", int(client_port), int(port)),
    }


AGAIN = """
import ctypes
def disconnect(sock):
    assert not ctypes.CDLL(None).connect(sock.fileno(), bytes(16), 16)  # to AF_UNSPEC: connect(2)
servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
client = socket.socket()
"""


def test_a_socket_that_connects_again_begins_another_connection(watch: Watcher, do: Callable[[str], str]) -> None:
    watched = watch("Network")
    with watched():
        ports = do(f"""{AGAIN}
for server, size in zip(servers, (1000, 10)):
    client.connect(server.getsockname())
    taken, _ = server.accept()
    client.sendall(b"x" * size); taken.recv(size, socket.MSG_WAITALL)
    taken.sendall(b"y" * size * 2); client.recv(size * 2, socket.MSG_WAITALL)
    disconnect(client)
print(*(server.getsockname()[1] for server in servers))
""")
    first, second = map(int, ports.split())
    assert [row["d_port"] for row in watched.rows("connection.out")] == [first, second]
    assert [row["d_port"] for row in watched.rows("connection.in")] == [first, second]
    for way, client_port in (("out", "d_port"), ("in", "s_port")):
        rows = watched.rows(f"volume.{way}")
        sizes = {port: sum(row["value"] for row in rows if row[client_port] == port) for port in (first, second)}
        assert sizes == {port: size * (1 if way == "out" else 2) for port, size in ((first, 1000), (second, 10))}


HELLO = """
import ssl
out, back = ssl.MemoryBIO(), bytes.fromhex("160303002a020000260303") + bytes(33) + bytes.fromhex("130100")
context = ssl.create_default_context()
try:
    context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="plain.test").do_handshake()
except ssl.SSLWantReadError:
    pass
there = out.read()
"""
ASK = f"""{DNS.partition("far =")[0]}
there, back = (struct.pack("!H", len(one)) + one for one in (message(flags, (1, 0, 0, 0)) for flags in (0x100, 0x8183)))
"""


@pytest.mark.parametrize(("probe", "sends"), [("DNS", ASK), ("TLS", HELLO)])
def test_each_connection_of_one_socket_is_read_from_its_beginning(
    watch: Watcher, do: Callable[[str], str], probe: str, sends: str
) -> None:
    watched = watch(probe)
    with watched():
        do(f"""{AGAIN}{sends}
for server in servers:
    client.connect(server.getsockname())
    taken, _ = server.accept()
    client.sendall(there); taken.recv(1 << 16)
    taken.sendall(back); client.recv(1 << 16)
    disconnect(client)
""")
    if probe == "DNS":
        assert [row["rcode"] for row in watched.rows("dns.answer")] == ["NXDOMAIN"] * 4
        assert [row["q_name"] for row in watched.rows("dns.query")] == ["plain.test"] * 4
    else:
        assert len(watched.rows("tls.handshake.serverhello")) == 4
        assert [row["sni"] for row in watched.rows("tls.handshake.clienthello")] == ["plain.test"] * 4
    (told,) = watched.account.probes
    assert (told.malformed, told.unfinished, told.parts) == (0, 0, 0)


def test_a_udp_socket_that_several_addresses_reach_tells_them_apart(watch: Watcher, do: Callable[[str], str]) -> None:
    watched = watch("Network")
    with watched():
        do("""
far = socket.socket(type=socket.SOCK_DGRAM); far.bind(("0.0.0.0", 0))
near = socket.socket(type=socket.SOCK_DGRAM); near.bind(("127.0.0.1", 0))
for address, size in (("127.0.0.1", 100), ("127.0.0.2", 1000)):
    near.sendto(b"x" * size, (address, far.getsockname()[1])); far.recv(2000)
""")
    assert {row["d_ip"]: row["value"] for row in watched.rows("volume.in")} == {"127.0.0.1": 100, "127.0.0.2": 1000}
    assert {row["d_ip"] for row in watched.rows("connection.in")} == {"127.0.0.1", "127.0.0.2"}


SEND = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'x' * 77, ('127.0.0.1', 9))"


def run_in(folder: Path, code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, preexec_fn=lambda: cgroup.enter(folder))


def test_a_cgroup_that_is_made_anew_is_seen_again_and_that_of_another_probe_all_the_time(
    watch: Watcher, group: Path, tmp_path: Path
) -> None:
    again, still = group / "again", group / "still"
    network, dns = watch("Network", "DNS").file.read_text().split("[[probe]]")[1:]
    toml = "[[probe]]".join(["", network.replace(group.name, f"{group.name}/again"), dns])
    watched = Watch(toml.replace(f'"{group.name}"', f'"{group.name}/still"'), tmp_path)
    for folder in (again, still):
        folder.mkdir()
    with watched() as agent:
        (probe,) = [one for one in agent.probes if one.name == "Network"]
        at_first = links()
        for _ in range(2):
            again.rmdir()
            until("it to be missed", lambda: probe._seen == 0)
            assert 0 < links() < at_first
            again.mkdir()
            until("it to be seen again", lambda: probe._seen == cgroup.identifier(again))
            assert links() == at_first
        run_in(again, SEND)
        run_in(still, f"import socket, struct\n{DNS}\nnear.send(message(0x0100, (1, 0, 0, 0)))")
    assert [row["value"] for row in watched.rows("volume.out")] == [77]
    assert [row["q_name"] for row in watched.rows("dns.query")] == ["plain.test"] * 2


def test_a_cgroup_that_is_not_there_yet_is_seen_when_it_comes(watch: Watcher, group: Path) -> None:
    watched = watch("DNS", "Network")
    dns, network = watched.file.read_text().split("[[probe]]")[1:]
    later = network.replace(f'"{group.name}"', f'"{group.name}/later"')
    watched = Watch(f"[[probe]]{dns}[[probe]]{later}", watched.file.parent)
    with watched() as agent:
        agent.mend()
        assert [one.name for one in agent.probes] == ["DNS"]
        assert any("Network: it cannot run" in problem for problem in agent.problems())
        (group / "later").mkdir()
        agent.mend()
        assert [one.name for one in agent.probes] == ["DNS", "Network"]
        assert agent.problems() == []
        run_in(group / "later", SEND)
    assert [row["value"] for row in watched.rows("volume.out")] == [77]


def links() -> int:
    """Descriptors of BPF links that this process has."""
    return sum(str(one.readlink()) == "anon_inode:bpf_link" for one in descriptors())


def descriptors() -> Iterator[Path]:
    for one in Path("/proc/self/fd").iterdir():
        if one.is_symlink():
            yield one


def test_in_a_pid_namespace_it_says_what_it_cannot_tell(group: Path, tmp_path: Path) -> None:
    toml = (
        f'[agent]\nsocket = "{tmp_path / "status.sock"}"\n'
        f'[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "Network"\ncgroup = "{group.name}"\n'
        '[pipeline.out.config]\nbackend = "Console"\nformat = "json"\n'
    )
    with agent(toml, tmp_path, before=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")) as running:
        outside = running.process.pid
        (inside,) = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
        os.kill(int(inside), signal.SIGTERM)
        running.process.wait(60)  # it ends as what it became the parent of
    assert "run it in the host's (docker run --pid host, hostPID: true)" in running.said

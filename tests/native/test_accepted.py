"""Sockets that several processes have: what goes over them is told as that of the process that uses them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Start, Watch
from test_live_streams import NAMES_PROCESSES

from ingrain.kernel import cgroup

Watcher = Callable[..., Watch]

FORKING = """
import ctypes, os, socket, sys
family, silent, traced = int(sys.argv[1]), sys.argv[2] == "silent", sys.argv[3]
libc = ctypes.CDLL(None)
def accept():
    if traced == "address":
        return listener.accept()[0]
    return socket.socket(fileno=libc.accept(listener.fileno(), None, None))  # nobody is asked for the address

inet = {4: (socket.AF_INET, "127.0.0.1"), 6: (socket.AF_INET6, "::1")}
listener = socket.create_server((inet[family][1], 0), family=inet[family][0])
here, there = socket.socketpair()
child = os.fork()
if not child:
    libc.prctl(15, b"the child", 0, 0, 0)  # PR_SET_NAME
    there.recv(1)
    taken = accept()
    taken.recv(1000, socket.MSG_WAITALL)
    if not silent:
        taken.sendall(b"x" * 20)
    there.send(b".")
    there.recv(1)
    os._exit(0)
client = socket.create_connection(listener.getsockname()[:2])
client.sendall(b"x" * 400)  # before the child accepts it
here.send(b".")
client.sendall(b"x" * 600)
if not silent:
    client.recv(20, socket.MSG_WAITALL)
here.recv(1)
client.sendall(b"x" * 3)
client.close()
here.send(b".")
assert os.waitpid(child, 0)[1] == 0
print(child, listener.getsockname()[1])
"""


def run(start: Start, *words: str) -> tuple[int, int]:
    """The child's process id, and the server's port."""
    program = start(sys.executable, "-c", FORKING, *words)
    said, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    child, port = map(int, said.split())
    return child, port


@pytest.mark.parametrize("family", ["4", "6"])
@pytest.mark.parametrize("behaves", ["silent", "answers"])
def test_a_connection_that_a_forked_child_accepts_is_the_childs(
    watch: Watcher, start: Start, family: str, behaves: str
) -> None:
    watched = watch("Network", extra="interval_ms = 3600000")
    with watched():
        child, port = run(start, family, behaves, "address")
    (told,) = watched.rows("connection.in")
    assert (told["process"], told["process_id"], told["d_port"]) == ("the child", child, port)
    rows = [row for row in watched.rows("volume.in") if row["d_port"] == port]
    assert [(row["process_id"], row["value"]) for row in rows] == [(child, 1003)]
    (begun,) = watched.rows("connection.out")
    assert begun["timestamp"] <= told["timestamp"] <= begun["timestamp"] + 1_000_000_000


@pytest.mark.parametrize("behaves", ["silent", "answers"])
def test_a_connection_is_told_once_also_where_nobody_knows_who_accepted_it(
    watch: Watcher, start: Start, behaves: str
) -> None:
    watched = watch("Network")
    with watched():
        _child, port = run(start, "4", behaves, "no address")
    assert [row["d_port"] for row in watched.rows("connection.in")] == [port]
    assert sum(row["value"] for row in watched.rows("volume.in") if row["d_port"] == port) == 1003


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_connection_over_which_nothing_goes_is_told_while_it_is_open(
    watch: Watcher, start: Start, group: Path, address: str
) -> None:
    code = """
import os, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.socket(family); listener.bind((sys.argv[1], 0)); listener.listen()
here, there = os.pipe()
child = os.fork()
if not child:
    taken, _ = listener.accept()
    os.write(there, b".")
    sys.stdin.read()
    os._exit(0)
client = socket.socket(family); client.connect(listener.getsockname())
os.read(here, 1)
print(child, client.getsockname()[1], listener.getsockname()[1], flush=True)
sys.stdin.read()
"""
    watched = watch("Network")
    with watched():
        program = start(sys.executable, "-c", code, address)
        assert program.stdout
        child, near, far = map(int, program.stdout.readline().split())
    (told,) = watched.rows("connection.in")
    assert (told["process_id"], told["cgroup_id"]) == (child, cgroup.identifier(group))
    (begun,) = watched.rows("connection.out")
    for row in (begun, told):
        ip = address.removeprefix("::ffff:")
        assert (row["s_ip"], row["s_port"], row["d_ip"], row["d_port"]) == (ip, near, ip, far)
    assert begun["timestamp"] <= told["timestamp"]


def test_a_connection_that_nobody_accepts_is_told_when_it_ends(watch: Watcher, start: Start) -> None:
    code = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
client.sendall(b"x" * 7)
client.close()
print(listener.getsockname()[1])
"""
    watched = watch("Network")
    with watched():
        program = start(sys.executable, "-c", code)
        port, _ = program.communicate(timeout=60)
    assert [(row["d_port"], row["process_id"]) for row in watched.rows("connection.in")] == [(int(port), program.pid)]


def test_a_datagram_is_of_who_sends_it_by_the_name_and_user_that_it_has_then(watch: Watcher, start: Start) -> None:
    code = """
import ctypes, os, socket
rename = lambda name: ctypes.CDLL(None).prctl(15, name, 0, 0, 0)  # PR_SET_NAME
peers = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(4)]
for peer in peers:
    peer.bind(("127.0.0.1", 0))
near = socket.socket(type=socket.SOCK_DGRAM)
def send(peer):
    near.sendto(b"x", peer.getsockname()); near.sendto(b"x", peer.getsockname())
rename(b"the parent")
send(peers[0])
child = os.fork()
if not child:
    send(peers[1])
    rename(b"the child")
    send(peers[2])
    os.setuid(12345)
    send(peers[3])
    os._exit(0)
os.waitpid(child, 0)
print(os.getpid(), child)
"""
    watched = watch("Network")
    with watched():
        program = start(sys.executable, "-c", code)
        said, _ = program.communicate(timeout=60)
    parent, child = map(int, said.split())
    told = [(row["process"], row["process_id"], row["uid"]) for row in watched.rows("connection.out")]
    assert told == [
        ("the parent", parent, 0),
        ("the parent", child, 0),
        ("the child", child, 0),
        ("the child", child, 12345),
    ]
    if NAMES_PROCESSES:  # and knows when they began
        assert len({row["process_uid"] for row in watched.rows("connection.out")}) == 2

"""A program that does something of every kind that the probes see, the same each time: `everything.py FOLDER`.

What is about the network is between its own sockets; a line on its standard input lets it begin.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path


def files(folder: Path) -> None:
    one, other, below = folder / "one", folder / "other", folder / "below"
    with one.open("wb") as file:
        file.write(b"x" * 10_000)
        file.truncate(5_000)
    with one.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        memory.read(1)
    one.read_bytes()
    one.chmod(0o600)
    os.chown(one, 1, 2)
    below.mkdir()
    one.rename(below / "two")
    os.link(below / "two", other)
    (folder / "link").symlink_to(other)
    os.mkfifo(folder / "fifo")
    for path in (other, folder / "link", folder / "fifo", below / "two"):
        path.unlink()
    below.rmdir()


def dns() -> None:
    """A query and its answer, over UDP."""
    question = b"\3www\7example\3org\0\0\1\0\1"
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        client.send(struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question)
        _query, address = server.recvfrom(512)
        answer = b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 60, 4) + bytes([192, 0, 2, 7])
        server.sendto(struct.pack(">6H", 7, 0x8180, 1, 1, 0, 0) + question + answer, address)
        client.recv(512)


def tls() -> None:
    """A ClientHello, and some bytes back, over TCP and IPv6."""
    name = b"www.example.org"
    sni = struct.pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\4\x13\1\xc0\x2f" + b"\1\0" + struct.pack(">H", len(sni)) + sni
    hello = b"\1" + len(body).to_bytes(3, "big") + body
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server, socket.socket(socket.AF_INET6) as client:
        client.connect(server.getsockname())
        accepted, _address = server.accept()
        with accepted:
            client.sendall(b"\x16\3\1" + struct.pack(">H", len(hello)) + hello)
            accepted.recv(4096)
            accepted.sendall(bytes(20_000))
            left = 20_000
            while left:
                left -= len(client.recv(left))


def processes() -> None:
    subprocess.run(["/bin/sh", "-c", "/bin/true 'an argument'; exit 3"], check=False)
    subprocess.run(["/bin/sh", "-c", "kill -9 $$"], check=False)


def container() -> None:
    inside = ["unshare", "--pid", "--fork", "/bin/sh", "-c", "echo to be seen; echo an error >&2; printf unfinished"]
    subprocess.run(inside, check=False, capture_output=True)


if __name__ == "__main__":
    sys.stdin.readline()
    files(Path(sys.argv[1]))
    dns()
    tls()
    processes()
    container()

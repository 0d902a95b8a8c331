"""A process that moves bytes over TCP and UDP, IPv4 and IPv6, and says how many: the demo's own count.

`transfer.py NAME serve` prints its addresses as JSON, takes what comes until stdin closes, then prints what it took.
`transfer.py NAME send` reads a plan (JSON) from stdin, carries it out, and prints what it sent and got back.
"""

from __future__ import annotations

import ctypes
import json
import selectors
import socket
import sys
from collections import Counter
from typing import Any

_ENDS = {"IPv4": (socket.AF_INET, "127.0.0.1"), "IPv6": (socket.AF_INET6, "::1")}
_REPLY = 100_000
_SO_RCVBUFFORCE, _ROOM = 33, 8 << 20  # for all datagrams of the demo: what a full queue drops, its reader cannot count
_PR_SET_NAME = 15


def serve() -> None:
    """Take whatever comes; answer each TCP connection, when its sender is done, with `_REPLY` bytes."""
    selector = selectors.DefaultSelector()
    addresses: dict[str, tuple[str, int]] = {}
    for version, (family, host) in _ENDS.items():
        tcp, udp = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        for proto, sock in (("TCP", tcp), ("UDP", udp)):
            sock.bind((host, 0))
            addresses[f"{proto} {version}"] = sock.getsockname()[:2]
        tcp.listen()
        selector.register(tcp, selectors.EVENT_READ, f"accept {version}")
        selector.register(udp, selectors.EVENT_READ, f"UDP {version}")
    selector.register(sys.stdin, selectors.EVENT_READ, "stdin")
    print(json.dumps(addresses), flush=True)
    done: Counter[str] = Counter()
    while True:
        for key, _events in selector.select():
            ready: Any = key.fileobj
            if ready is sys.stdin:
                print(json.dumps(done), flush=True)
                return
            if key.data.startswith("accept"):
                selector.register(ready.accept()[0], selectors.EVENT_READ, key.data.replace("accept", "TCP"))
                continue
            data = ready.recv(1 << 20)
            done[f"{key.data} received"] += len(data)
            if not data and key.data.startswith("TCP"):
                selector.unregister(ready)
                ready.sendall(b"r" * _REPLY)
                done[f"{key.data} sent"] += _REPLY
                ready.close()


def send() -> None:
    """Carry out a plan: `[[what, [host, port], bytes], ...]`, one connection (or row of datagrams) each."""
    done: Counter[str] = Counter()
    for what, address, size in json.loads(sys.stdin.readline()):
        proto, version = what.split()
        kind = socket.SOCK_STREAM if proto == "TCP" else socket.SOCK_DGRAM
        with socket.socket(_ENDS[version][0], kind) as sock:
            sock.connect(tuple(address))
            if proto == "TCP":
                sock.sendall(b"x" * size)
                done[f"{what} sent"] += size
                sock.shutdown(socket.SHUT_WR)
                while data := sock.recv(1 << 16):
                    done[f"{what} received"] += len(data)
            else:
                for _ in range(size // 1000):
                    done[f"{what} sent"] += sock.send(b"x" * 1000)
    print(json.dumps(done), flush=True)


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_NAME, sys.argv[1].encode(), 0, 0, 0)
    serve() if sys.argv[2] == "serve" else send()

"""A process that does as it is told on stdin, a JSON line a command, and answers each with a JSON line.

It stands on nothing of the agent. Sockets are kept by name: {"do": "listen", "name": "a", "family": 4, "proto": "tcp"}.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from typing import Any

FAMILIES = {4: (socket.AF_INET, "127.0.0.1"), 6: (socket.AF_INET6, "::1")}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
sockets: dict[str, socket.socket] = {}
used: set[int] = set()


def rename(name: str) -> None:
    ctypes.CDLL(None).prctl(15, name.encode("utf-8", "surrogateescape"), 0, 0, 0)  # PR_SET_NAME


def make(order: dict[str, Any]) -> socket.socket:
    family, address = FAMILIES[order["family"]]
    made = socket.socket(family, KINDS[order["proto"]])
    if order["do"] in {"listen", "bind"}:
        made.bind((address, 0))
    if order["do"] == "listen":
        made.listen()
    return made


def receive(name: str, size: int) -> int:
    got = 0
    while got < size:
        data = sockets[name].recv(1 << 16)
        if not data:
            break
        got += len(data)
    return got


def storm(count: int, to: tuple[str, int]) -> int:
    """Many datagrams, each from a socket and a port of its own: a connection each, for both sides."""
    for _ in range(count):
        while True:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind(("127.0.0.1", 0))
            if one.getsockname()[1] not in used:
                break
            one.close()
        used.add(one.getsockname()[1])
        with one:
            one.sendto(b"x", to)
    return count


def obey(order: dict[str, Any]) -> Any:  # noqa: C901, PLR0911, PLR0912 a list of what it can do
    name = order.get("name", "")
    match order["do"]:
        case "rename":
            rename(order["to"])
        case "listen" | "bind" | "socket":
            sockets[name] = make(order)
        case "connect":
            sockets[name] = sockets.get(name) or make(order)
            sockets[name].connect(tuple(order["to"]))
        case "accept":
            sockets[name], _ = sockets[order["from"]].accept()
        case "send":
            sockets[name].sendall(b"x" * order["size"])
        case "sendto":
            return sockets[name].sendto(b"x" * order["size"], tuple(order["to"]))
        case "receive":
            return receive(name, order["size"])
        case "shutdown":
            sockets[name].shutdown(socket.SHUT_WR)
        case "close":
            sockets.pop(name).close()
        case "pid":
            return os.getpid()
        case "storm":
            return storm(order["count"], tuple(order["to"]))
        case "forget":  # ports that storms have used: there are some 28,000
            used.clear()
        case "spray":  # datagrams of one byte from one socket to every port of some addresses
            for address in order["to"]:
                for port in range(1, 65536):
                    sockets[name].sendto(b"x", (address, port))
            return 65535 * len(order["to"])
        case other:
            raise ValueError(other)
    if name in sockets:
        return sockets[name].getsockname()[:2]
    return None


for line in sys.stdin:
    print(json.dumps(obey(json.loads(line))), flush=True)  # noqa: T201 its answer

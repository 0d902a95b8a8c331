"""Traffic on loopback: `traffic.py KIND SECONDS`.

tcp: segments of 1,000 bytes there and back, over connections that end before so much went over them that nobody looks
for messages any more. udp: datagrams of 1,000 bytes there and back between two connected sockets. datagrams: the same
between two that are not connected (sendto, recvfrom). connections: a new TCP connection and a UDP datagram to a new
peer every 20 ms, for as long as asked. Nothing that it sends looks like DNS or TLS.
"""

import contextlib
import socket
import sys
import time

PAYLOAD = b"\xa5" * 1000
TURNS = 10_000
"""Segments in each direction of a connection: 10 MB."""


def tcp(until: float) -> None:
    """Data packets over TCP connections, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        while time.monotonic() < until:
            with (
                socket.create_connection(listener.getsockname()) as near,
                contextlib.closing(listener.accept()[0]) as far,
            ):
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for turn in range(TURNS):
                    for here, there in ((near, far), (far, near)):
                        here.sendall(PAYLOAD)
                        there.recv(len(PAYLOAD), socket.MSG_WAITALL)
                    if turn % 100 == 0 and time.monotonic() > until:
                        break


def udp(until: float) -> None:
    """Datagrams between two sockets."""
    with _datagram_socket() as near, _datagram_socket() as far:
        near.connect(far.getsockname())
        far.connect(near.getsockname())
        while time.monotonic() < until:
            for here, there in ((near, far), (far, near)) * 50:
                here.send(PAYLOAD)
                there.recv(len(PAYLOAD))


def datagrams(until: float) -> None:
    """Datagrams between two sockets that are not connected."""
    with _datagram_socket() as near, _datagram_socket() as far:
        while time.monotonic() < until:
            for here, there in ((near, far), (far, near)) * 50:
                here.sendto(PAYLOAD, there.getsockname())
                there.recvfrom(len(PAYLOAD))


def connections(until: float) -> None:
    """New connections and new peers, fifty a second of each."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        while time.monotonic() < until:
            with (
                socket.create_connection(listener.getsockname()) as near,
                contextlib.closing(listener.accept()[0]) as far,
            ):
                near.sendall(PAYLOAD)
                far.recv(len(PAYLOAD), socket.MSG_WAITALL)
            with _datagram_socket() as near, _datagram_socket() as far:
                near.sendto(PAYLOAD, far.getsockname())
                far.recv(len(PAYLOAD))
            time.sleep(0.02)


def _datagram_socket() -> socket.socket:
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("127.0.0.1", 0))
    return end


if __name__ == "__main__":
    {"tcp": tcp, "udp": udp, "datagrams": datagrams, "connections": connections}[sys.argv[1]](
        time.monotonic() + float(sys.argv[2])
    )

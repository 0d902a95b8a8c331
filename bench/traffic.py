"""Traffic on loopback: `traffic.py KIND SECONDS`. KIND is `tcp`, `udp` (data packets), or `connections` (new ones).

tcp: one connection, segments of 1,000 bytes there and back. udp: datagrams of 1,000 bytes there and back between two
connected sockets. connections: a new TCP connection and a UDP datagram to a new peer every 20 ms, for as long as asked.
Nothing that it sends looks like DNS or TLS.
"""

import contextlib
import socket
import sys
import time

PAYLOAD = b"\xa5" * 1000


def tcp(until: float) -> None:
    """Data packets over one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        with far:
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.monotonic() < until:
                for here, there in ((near, far), (far, near)) * 50:
                    here.sendall(PAYLOAD)
                    there.recv(len(PAYLOAD), socket.MSG_WAITALL)


def udp(until: float) -> None:
    """Datagrams between two sockets."""
    with _datagram_socket() as near, _datagram_socket() as far:
        near.connect(far.getsockname())
        far.connect(near.getsockname())
        while time.monotonic() < until:
            for here, there in ((near, far), (far, near)) * 50:
                here.send(PAYLOAD)
                there.recv(len(PAYLOAD))


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
    {"tcp": tcp, "udp": udp, "connections": connections}[sys.argv[1]](time.monotonic() + float(sys.argv[2]))

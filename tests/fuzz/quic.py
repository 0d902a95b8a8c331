"""QUIC: datagrams as they come, and packets sealed with the right keys, so that what stands in them is read."""

from __future__ import annotations

from collections.abc import Iterable

from hellos import CLIENT_HELLO, SERVER_HELLO
from hellos import message as handshake
from quic_peers import ORIGINAL_ID, V1, V2, ack, crypto, initial

from fuzz.promises import check_ascii, check_text
from fuzz.target import Chosen, Target, piece
from fuzz.wire import bodies
from ingrain.wire import tls_hello
from ingrain.wire.client_hello import ClientHello
from ingrain.wire.ja4 import QUIC
from ingrain.wire.malformed import Malformed
from ingrain.wire.quic import CONNECTIONS, Quic
from ingrain.wire.stream import STREAM_BYTES

_DATAGRAMS = 16
_FRAMES_BYTES = 4096
_CLIENT, _OTHER, _LATE, _V2, _JOINED, _MORE_IDS = (1 << bit for bit in range(6))
_LATE_NS = 40_000_000_000


class _Observer:
    """Reads datagrams between a few ends, and checks what comes of each."""

    def __init__(self) -> None:
        self._quic = Quic()
        self._time = 0
        self.understood = False

    def see(self, how: int, payload: bytes) -> None:
        """how: who sends it, to whom, when."""
        self._time += _LATE_NS if how & _LATE else 1
        ends = "client", "other" if how & _OTHER else "server"
        source, destination = ends if how & _CLIENT else ends[::-1]
        try:
            messages = self._quic.read(source, destination, payload, self._time)
        except Malformed:
            return
        self.understood = True
        assert len(self._quic) <= CONNECTIONS
        assert 0 <= self._quic.held <= STREAM_BYTES * 2 * len(self._quic)
        for kind, body in messages:
            assert kind in {CLIENT_HELLO, SERVER_HELLO}
            try:
                hello = tls_hello.message(kind, body, QUIC)
            except Malformed:
                continue
            if isinstance(hello, ClientHello):
                check_text(hello.sni)
                check_ascii(hello.ja4)

    def end(self) -> bool:
        """Nothing is held when all is over; whether anything was read."""
        self._quic.expire(1 << 63)
        assert len(self._quic) == self._quic.held == 0
        return self.understood


def quic(data: bytes) -> bool:
    """Whatever the datagrams: nothing but Malformed, and what is held is bounded."""
    chosen, observer = Chosen(data), _Observer()
    for _ in range(_DATAGRAMS):
        if chosen.left:
            observer.see(chosen.number(), chosen.piece())
    return observer.end()


def quic_sealed(data: bytes) -> bool:
    """The same of what only who has the keys can write."""
    chosen, observer = Chosen(data), _Observer()
    joined = b""
    for number in range(_DATAGRAMS):
        if not chosen.left:
            break
        how = chosen.number()
        joined += initial(
            chosen.piece()[:_FRAMES_BYTES],
            number=number,
            version=V2 if how & _V2 else V1,
            client=bool(how & _CLIENT),
            keys_of=b"another" if how & _MORE_IDS else ORIGINAL_ID,
        )
        if not how & _JOINED:
            observer.see(how, joined)
            joined = b""
    return observer.end()


def _hellos() -> tuple[bytes, bytes]:
    offered, chosen = bodies()[1], bodies()[4]
    return handshake(*offered), handshake(*chosen)


def _frames() -> Iterable[bytes]:
    ours, theirs = _hellos()
    yield bytes([_CLIENT]) + piece(crypto(0, ours)) + bytes([0]) + piece(ack(0) + crypto(0, theirs))
    yield bytes([_CLIENT | _V2]) + piece(b"\x01" + crypto(60, ours[60:]) + bytes(3) + crypto(0, ours[:60]))
    yield bytes([_CLIENT | _JOINED]) + piece(crypto(0, ours[:60])) + bytes([_CLIENT]) + piece(crypto(60, ours[60:]))
    yield bytes([_CLIENT]) + piece(b"\x1c\x00\x06\x04gone")
    yield bytes([_CLIENT | _MORE_IDS]) + piece(b"\x03\x05\x00\x01\x00\x00\x00\x01\x02\x03" + crypto(0, ours))


def _datagrams() -> Iterable[bytes]:
    ours, theirs = _hellos()
    begun = initial(crypto(0, ours))
    yield bytes([_CLIENT]) + piece(begun) + bytes([0]) + piece(initial(ack(0) + crypto(0, theirs), client=False))
    yield bytes([_CLIENT]) + piece(initial(crypto(0, ours), version=V2, token=b"token"))
    yield bytes([_CLIENT]) + piece(begun + initial(crypto(0, ours), number=1, destination=b"other"))


TARGETS = (
    Target("quic", quic, _datagrams, 40, longest=3000),
    Target("quic_sealed", quic_sealed, _frames, 3, longest=3000),
)

"""The TLS hellos that QUIC carries, v1 and v2 (RFC 9000, 9001, 9369): they stand in Initial packets, encrypted.

In: UDP payloads with Initial packets of both directions. Out: handshake messages, put together again from their CRYPTO
frames, which may go over several packets and come in any order. What is known of connections is bounded.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from operator import itemgetter
from typing import NamedTuple

from ingrain.wire import stream
from ingrain.wire.malformed import Malformed
from ingrain.wire.quic_keys import V1, V2, initial_keys, open_initial
from ingrain.wire.stream import Streams
from ingrain.wire.tls_hello import CLIENT_HELLO, SERVER_HELLO

CONNECTIONS = 4096
"""Known at the most: each costs some 800 bytes, beside the hello that it holds until it is whole."""

_LONG = 0x80  # bit of a packet's first byte
_INITIAL = {V1: 0x00, V2: 0x10}  # the packet's type, in bits 0x30 of its first byte
_RETRY = {V1: 0x30, V2: 0x00}
_ID_MAX = 20
_INITIALS_MAX = 8  # of one datagram, each of which costs two decryptions or three
_FRAMES_MAX = 256  # of one packet, beside padding; browsers send some 20
_NOTHING = re.compile(rb"[\0\x01]*")  # PADDING and PING frames
_ACK, _ACK_ECN, _CRYPTO, _CLOSE = 0x02, 0x03, 0x06, 0x1C

_HEADER = 4  # bytes of a message's: type (8 bits), length (24)
_HELLO_MAX = 1 << 16

Message = tuple[int, bytes]
"""A handshake message: its type, and its body."""


class Initial(NamedTuple):
    """An Initial packet whose header was read. `packet`: its bytes; `number_at`: where its number is in them."""

    version: int
    destination_id: bytes
    source_id: bytes
    packet: bytes
    number_at: int


Key = tuple[Hashable, Hashable, bytes]
"""Tells connections apart: the client's end, the server's, and the connection id that the client chose for itself.

There may be several between two ends. The client's packets come from this id, the server's go to it (RFC 9000 7.2). It
may be empty; then there is one at a time (RFC 9000 5.1).
"""


class Connection:
    """What is known of a connection beside its key.

    connection_id: the one that the keys of both sides are made of. expected: the packet number that is due next, of the
    server [0] and of the client [1]. told: hashes of the messages that were told last.
    """

    __slots__ = ("connection_id", "expected", "last", "told")

    def __init__(self, connection_id: bytes, told: tuple[int, ...] = ()) -> None:
        self.connection_id = connection_id
        self.expected = [0, 0]
        self.told = told
        self.last = 0

    def open(self, initial: Initial, *, client: bool) -> bytes:
        """The packet's frames. Raises Malformed where it is not this connection's, or damaged."""
        keys = initial_keys(initial.version, self.connection_id, client=client)
        number, frames = open_initial(keys, initial.packet, initial.number_at, self.expected[client])
        self.expected[client] = max(self.expected[client], number + 1)
        return frames

    def is_new(self, body: bytes) -> bool:
        """Whether this message was not told yet. A client repeats its hello after a Retry."""
        seen = hash(body)
        if seen in self.told:
            return False
        self.told = (*self.told[-3:], seen)
        return True


class Quic:
    """Connections by their ends and the client's id.

    cut: hellos of one side that began and never became whole, or were none; whoever reads it sets it back. Of
    connections that are let go of, as of those whose beginning was not seen, later packets are malformed.
    """

    def __init__(self) -> None:
        self.cut = 0
        self._connections: OrderedDict[Key, Connection] = OrderedDict()  # the one that was used last at the end
        self._streams: Streams[None] = Streams()

    @property
    def held(self) -> int:
        """Bytes of hellos that are not whole yet."""
        return self._streams.held

    def __len__(self) -> int:
        return len(self._connections)

    def read(self, source: Hashable, destination: Hashable, payload: bytes, time: int) -> list[Message]:
        """The handshake messages that this datagram completes: mostly one or none.

        source, destination: whatever tells its ends apart, address and port together. time: its own, in nanoseconds; it
        should not run back by seconds. A ClientHello that a client repeats (after a Retry) is told once; the second
        one after a HelloRetryRequest is another. Raises Malformed where nothing in the datagram could be read: it has
        no Initial packet, or none that is whole and opens with the keys of its connection.
        """
        self.expire(time)
        messages: list[Message] = []
        failed: Malformed | None = Malformed("there is no Initial packet of QUIC v1 or v2")
        for initial in _initials(payload):
            try:
                messages += self._read(source, destination, initial, time)
            except Malformed as error:  # RFC 9000 12.2: the others do not depend on it
                failed = failed and error
            else:
                failed = None
        if failed:
            raise failed
        return messages

    def _read(self, source: Hashable, destination: Hashable, initial: Initial, time: int) -> list[Message]:
        from_client = source, destination, initial.source_id
        from_server = destination, source, initial.destination_id
        failed = None
        for key, client in ((from_client, True), (from_server, False)):
            connection = self._connections.get(key)
            if connection is not None:
                try:
                    frames = connection.open(initial, client=client)
                except Malformed as error:
                    failed = error
                else:
                    return self._messages(key, connection, _fragments(frames), time, client=client)
        before = self._connections.get(from_client)
        if failed and (before is None or initial.destination_id == before.connection_id):
            raise failed
        # It begins one, or begins anew after a Retry.
        connection = Connection(initial.destination_id, before.told if before else ())
        frames = connection.open(initial, client=True)
        fragments = _fragments(frames)
        self._connections[from_client] = connection
        return self._messages(from_client, connection, fragments, time, client=True)

    def _messages(
        self, key: Key, connection: Connection, fragments: list[tuple[int, bytes]], time: int, *, client: bool
    ) -> list[Message]:
        """What is whole now of the messages of one side."""
        self._connections.move_to_end(key)
        connection.last = time
        side = key, connection.connection_id, client
        messages: list[Message] = []
        for offset, data in fragments:
            known = self._streams.known(side)
            if known and known.over:
                break
            found = self._streams.add(side, offset, data, time, None)
            while len(found.data) >= _HEADER:
                kind, size = found.data[0], int.from_bytes(found.data[1:_HEADER])
                if kind != (CLIENT_HELLO if client else SERVER_HELLO) or size > _HELLO_MAX:
                    found.end()  # nothing else is sent in Initial packets: RFC 9001 4.1.3
                    break
                if len(found.data) < _HEADER + size:
                    break
                body = found.take(_HEADER + size)[_HEADER:]
                if connection.is_new(body):
                    messages.append((kind, body))
            if found.full:
                found.end()
            self.cut += found.over
        return messages

    def expire(self, now: int) -> None:
        """Let go of what is idle at `now` (nanoseconds), and of the oldest where there is too much."""
        for _side, gone in self._streams.expired(now):
            self.cut += gone.held > 0
        while self._connections:
            key, connection = next(iter(self._connections.items()))
            if now - connection.last < stream.IDLE_NS and len(self._connections) <= CONNECTIONS:
                break
            del self._connections[key]


def _initials(payload: bytes) -> Iterator[Initial]:
    """The Initial packets of a datagram, which other packets may stand between; of its first connection id only.

    What cannot be read ends it: a receiver knows no better where the next packet begins.
    """
    at = 0
    first_id = None
    count = 0
    try:
        while payload[at] & _LONG and count < _INITIALS_MAX:
            version = int.from_bytes(payload[at + 1 : at + 5])
            kind = payload[at] & 0x30
            if version not in _INITIAL or kind == _RETRY[version]:
                return
            start, at = at, at + 5
            destination_id, at = _sized(payload, at, payload[at], 1)
            source_id, at = _sized(payload, at, payload[at], 1)
            if first_id is None:
                first_id = destination_id
            if kind == _INITIAL[version]:
                size, at = _number(payload, at)
                _token, at = _sized(payload, at, size)
            size, number_at = _number(payload, at)
            at = number_at + size
            if at > len(payload) or max(len(destination_id), len(source_id)) > _ID_MAX:
                return
            if kind == _INITIAL[version] and destination_id == first_id:  # RFC 9000 12.2: others are to be ignored
                count += 1
                yield Initial(version, destination_id, source_id, payload[start:at], number_at - start)
    except IndexError:
        return


def _fragments(frames: bytes) -> list[tuple[int, bytes]]:
    """Offset and bytes of the CRYPTO frames, in the order of their offsets. Raises Malformed.

    Only the frames that Initial packets may hold are there: RFC 9000 12.4.
    """
    fragments: list[tuple[int, bytes]] = []
    at = 0
    try:
        for _ in range(_FRAMES_MAX):
            at = _end_of_nothing(frames, at)
            if at == len(frames):
                return sorted(fragments, key=itemgetter(0))
            kind = frames[at]
            if kind == _CRYPTO:
                offset, at = _number(frames, at + 1)
                size, at = _number(frames, at)
                data, at = _sized(frames, at, size)
                fragments.append((offset, data))
            elif kind in {_ACK, _ACK_ECN}:
                at = _behind_ack(frames, at + 1, 3 if kind == _ACK_ECN else 0)
            elif kind == _CLOSE:
                _error, at = _number(frames, at + 1)
                _frame, at = _number(frames, at)
                size, at = _number(frames, at)
                _reason, at = _sized(frames, at, size)
            else:
                raise Malformed(f"a frame of type {kind} stands in an Initial packet")
    except IndexError:
        raise Malformed("a frame ends behind its packet") from None
    raise Malformed(f"an Initial packet has more than {_FRAMES_MAX} frames")


def _end_of_nothing(frames: bytes, at: int) -> int:
    found = _NOTHING.match(frames, at)
    return found.end() if found else at


def _behind_ack(frames: bytes, at: int, counts: int) -> int:
    """Where an ACK frame ends; counts: those of ECN at its end. Raises IndexError where it does not."""
    _largest, at = _number(frames, at)
    _delay, at = _number(frames, at)
    ranges, at = _number(frames, at)
    for _ in range(1 + 2 * ranges + counts):
        at += 1 << (frames[at] >> 6)
    if at > len(frames):
        raise IndexError(at)
    return at


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length (RFC 9000 16), and where it ends. Raises IndexError where it does not."""
    end = at + (1 << (data[at] >> 6))
    if end > len(data):
        raise IndexError(end)
    return int.from_bytes(data[at:end]) & ((1 << (8 * (end - at) - 2)) - 1), end


def _sized(data: bytes, at: int, size: int, skipped: int = 0) -> tuple[bytes, int]:
    """So many bytes, behind `skipped` others, and where they end. Raises IndexError where the data ends before."""
    start = at + skipped
    if start + size > len(data):
        raise IndexError(start + size)
    return data[start : start + size], start + size

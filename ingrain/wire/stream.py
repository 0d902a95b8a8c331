"""TCP streams put together again from their segments, which may come in any order, twice, overlapping, or never.

In: segments with their place in a stream. Out: the bytes that follow each other from its beginning on. Memory is
bounded for each stream and for all together; what does not fit, or waits too long for a gap to be filled, is let go of.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

Packet = TypeVar("Packet")

STREAM_BYTES = 1 << 17
"""Held of one stream: a hello has at most some 64 KiB, a DNS message as many, and what came early is held beside it."""

PIECES = 64
"""Of one stream that may wait for what is before them."""

TOTAL_PIECES = 1 << 15
"""Of all streams together: each costs some 600 bytes beside its own."""

TOTAL_BYTES = 32 << 20
"""Held of all streams together."""

STREAMS = 1 << 14
"""Streams at the most: each costs some 500 bytes beside what it holds."""

IDLE_NS = 30_000_000_000
"""A stream of which nothing came for so long is over, as far as this side knows."""


class Piece(NamedTuple, Generic[Packet]):
    """A segment that waits for what is before it. time: when it came (ns); packet: what it came in."""

    payload: bytes
    time: int
    packet: Packet


class Stream(Generic[Packet]):
    """One direction of a connection, from where its segments' offsets count.

    `data` is what follows from the beginning and was not taken yet; `taken`: bytes that were. A stream that is `over`
    holds nothing and takes nothing: what is known of it is that its later segments are of no use. `last`: when its
    latest segment came (ns).

    Its reader's own: `needed`, bytes of `data` that must be there before it is worth looking again; `proven`, whether
    it is what the reader reads; `adrift`, whether it is unknown where the next message begins.
    """

    __slots__ = ("_all", "_pieces", "adrift", "data", "held", "last", "needed", "over", "proven", "taken")

    def __init__(self, streams: Streams[Packet]) -> None:
        self.data = bytearray()
        self.held = 0
        self.last = 0
        self.needed = 0
        self.proven = self.adrift = self.over = False
        self._all = streams
        self.taken = 0
        self._pieces: dict[int, Piece[Packet]] = {}

    @property
    def behind(self) -> int:
        """Offset of the first byte that is missing."""
        return self.taken + len(self.data)

    @property
    def waits(self) -> bool:
        """Whether segments wait for what is missing before them."""
        return bool(self._pieces)

    @property
    def waiting_since(self) -> int:
        """When the first of those came (ns); there must be one."""
        return min(piece.time for piece in self._pieces.values())

    @property
    def full(self) -> bool:
        """Whether it holds more than it may: its reader is to let go of some, or to `end` it."""
        return self.held > STREAM_BYTES or len(self._pieces) > PIECES

    def add(self, offset: int, payload: bytes, time: int, packet: Packet) -> None:
        """Take the segment at this offset (from 0), which came at this time (ns) in this packet.

        Of bytes that come twice, the first ones stay; of those that wait for what is before them, the ones of the
        segment that begins first. So has Linux's TCP it (tcp_data_queue_ofo of net/ipv4/tcp_input.c).
        """
        if self.over or offset + len(payload) <= self.behind:
            return
        if offset > self.behind:
            if offset in self._pieces:
                if len(payload) <= len(self._pieces[offset].payload):
                    return
                self._pop(offset)
            self._pieces[offset] = Piece(payload, time, packet)
            self._hold(len(payload), pieces=1)
        else:
            self._append(offset, payload)
            while self._pieces and (first := min(self._pieces)) <= self.behind:
                self._append(first, self._pop(first).payload)

    def take(self, size: int) -> bytes:
        """The next `size` bytes, which must be there."""
        taken = bytes(self.data[:size])
        del self.data[:size]
        self.taken += size
        self._hold(-size)
        return taken

    def drop_data(self) -> None:
        """Do without what follows from the beginning and was not taken."""
        self.take(len(self.data))

    def skip(self) -> list[tuple[int, Piece[Packet]]]:
        """Do without what is missing, and what is before it: the segments that waited, with their offsets, in order."""
        self.drop_data()
        return [(offset, self._pop(offset)) for offset in sorted(self._pieces)]

    def end(self) -> None:
        """Nothing of it is wanted any more."""
        self.over = True
        self.skip()

    def _append(self, offset: int, payload: bytes) -> None:
        new = payload[self.behind - offset :]
        self.data += new
        self._hold(len(new))

    def _pop(self, offset: int) -> Piece[Packet]:
        piece = self._pieces.pop(offset)
        self._hold(-len(piece.payload), pieces=-1)
        return piece

    def _hold(self, more: int, pieces: int = 0) -> None:
        self.held += more
        self._all.held += more
        self._all.pieces += pieces


class Streams(Generic[Packet]):
    """Streams by any key that tells them apart. All together: `held`, bytes; `pieces`, segments that wait."""

    def __init__(self) -> None:
        self.held = 0
        self.pieces = 0
        self.by_key: OrderedDict[Hashable, Stream[Packet]] = OrderedDict()
        """All that there are, the one that was touched last at the end."""

    def __len__(self) -> int:
        return len(self.by_key)

    def add(self, key: Hashable, offset: int, payload: bytes, time: int, packet: Packet) -> Stream[Packet]:
        """The stream, with the segment added; `time` and `packet` as for `Stream.add`."""
        stream = self.touch(key, time)
        stream.add(offset, payload, time, packet)
        return stream

    def touch(self, key: Hashable, time: int) -> Stream[Packet]:
        """The stream, of which something came at this time (ns): a new one, where it is not known."""
        stream = self.by_key.get(key)
        if stream is None:
            stream = self.by_key[key] = Stream(self)
        else:
            self.by_key.move_to_end(key)
        stream.last = time
        return stream

    def known(self, key: Hashable) -> Stream[Packet] | None:
        """The stream, where segments of it came before."""
        return self.by_key.get(key)

    @property
    def crowded(self) -> bool:
        """Whether there is too much of them: some are to expire, now."""
        return self.held > TOTAL_BYTES or self.pieces > TOTAL_PIECES or len(self.by_key) > STREAMS

    def expired(self, now: int) -> Iterator[tuple[Hashable, Stream[Packet]]]:
        """Let go of streams that are idle at `now` (nanoseconds), and of the oldest while there is too much of them."""
        while self.by_key:
            key, stream = next(iter(self.by_key.items()))
            if now - stream.last < IDLE_NS and not self.crowded:
                break
            del self.by_key[key]
            yield key, stream
            stream.end()

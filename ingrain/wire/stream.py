"""TCP streams put together again from their segments, which may come in any order, twice, overlapping, or never.

In: segments with their place in a stream. Out: the bytes that follow each other from its beginning on. Memory is
bounded for each stream and for all together; what does not fit, or waits too long for a gap to be filled, is let go of.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator

STREAM_BYTES = 1 << 17
"""Held of one stream: a hello has at most some 64 KiB, a DNS message as many, and what came early is held beside it."""

PIECES = 64
"""Of one stream that may wait for what is before them."""

TOTAL_BYTES = 32 << 20
"""Held of all streams together."""

STREAMS = 1 << 14
"""Streams at the most: each costs some 500 bytes beside what it holds."""

IDLE_NS = 30_000_000_000
"""A stream of which nothing came for so long is over, as far as this side knows."""


class Stream:
    """One direction of a connection, from where its segments' offsets count.

    `data` is what follows from the beginning and was not taken yet. A stream that is `over` holds nothing and takes
    nothing: what is known of it is that its later segments are of no use. `taken`: bytes that were.
    `needed` is its reader's: bytes of `data` that must be there before it is worth to look again.
    """

    __slots__ = ("_all", "_pieces", "data", "held", "last", "needed", "over", "taken")

    def __init__(self, streams: Streams) -> None:
        self.data = bytearray()
        self.held = 0
        self.last = 0
        self.needed = 0
        self.over = False
        self._all = streams
        self.taken = 0
        self._pieces: dict[int, bytes] = {}

    @property
    def behind(self) -> int:
        """Offset of the first byte that is missing."""
        return self.taken + len(self.data)

    def add(self, offset: int, payload: bytes) -> None:
        """Take the segment at this offset (from 0). The stream is over when it would hold too much.

        Of bytes that come twice, the first ones stay; of those that wait for what is before them, the ones of the
        segment that begins first. So has Linux's TCP it (tcp_data_queue_ofo of net/ipv4/tcp_input.c).
        """
        if self.over or offset + len(payload) <= self.behind:
            return
        if offset > self.behind:
            known = len(self._pieces.get(offset, b""))
            if len(payload) > known:
                self._pieces[offset] = payload
                self._hold(len(payload) - known)
        else:
            self._append(offset, payload)
            while self._pieces and (first := min(self._pieces)) <= self.behind:
                piece = self._pieces.pop(first)
                self._hold(-len(piece))
                self._append(first, piece)
        if self.held > STREAM_BYTES or len(self._pieces) > PIECES:
            self.end()

    def take(self, size: int) -> bytes:
        """The next `size` bytes, which must be there."""
        taken = bytes(self.data[:size])
        del self.data[:size]
        self.taken += size
        self._hold(-size)
        return taken

    def end(self) -> None:
        """Nothing of it is wanted any more."""
        self.over = True
        self.data.clear()
        self._pieces.clear()
        self._hold(-self.held)

    def _append(self, offset: int, payload: bytes) -> None:
        new = payload[self.behind - offset :]
        self.data += new
        self._hold(len(new))

    def _hold(self, more: int) -> None:
        self.held += more
        self._all.held += more


class Streams:
    """Streams by any key that tells them apart. `held`: bytes that they hold, all together."""

    def __init__(self) -> None:
        self.held = 0
        self._streams: OrderedDict[Hashable, Stream] = OrderedDict()  # the one that was touched last at the end

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, key: Hashable, offset: int, payload: bytes, time: int) -> Stream:
        """The stream, with the segment added. `time`: the segment's, in nanoseconds."""
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = Stream(self)
        else:
            self._streams.move_to_end(key)
        stream.last = time
        stream.add(offset, payload)
        return stream

    def known(self, key: Hashable) -> Stream | None:
        """The stream, where segments of it came before."""
        return self._streams.get(key)

    def expired(self, now: int) -> Iterator[Stream]:
        """Let go of streams that are idle at `now` (nanoseconds), and of the oldest while there is too much of them."""
        while self._streams:
            key, stream = next(iter(self._streams.items()))
            if now - stream.last < IDLE_NS and self.held <= TOTAL_BYTES and len(self._streams) <= STREAMS:
                break
            del self._streams[key]
            yield stream
            stream.end()

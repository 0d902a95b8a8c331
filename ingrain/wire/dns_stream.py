"""DNS messages out of TCP streams, where each stands behind its length (RFC 1035 4.2.2).

In: segments, each with the packet that it came in. Out: whole messages that ask or answer, each with the packet that
completed it; what else a stream holds (NOTIFY, UPDATE, DSO) is passed over. Where a segment is lost, the stream goes on
at the next one that begins with a message. Streams are bounded, and so is what is remembered of those that were idle: a
client may ask again after minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from struct import Struct
from typing import Generic, TypeVar

from ingrain.wire import dns_message, stream
from ingrain.wire.dns_name import HEADER_SIZE
from ingrain.wire.malformed import Malformed
from ingrain.wire.stream import Stream, Streams

Packet = TypeVar("Packet")

GAP_NS = 500_000_000
"""How long to wait for a missing segment: one that the network lost is sent again after 200 ms or more."""

_PREFIX = 2  # bytes of a message's length
_BEGINNING = Struct("!HHBBHHHHB")  # length; header: id, flags, how many of which records; length of the first label
_RESPONSE, _AUTHORITATIVE, _RCODE = 0x80, 0x04, 0x0F
_NOTIFY, _UPDATE, _DSO = 0x20, 0x28, 0x30  # with which a client may begin, and ask later: RFC 1996, 2136, 8490
_QUESTIONS_MAX, _RECORDS_MAX, _LABEL_MAX = 64, 4096, 63


def begins_message(segment: bytes) -> bool:
    """Whether this can be a message behind its length: the test by which the kernel half tells DNS (`begins_dns`)."""
    if len(segment) < _BEGINNING.size:
        return False
    length, number, flags, more_flags, questions, *records, label = _BEGINNING.unpack_from(segment)
    if length <= HEADER_SIZE or max(records) > _RECORDS_MAX:
        return False
    if flags & dns_message.OPCODE:
        kind = flags & (_RESPONSE | dns_message.OPCODE)
        is_asked = kind in {_NOTIFY, _UPDATE} and questions == 1 and label <= _LABEL_MAX
        return is_asked or (kind == _DSO and not (questions or any(records) or more_flags))
    if questions > _QUESTIONS_MAX:
        return False
    if questions:
        return bool(label <= _LABEL_MAX and length > HEADER_SIZE + 4)
    # Multicast DNS answers without a question: RFC 6762 18.
    is_multicast = flags & _RESPONSE and flags & _AUTHORITATIVE and not number and not more_flags & _RCODE
    return bool(records[0] and is_multicast)


class DnsStreams(Generic[Packet]):
    """Streams by any key that identifies them.

    malformed: lengths that no message has. cut: segments of no use, because what precedes them is missing.
    unfinished: messages whose end is missing. Whoever reads these counts resets them.
    """

    def __init__(self) -> None:
        self.malformed = 0
        self.cut = 0
        self.unfinished = 0
        self._streams: Streams[Packet] = Streams()
        # Streams in which something waits, and since when, about; the oldest first.
        self._gaps: OrderedDict[Hashable, int] = OrderedDict()
        # Where streams were that were dropped: an offset, or ~offset where that was within a message.
        self._idle: OrderedDict[Hashable, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def held(self) -> int:
        """Bytes of messages that are not whole yet."""
        return self._streams.held

    def add(self, key: Hashable, offset: int, payload: bytes, time: int, packet: Packet) -> list[tuple[bytes, Packet]]:
        """The messages that this segment completes, and those of other streams that need not wait any longer.

        offset: of the segment in its stream, from 0. time: when it was seen, in nanoseconds.
        """
        messages = self.due(time)
        known = self._streams.known(key)
        found = self._streams.touch(key, time)
        if known is None and key in self._idle:
            self._go_on(found, self._idle.pop(key))
        messages += self._take(found, offset, payload, time, packet)
        if found.full:
            messages += self._skip(found)
        if found.waits:
            self._gaps.setdefault(key, time)
        if self._streams.crowded:
            self.expire(time)
        return messages

    def due(self, now: int) -> list[tuple[bytes, Packet]]:
        """The messages behind gaps that at `now` (nanoseconds) will not be filled any more."""
        messages: list[tuple[bytes, Packet]] = []
        while self._gaps:
            key, since = next(iter(self._gaps.items()))
            if now - since < GAP_NS:
                break
            del self._gaps[key]
            found = self._streams.known(key)
            if found is None or not found.waits:
                continue
            if now - found.waiting_since >= GAP_NS:
                messages += self._skip(found)
            if found.waits:
                self._gaps[key] = found.waiting_since
        return messages

    def expire(self, now: int) -> None:
        """Drop streams that are idle at `now`, and the oldest where there is too much; remember where they were."""
        for key, gone in self._streams.expired(now):
            self._gaps.pop(key, None)
            if not _is_dns(gone):
                continue
            self.unfinished += gone.held > 0
            self._idle[key] = ~gone.behind if gone.held or gone.adrift else gone.behind
            if len(self._idle) > stream.STREAMS:
                self._idle.popitem(last=False)

    @staticmethod
    def _go_on(found: Stream[Packet], place: int) -> None:
        found.proven = True
        found.adrift = place < 0
        found.taken = ~place if place < 0 else place

    def _take(
        self, found: Stream[Packet], offset: int, payload: bytes, time: int, packet: Packet
    ) -> list[tuple[bytes, Packet]]:
        if found.adrift and not self._find(found, offset, payload):
            return []
        found.add(offset, payload, time, packet)
        messages: list[tuple[bytes, Packet]] = []
        while len(found.data) >= _PREFIX and not found.adrift:
            size = int.from_bytes(found.data[:_PREFIX])
            if size < HEADER_SIZE:
                self.malformed += 1
                found.drop_data()
                messages += self._skip(found)
            elif len(found.data) >= _PREFIX + size:
                message = found.take(_PREFIX + size)[_PREFIX:]
                if dns_message.is_query(message):
                    messages.append((message, packet))
                found.proven = True
            else:
                break
        return messages

    def _skip(self, found: Stream[Packet]) -> list[tuple[bytes, Packet]]:
        """Give up what is missing, and go on at the first waiting segment that begins with a message."""
        self.unfinished += len(found.data) > 0 and _is_dns(found)
        found.adrift = True
        messages: list[tuple[bytes, Packet]] = []
        for offset, piece in found.skip():
            messages += self._take(found, offset, piece.payload, piece.time, piece.packet)
        return messages

    def _find(self, found: Stream[Packet], offset: int, payload: bytes) -> bool:
        """Whether the segment is of use: a message begins, or may begin, with it or with short ones just before it."""
        if offset < found.behind:
            return False
        if offset == found.behind and found.data and _may_begin(found, bytes(found.data) + payload):
            return True
        self.cut += found.proven and len(found.data) > 0
        found.drop_data()
        if not _may_begin(found, payload):
            self.cut += found.proven
            return False
        found.taken = offset
        return True


def _may_begin(found: Stream[Packet], beginning: bytes) -> bool:
    """Whether these bytes begin a message, or are too few to tell.

    In a stream that is not known to be DNS they have to be a whole message: of the segments that arrive early in any
    stream, some look like a header by chance.
    """
    if not found.proven:
        found.proven = begins_message(beginning) and _is_whole(beginning)
        found.adrift = not found.proven
        return found.proven
    found.adrift = not begins_message(beginning)
    return not found.adrift or len(beginning) < _BEGINNING.size


def _is_whole(segment: bytes) -> bool:
    end = _PREFIX + int.from_bytes(segment[:_PREFIX])
    try:
        return end <= len(segment) and not dns_message.decode(segment[_PREFIX:end]).malformed
    except Malformed:
        return False


def _is_dns(found: Stream[Packet]) -> bool:
    """Whether it is known to be DNS: segments that overtake the first of a stream may be of anything."""
    return found.proven or (len(found.data) >= _BEGINNING.size and not found.adrift)

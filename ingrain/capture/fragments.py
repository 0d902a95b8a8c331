"""IP datagrams put together from their fragments (RFC 791 3.2, RFC 8200 4.5).

In: fragments, in any order. Out: whole datagrams with a header as if they had never been in pieces. Memory is bounded
for each datagram and for all together, and what is not complete after 30 seconds of the capture's time is let go of.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict

from ingrain.capture import ip
from ingrain.capture.counts import Counts

EXPIRY_NS = 30_000_000_000
"""Since a datagram's first fragment; what Linux waits for IPv4's (net.ipv4.ipfrag_time)."""

TOTAL_BYTES = 16 << 20
"""Held of all datagrams together, with what holding them costs; Linux has 4 MiB."""

PIECES = 2048
"""Of one datagram: 65,535 bytes in packets of the smallest MTU that IPv4 allows (68 bytes) are 1,366."""

PIECE_COST, DATAGRAM_COST = 160, 576
"""Bytes of memory beside the payload, as measured."""

_MORE_IPV4, _OFFSET_IPV4 = 0x2000, 0x1FFF
_FRAGMENT_HEADER = 8

Key = tuple[int, int, bytes]
"""Interface, identification, and what else tells datagrams apart: addresses, with IPv4 the protocol as well."""


class _Datagram:
    """One datagram's fragments. `lost`: why it never becomes whole; then it holds nothing, but knows its own."""

    __slots__ = ("began", "count", "ends", "have", "header", "held", "lost", "pieces", "size", "starts")

    def __init__(self, began: int) -> None:
        self.began = began
        self.starts: list[int] = []  # of the pieces, in order; with their ends and bytes beside them
        self.ends: list[int] = []
        self.pieces: list[bytes] = []
        self.header = b""  # of the fragment at offset 0
        self.size = -1  # bytes of the whole, once its last fragment is there
        self.count = 0  # fragments that are part of it
        self.have = 0  # bytes of the pieces, which do not overlap
        self.held = DATAGRAM_COST
        self.lost = ""

    def whole(self) -> bool:
        """Whether nothing is missing."""
        return self.have == self.size

    def insert(self, start: int, piece: bytes) -> None:
        """Put a piece in its place, where nothing is."""
        place = bisect_left(self.starts, start)
        self.starts.insert(place, start)
        self.ends.insert(place, start + len(piece))
        self.pieces.insert(place, piece)
        self.have += len(piece)
        self.held += len(piece) + PIECE_COST

    def lose(self, reason: str) -> int:
        """Hold nothing any more; gives the number of fragments that are lost with it."""
        count, self.count = self.count, 0
        self.starts, self.ends, self.pieces, self.header = [], [], [], b""
        self.held = DATAGRAM_COST
        self.lost = reason
        return count


class Fragments:
    """Datagrams that are not whole yet. `held`: the bytes that they take.

    Overlaps. IPv6: the datagram is dropped, with what of it is still to come (RFC 5722), unless a fragment is there
    twice in exactly the same form (RFC 8200 4.5). IPv4: the bytes that came first stay. With both, a datagram whose
    fragments do not agree on where it ends is dropped. The reason of each loss is told in `Counts.lost_fragments`.
    """

    def __init__(self, counts: Counts) -> None:
        self.held = 0
        self._counts = counts
        self._datagrams: OrderedDict[Key, _Datagram] = OrderedDict()  # the one that began last at the end

    def __len__(self) -> int:
        return len(self._datagrams)

    def add(self, packet: bytes, time: int, interface: int, *, cut: bool) -> bytes | None:
        """The whole datagram, where this fragment is the last that was missing.

        packet: an IPv4 or IPv6 packet that is a fragment. time: its own, in nanoseconds. cut: whether the capture has
        only its beginning, which makes it useless.
        """
        self._counts.fragments += 1
        self._expire(time)
        fragment = _ipv4(packet) if ip.is_ipv4(packet) else _ipv6(packet)
        if cut or fragment is None:
            self._counts.lost_fragments["truncated" if cut else "malformed"] += 1
            return None
        identification, ends, header, start, more, data = fragment
        if not start and not more:  # an atomic fragment (RFC 6946), which has nothing to do with others of its number
            self._counts.joined += 1
            self._counts.reassembled += 1
            return _joined(header, data)
        key = interface, identification, ends
        datagram = self._datagram(key, time)
        before = datagram.held
        datagram.count += 1
        reason = datagram.lost or _put(datagram, start, more, data, header, ipv6=not ip.is_ipv4(packet))
        if reason == "duplicate":
            datagram.count -= 1
            self._counts.lost_fragments[reason] += 1
        elif reason:
            self._counts.lost_fragments[reason] += datagram.lose(reason)
        self.held += datagram.held - before
        if not reason and datagram.whole():
            return self._take(key)
        while self.held > TOTAL_BYTES:
            self._drop(next(iter(self._datagrams)), "no room")
        return None

    def end(self) -> None:
        """Let go of all: the capture is at its end."""
        while self._datagrams:
            self._drop(next(iter(self._datagrams)), "incomplete")

    def _datagram(self, key: Key, time: int) -> _Datagram:
        datagram = self._datagrams.get(key)
        if datagram and abs(time - datagram.began) >= EXPIRY_NS:  # held up by one before it whose time is ahead
            self._drop(key, "expired")
            datagram = None
        if datagram is None:
            datagram = self._datagrams[key] = _Datagram(time)
            self.held += datagram.held
        return datagram

    def _expire(self, now: int) -> None:
        while self._datagrams:
            key, datagram = next(iter(self._datagrams.items()))
            if now - datagram.began < EXPIRY_NS:
                break
            self._drop(key, "expired")

    def _drop(self, key: Key, reason: str) -> None:
        datagram = self._datagrams.pop(key)
        self.held -= datagram.held
        if datagram.count:
            self._counts.lost_fragments[reason] += datagram.count

    def _take(self, key: Key) -> bytes:
        datagram = self._datagrams.pop(key)
        self.held -= datagram.held
        self._counts.joined += datagram.count
        self._counts.reassembled += 1
        return _joined(datagram.header, b"".join(datagram.pieces))


def _put(datagram: _Datagram, start: int, more: bool, data: bytes, header: bytes, *, ipv6: bool) -> str:  # noqa: FBT001
    """Put a fragment's bytes into the datagram; else the reason why it never becomes whole, or `duplicate`."""
    end = start + len(data)
    last = datagram.ends[-1] if datagram.ends else 0
    beyond = end > datagram.size >= 0
    if beyond or (not more and (end < last or end < datagram.size)):
        return "contradicting"
    if end + len(header) - (ip.IPV6_HEADER if ipv6 else 0) > ip.LENGTH_MAX:
        return "too long"
    place = bisect_left(datagram.ends, start + 1)  # the first piece that ends behind our start
    if place < len(datagram.starts) and datagram.starts[place] < end:
        if ipv6:
            same = datagram.starts[place] == start and datagram.pieces[place] == data
            return "duplicate" if same else "overlapping"
        if not _fill_gaps(datagram, place, start, data):
            return "duplicate"
    else:
        datagram.insert(start, data)
    if not start and not datagram.header:
        datagram.header = header
        datagram.held += len(header)
    if not more:
        datagram.size = end
    return "too many pieces" if len(datagram.pieces) > PIECES else ""


def _fill_gaps(datagram: _Datagram, place: int, start: int, data: bytes) -> bool:
    """Put in what of the data is not there yet; `place`: of the first piece in its way. False where all is there."""
    end = start + len(data)
    at = start
    gaps = []
    for there, until in zip(datagram.starts[place:], datagram.ends[place:], strict=True):
        if there >= end:
            break
        if there > at:
            gaps.append((at, there))
        at = until
    if at < end:
        gaps.append((at, end))
    for begin, until in gaps:
        datagram.insert(begin, data[begin - start : until - start])
    return bool(gaps)


_Parts = tuple[int, bytes, bytes, int, bool, bytes]  # identification, ends, header, start, more, data


def _ipv4(packet: bytes) -> _Parts | None:
    """The parts of a fragment of IPv4; None where it cannot be one."""
    field = packet[6] << 8 | packet[7]
    more = bool(field & _MORE_IPV4)
    size = ip.header_size(packet)
    data = packet[size:]
    if not data or (more and len(data) & 7):
        return None
    header = bytearray(packet[:size])
    header[6:8] = bytes(2)
    ends = packet[12:20] + packet[9:10]
    return packet[4] << 8 | packet[5], ends, bytes(header), (field & _OFFSET_IPV4) * 8, more, data


def _ipv6(packet: bytes) -> _Parts | None:
    """The parts of a fragment of IPv6; None where it cannot be one."""
    _kind, at, number_at = ip.behind_extensions(packet)
    behind = at + _FRAGMENT_HEADER
    field = packet[at + 2] << 8 | packet[at + 3]
    more = bool(field & 1)
    data = packet[behind:]
    if not data or (more and len(data) & 7):
        return None
    header = bytearray(packet[:at])
    header[number_at] = packet[at]
    return int.from_bytes(packet[at + 4 : behind], "big"), packet[8:40], bytes(header), field & ~7, more, data


def is_fragment(packet: bytes) -> bool:
    """Whether an IPv4 or IPv6 packet is a fragment; one of IPv6 is none where it ends within its fragment header."""
    if ip.is_ipv4(packet):
        return bool(packet[6] & 0x3F or packet[7])
    if packet[6] != ip.FRAGMENT and packet[6] not in ip.EXTENSIONS:
        return False
    kind, at, _number_at = ip.behind_extensions(packet)
    return kind == ip.FRAGMENT and at + _FRAGMENT_HEADER <= len(packet)


def _joined(header: bytes, data: bytes) -> bytes:
    whole = bytearray(header)
    ip.set_length(whole, len(header) + len(data))
    return bytes(whole) + data

"""Captures (pcap, pcapng) as the packets that the kernel programs see: whole IP packets with the time of their capture.

In: a file. Out: pairs of a time and a packet, one after the other, in the file's order. Fragments are put together,
long TCP packets split, and what is not delivered is counted.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Self

from ingrain.capture import ip, pcap, pcapng
from ingrain.capture.blocks import MAGIC
from ingrain.capture.counts import Counts
from ingrain.capture.errors import CaptureError, Unreadable
from ingrain.capture.fragments import Fragments, is_fragment
from ingrain.capture.link import READABLE, Interface, name
from ingrain.capture.pcap import Record
from ingrain.capture.segments import SEGMENT_MAX, split
from ingrain.capture.source import Window

__all__ = ["Capture", "CaptureError", "Counts"]

Packet = tuple[int, bytes]
"""Nanoseconds since 1970 UTC, and the bytes from the IPv4 or IPv6 header on."""


class Capture:
    """A capture file, read once, from its beginning to its end. Memory does not grow with the file.

    path: of a pcap or pcapng file, plain or gzip-compressed; `-` is standard input. counts: what became of the packets
    so far. Raises CaptureError where the file cannot be opened or is no capture that can be read.

        with Capture("traffic.pcapng") as capture:
            for time, packet in capture:
                ...
    """

    def __init__(self, path: str) -> None:
        self.counts = Counts()
        self._window = Window(path)
        self._fragments = Fragments(self.counts)
        try:
            self._packets = self._read(self._records())
        except Unreadable as error:
            self._window.close()
            raise self._error(error) from error
        except CaptureError:
            self._window.close()
            raise

    def __iter__(self) -> Iterator[Packet]:
        """The packets; going on, where some were read before.

        Packets that the capture has only the beginning of are delivered as far as they go; their IP header tells the
        length on the wire. Packets longer than 3,400 bytes are those that cannot be split: not TCP, or with
        headers that are broken or over 1 KiB. Checksums of TCP are not kept right.
        Raises CaptureError where the file is cut or damaged, after everything before that was delivered; and at the end
        where packets are there, but all of link types that cannot be read.
        """
        return self._packets

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def end(self) -> None:
        """Have the file be as if it ended here: also a read that waits for more is over. For a signal's handler."""
        self._window.end()

    def close(self) -> None:
        """Close the file."""
        self._packets.close()
        self._window.close()

    def _records(self) -> Iterator[Record]:
        begin = self._window.data[:4]
        if len(begin) < len(MAGIC):
            self._window.fill(0, len(MAGIC))
            begin = self._window.data[:4]
        if begin in pcap.MAGICS:
            return pcap.records(self._window)
        if begin == MAGIC:
            return pcapng.records(self._window, self.counts)
        found = f"begins with {begin.hex(' ')}" if begin else "is empty"
        raise CaptureError(
            f"{self._window.path} is no capture: it {found}. Captures of the formats pcap and pcapng can be read, also "
            "gzip-compressed; editcap -F pcapng makes one of most other formats"
        )

    def _read(self, records: Iterator[Record]) -> Generator[Packet, None, None]:
        counts = self.counts
        try:
            for time, frame, sent, interface in records:
                counts.read += 1
                found = self._unframe(frame, sent, interface)
                if found is None:
                    continue
                packet, wire = found
                if len(packet) < wire:
                    counts.truncated += 1
                if is_fragment(packet):
                    whole = self._fragments.add(packet, time, interface.number, cut=len(packet) < wire)
                    if whole is None:
                        continue
                    packet, wire = whole, len(whole)
                else:
                    counts.whole += 1
                if len(packet) <= SEGMENT_MAX:
                    counts.delivered += 1
                    yield time, packet
                    continue
                for segment in self._split(packet, wire):
                    counts.delivered += 1
                    yield time, segment
        except Unreadable as error:
            raise self._error(error) from error
        finally:
            self._fragments.end()
        self._check_links()

    def _unframe(self, frame: bytes, sent: int, interface: Interface) -> tuple[bytes, int] | None:
        """The frame's IP packet and its length on the wire; None, and counted, where there is none."""
        if interface.strip is None:
            self.counts.unknown_links[name(interface.link)] += 1
            return None
        at = interface.strip(frame)
        if at < 0:
            self.counts.not_ip += 1
            return None
        found = ip.packet_in(frame, at, sent)
        if found is None:
            self.counts.malformed += 1
        return found

    def _split(self, packet: bytes, wire: int) -> list[bytes]:
        segments = split(packet, wire)
        if len(segments) > 1:
            self.counts.split += 1
            self.counts.segments += len(segments)
        return segments

    def _check_links(self) -> None:
        counts = self.counts
        if counts.read and counts.read == counts.unknown_links.total():
            links = ", ".join(sorted(counts.unknown_links))
            message = f"{self._window.path} has {counts.read} packets, all of link type {links}"
            raise CaptureError(f"{message}; what can be read is {READABLE}", packets=counts.read)

    def _error(self, error: Unreadable) -> CaptureError:
        read = self.counts.read
        message = f"{self._window.path} {error.what}"
        return CaptureError(f"{message}; {read} packets before it were read" if read else message, error.offset, read)

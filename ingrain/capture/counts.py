"""What became of a capture's packets, so that none is missing from the account."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec


@dataclass(slots=True)
class Counts:
    """Packets of a capture, from the file to the caller.

    When it is read to its end,
    `read` = `whole` + `fragments` + `not_ip` + `malformed` + the sum of `unknown_links`;
    `fragments` = `joined` + the sum of `lost_fragments`;
    `delivered` = `whole` + `reassembled` - `split` + `segments`.

    read: packets in the file. delivered: packets that the caller got. whole: packets that came in one piece.

    Not delivered: not_ip: frames that carry something else (ARP, LLDP ...). malformed: said to be IP, but with an IP
    header that is not there in full or contradicts itself; and packets whose time is not within the years 1970 to 2262.
    unknown_links: packets of interfaces whose link type cannot be read, by its name.

    fragments: IP fragments. joined: those that became part of a datagram. reassembled: such datagrams. lost_fragments:
    the others, by the reason.

    split: TCP packets that were longer than one test run takes. segments: what they were split into.

    Told beside the above: truncated: packets of which the capture has only the beginning; they are delivered as far as
    they go, unless they are fragments. untimed: packets that have no time in the file (pcapng's simple packet blocks).
    """

    read: int = 0
    delivered: int = 0
    whole: int = 0
    not_ip: int = 0
    malformed: int = 0
    unknown_links: Counter[str] = field(default_factory=Counter)
    fragments: int = 0
    joined: int = 0
    reassembled: int = 0
    lost_fragments: Counter[str] = field(default_factory=Counter)
    split: int = 0
    segments: int = 0
    truncated: int = 0
    untimed: int = 0

    def document(self) -> dict[str, int | dict[str, int]]:
        """The same as plain numbers and dictionaries, for JSON (`dataclasses.asdict` counts a Counter's items anew)."""
        document: dict[str, int | dict[str, int]] = msgspec.to_builtins(self)
        return document

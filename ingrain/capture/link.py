"""Where in a frame the IP header is, by the capture's link type (https://www.tcpdump.org/linktypes.html).

Each link type has one function: in: the frame's bytes, however short; out: the offset of the IP header, -1 where the
frame carries something else. Whether there is an IP header in full is for `ip` to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

Strip = Callable[[bytes], int]

NOT_IP = -1

_IP = frozenset({b"\x08\x00", b"\x86\xdd"})
_TAGS = frozenset({b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00"})  # 802.1Q, 802.1ad, and what came before it
_MPLS = frozenset({b"\x88\x47", b"\x88\x48"})  # RFC 3032 5
_PPPOE_SESSION = b"\x88\x64"  # RFC 2516 4
_PPPOE_HEADER = 6
_PPP_IP = frozenset({b"\x00\x21", b"\x00\x57"})
_PPP_IP_SHORT = frozenset({b"\x21", b"\x57"})  # RFC 1661 6.5: the protocol field compressed
_HDLC = b"\xff\x03"  # RFC 1662 3.1: all stations, unnumbered information
_ETHERTYPES = b"\x06\x00"  # IEEE 802.3 3.2.6: from here on a type, below it a length
_SNAP = b"\xaa\xaa\x03\x00\x00\x00"  # IEEE 802: an EtherType behind an 802.2 header
_BOTTOM = 1  # of an MPLS label stack
_VERSIONS = (0x40, 0x60)

_INET, _INET6 = 2, (10, 24, 28, 30)  # AF_INET everywhere; AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS
_FAMILIES = frozenset(family.to_bytes(4, order) for family in (_INET, *_INET6) for order in ("big", "little"))


def ethernet(frame: bytes) -> int:
    """Ethernet, with any VLAN tags, PPPoE session, MPLS labels or SNAP."""
    kind = frame[12:14]
    return 14 if kind in _IP else _behind(frame, kind, 14)


def cooked(frame: bytes) -> int:
    """Linux cooked mode, version 1: packet type, ARPHRD, address length and 8 bytes of address, then the EtherType."""
    kind = frame[14:16]
    return 16 if kind in _IP else _behind(frame, kind, 16)


def cooked_2(frame: bytes) -> int:
    """Linux cooked mode, version 2: the EtherType, then interface, ARPHRD and address."""
    kind = frame[:2]
    return 20 if kind in _IP else _behind(frame, kind, 20)


def loopback(frame: bytes) -> int:
    """BSD loopback: the address family in 4 bytes, of the capturing machine's order (LOOP: of the network's)."""
    return 4 if frame[:4] in _FAMILIES else NOT_IP


def raw(_frame: bytes) -> int:
    """The packet begins with its IP header."""
    return 0


def ppp(frame: bytes) -> int:
    """PPP, with or without HDLC's address and control."""
    return _ppp(frame, 2 if frame.startswith(_HDLC) else 0)


def pppoe(frame: bytes) -> int:
    """A PPPoE session, from its header on."""
    return _ppp(frame, _PPPOE_HEADER)


def _behind(frame: bytes, kind: bytes, at: int) -> int:
    """The IP header behind an EtherType `kind` whose payload is at `at`."""
    while kind in _TAGS:
        kind = frame[at + 2 : at + 4]
        at += 4
    if kind < _ETHERTYPES and frame[at : at + 6] == _SNAP:
        kind = frame[at + 6 : at + 8]
        at += 8
    if kind in _IP:
        return at
    if kind == _PPPOE_SESSION:
        return _ppp(frame, at + _PPPOE_HEADER)
    return _mpls(frame, at) if kind in _MPLS else NOT_IP


def _ppp(frame: bytes, at: int) -> int:
    if frame[at : at + 2] in _PPP_IP:
        return at + 2
    return at + 1 if frame[at : at + 1] in _PPP_IP_SHORT else NOT_IP


def _mpls(frame: bytes, at: int) -> int:
    while at + 4 < len(frame):
        bottom = frame[at + 2] & _BOTTOM
        at += 4
        if bottom:  # nothing says what follows: RFC 4928 has it told by its first four bits
            return at if frame[at] & 0xF0 in _VERSIONS else NOT_IP
    return NOT_IP


STRIP: Mapping[int, Strip] = {
    0: loopback,
    1: ethernet,
    9: ppp,
    12: raw,  # LINKTYPE_RAW is 101, but DLT_RAW, 12 or 14 by the system, was written to files too
    14: raw,
    51: pppoe,
    101: raw,
    108: loopback,
    113: cooked,
    228: raw,
    229: raw,
    276: cooked_2,
}
"""The link types that can be read."""

_NAMES = {
    50: "PPP_HDLC",
    104: "C_HDLC",
    105: "IEEE802_11",
    117: "PFLOG",
    119: "IEEE802_11_PRISM",
    127: "IEEE802_11_RADIOTAP",
    147: "USER0",
    189: "USB_LINUX",
    192: "PPI",
    195: "IEEE802_15_4_WITHFCS",
    201: "BLUETOOTH_HCI_H4_WITH_PHDR",
    220: "USB_LINUX_MMAPPED",
    239: "NFLOG",
    249: "USBPCAP",
    252: "WIRESHARK_UPPER_PDU",
    253: "NETLINK",
}

READABLE = "Ethernet, raw IP, Linux cooked, BSD loopback and PPP"


def name(number: int) -> str:
    """A link type as an operator can look it up: `127 (IEEE802_11_RADIOTAP)`."""
    return f"{number} ({_NAMES[number]})" if number in _NAMES else str(number)


class Interface:
    """Where packets were captured. `number`: which of the capture's; `strip`: None where the link type is not known."""

    __slots__ = ("divisor", "link", "number", "offset", "snaplen", "strip", "unit")

    def __init__(self, number: int, link: int, snaplen: int = 0) -> None:
        self.number = number
        self.link = link
        self.strip = STRIP.get(link)
        self.snaplen = snaplen  # bytes; 0: no limit
        self.unit, self.divisor, self.offset = 1000, 1, 0
        """Time in nanoseconds: ticks * unit // divisor + offset."""

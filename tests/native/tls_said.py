"""TLS connections as Suricata's EVE log and as ingrain's records tell them, in one form."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from eve import Ends, Event, ends_of, ends_of_record

SIGNATURE_ALGORITHMS = 13
_ENDS = ("timestamp", "s_ip", "d_ip")
IN_FIRST_PART = (0, 16)  # server_name and ALPN, which JA4 tells in its first part
Connections = dict[Ends, tuple[list[Event], list[Event]]]
"""Records of each connection's hellos: the client's, the server's."""
Hellos = dict[Ends, tuple[list[Any], list[Any]]]
"""What is compared of them."""

_VERSIONS = {"SSLv3": "SSL 3.0", "TLSv1": "TLS 1.0"}  # Suricata's names of those that it spells otherwise


class Handshake(NamedTuple):
    """What is told of a connection; ja3_text: what the JA3 is the hash of."""

    sni: str | None
    ja3: str | None
    ja3_text: str
    ja4: str | None
    version: str | None
    ja3s: str | None


def told_by_suricata(events: Iterable[Event]) -> dict[Ends, Handshake]:
    """By connection: it tells each once."""
    told: dict[Ends, Handshake] = {}
    for event in events:
        if event["event_type"] == "tls":
            tls = event["tls"]
            version = _VERSIONS.get(tls["version"], tls["version"])
            ja3 = tls.get("ja3", {})
            assert ends_of(event) not in told
            told[ends_of(event)] = Handshake(
                tls.get("sni"), ja3.get("hash"), ja3.get("string", ""), tls.get("ja4"), version,
                tls.get("ja3s", {}).get("hash"),
            )  # fmt: skip
    return told


def told_by_ingrain(records: Iterable[Event]) -> Connections:
    """Of each connection, the hellos of the client and those of the server."""
    told: Connections = defaultdict(lambda: ([], []))
    for record in records:
        is_server = record["measurement"] == "tls.handshake.serverhello"
        told[ends_of_record(record, answer=is_server)][is_server].append(record)
    return told


def quic_told_by_suricata(events: Iterable[Event]) -> Hellos:
    """By connection, the hellos of the client (sni, ja3, ja4) and of the server (ja3s). Other packets tell nothing."""
    told: Hellos = defaultdict(lambda: ([], []))
    for event in events:
        if event["event_type"] == "quic":
            quic, (source, port, destination, other) = event["quic"], ends_of(event)
            if "ja3" in quic:
                offer = (quic.get("sni"), quic["ja3"]["hash"], quic["ja4"])
                told[source, port, destination, other][0].append(offer)
            if "ja3s" in quic:
                told[destination, other, source, port][1].append(quic["ja3s"]["hash"])
    return told


def quic_told_by_ingrain(records: Iterable[Event]) -> Hellos:
    """Likewise."""
    told: Hellos = defaultdict(lambda: ([], []))
    for ends, (offers, choices) in told_by_ingrain(records).items():
        told[ends] = (
            [(one["sni"], one["ja3"], one["ja4"]) for one in offers],
            [one["ja3s"] for one in choices],
        )
    return told


def expected_ja4(ja4: str, ja3_text: str) -> str:
    """What Suricata 7 makes of a hello's JA4.

    Where no signature algorithms are offered, it hashes the extensions with an underscore behind them. JA4.md: "If
    there are no signature algorithms in the hello packet, then the string ends without an underscore"; and no
    extensions at all are 000000000000.
    """
    kinds = [int(kind) for kind in ja3_text.split(",")[2].split("-") if kind]
    if SIGNATURE_ALGORITHMS in kinds:
        return ja4
    text = ",".join(f"{kind:04x}" for kind in sorted(kinds) if kind not in IN_FIRST_PART) + "_"
    return ja4[:-12] + hashlib.sha256(text.encode()).hexdigest()[:12]


def handshakes(theirs: dict[Ends, Handshake], ours: Connections) -> bool:
    """Fails where they differ in what both tell; and whether Suricata added hellos to each other."""
    assert theirs
    assert theirs.keys() <= ours.keys()
    added = False
    for ends, (offers, choices) in ours.items():
        if ends not in theirs:
            # It tells connections, some of them only once they are agreed on; here every hello is a record.
            assert not choices, ends
            continue
        event = theirs[ends]
        assert (event.sni, event.ja3) == (offers[0]["sni"], offers[0]["ja3"]), ends
        if choices:  # of two, the first is a HelloRetryRequest, which has the form of a ServerHello: RFC 8446 4.1.4
            assert event.ja3s == choices[0]["ja3s"], ends
        else:
            assert event.ja3s is None, ends
        if is_sum(event.ja4, offers):
            added = True
            continue
        assert event.ja4 == expected_ja4(offers[0]["ja4"], event.ja3_text), ends
        if choices:  # else it tells the version in the client's hello, which is not what anybody chose: RFC 8446 4.1.2
            assert event.version == choices[0]["tls_version"], ends
    return added


def is_sum(ja4: str | None, offers: list[Event]) -> bool:
    """Whether this JA4 counts the cipher suites and the extensions of two ClientHellos together.

    Suricata 7 adds the one that follows a HelloRetryRequest to the first where no change_cipher_spec record stands
    between the two, which TLS 1.3 sends for middleboxes only (RFC 8446 D.4); the version that it tells is then that of
    the second hello. A JA4 is of one ClientHello.
    """
    if ja4 is None or len(offers) < 2:
        return False
    first, second = (str(offer["ja4"]) for offer in offers)
    counts = [int(first[at : at + 2]) + int(second[at : at + 2]) for at in (4, 6)]
    return ja4[:8] == first[:4] + "".join(f"{count:02}" for count in counts)


def without_ends(hellos: tuple[list[Event], list[Event]]) -> tuple[list[Event], list[Event]]:
    """The hellos but for when and between which addresses they were sent."""
    offers, choices = (
        [{key: value for key, value in one.items() if key not in _ENDS} for one in side] for side in hellos
    )
    return offers, choices


def without_second(hellos: tuple[list[Event], list[Event]]) -> tuple[list[Event], list[Event]]:
    """What is told of a connection whose HelloRetryRequest came in segments that are too short to tell it.

    That another hello of both sides is due is known from the first 19 bytes of the retry's segment, or of that hello
    from the first 11 of its own. No TCP sends shorter ones of its own accord (RFC 9293 3.8.6.2.1), and what is told
    says that there was a retry.
    """
    offers, choices = hellos
    return (offers[:1], choices[:1]) if choices and choices[0]["retry"] else hellos


def of_two_versions(events: Iterable[Event]) -> set[Ends]:
    """Connections that begin with QUIC v1 and go on with v2, whose ServerHello Suricata cannot decrypt.

    The server's Initial packets are then of v2, with keys that are made of the client's first connection id (RFC 9368
    2.3, RFC 9369 4.1).
    """
    versions: dict[frozenset[object], set[str]] = defaultdict(set)
    first: dict[frozenset[object], Ends] = {}
    for event in events:
        if event["event_type"] == "quic":
            ends = ends_of(event)
            both = frozenset((ends[:2], ends[2:]))
            versions[both].add(event["quic"]["version"])
            first.setdefault(both, ends)
    return {first[both] for both, found in versions.items() if len(found) > 1}

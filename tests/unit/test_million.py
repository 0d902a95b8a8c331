"""A million damaged messages, hellos and datagrams: no crash, none that takes long, and memory does not grow.

Each is a real one with some bytes changed, cut, repeated or swapped with those of another, from a seed that a failure
tells. They go through whole grains: decoders, streams, columns. `make test` takes a tenth of them.
"""

from __future__ import annotations

import gc
import os
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dns_messages import answer, message, query
from hellos import certificate, handshake
from packets import TCP, UDP, drained
from quic_peers import V1, V2, Peers

from ingrain.grains.dns import DNS
from ingrain.grains.messages import MessageGrain
from ingrain.grains.tls import TLS
from ingrain.kernel.records import Drained

SEED = 20_261_121
DRAIN = 500
LONG_S = 0.010
SUSPICIOUS_S = 0.100  # for a drain; 200 us an input, which only the ciphers of QUIC come near
GROWTH_BYTES = 24 << 20
INTERESTING = (0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF)


def dns_corpus(_tmp_path: Path) -> list[bytes]:
    return [
        query("www.example.com", "AAAA"),
        query("x" * 63 + "." + "y" * 63 + ".test", "TXT"),
        answer("www.example.com", "A", "192.0.2.1", "192.0.2.2"),
        answer("mail.example.com", "MX", "10 mx.example.com.", "20 mx2.example.com."),
        answer("example.com", "SOA", "ns.example.com. root.example.com. 1 2 3 4 5"),
        answer("_ldap._tcp.example.com", "SRV", "1 2 389 ldap.example.com."),
        answer("example.com", "HTTPS", "1 . alpn=h2,h3 ipv4hint=192.0.2.1"),
        answer("example.com", "TXT", '"a text" "another"'),
        message([("a.local", "PTR"), ("b.local", "SRV")], [("a.local", "PTR", "b.a.local.")]),
    ]


def tls_corpus(tmp_path: Path) -> list[bytes]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate(tmp_path))
    found = []
    for highest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode, client.maximum_version = False, ssl.CERT_NONE, highest
        client.set_alpn_protocols(["h2", "http/1.1"])
        for _who, sent in handshake(client, server, "www.example.com").flights[:2]:
            found.append(sent[:1400])
    return found


def quic_corpus(tmp_path: Path) -> list[bytes]:
    pem = certificate(tmp_path)
    found = []
    for version in (V1, V2):
        seen = Peers(pem, client_version=version, client_versions=(version,)).handshake()
        found += [payload for _by_client, payload in seen.sent[:4]]
    return found


def damaged(chance: random.Random, corpus: list[bytes]) -> bytes:
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([chance.choice(INTERESTING)])
            case 2:
                del data[at:]
            case 3:
                data[at:at] = data[max(0, at - chance.randrange(1, 40)) : at]
            case 4:
                other = chance.choice(corpus)
                data[at:] = other[min(at, len(other)) :]
            case _:
                del data[at : at + chance.randrange(1, 8)]
    return bytes(data)


Input = tuple[int, int, bytes]
"""Port of the sender, place in the stream, payload."""


def inputs(chance: random.Random, corpus: list[bytes], count: int, *, prefixed: bool, streams: bool) -> list[Input]:
    """Whole messages, or streams of them cut into segments, which come in any order and some of them never or twice."""
    found: list[Input] = []
    while len(found) < count:
        port, data = chance.randrange(1 << 16), damaged(chance, corpus)
        if prefixed:  # RFC 1035 4.2.2
            data = len(data).to_bytes(2) + data
        if not streams:
            found.append((port, 0, data))
            continue
        cuts = sorted({0, *(chance.randrange(len(data) + 1) for _ in range(chance.randrange(4)))})
        pieces = [(port, begin, data[begin:end]) for begin, end in zip(cuts, [*cuts[1:], len(data)], strict=True)]
        chance.shuffle(pieces)
        found += pieces[chance.randrange(8) == 0 :] + pieces[: chance.randrange(8) == 0]
    return found[:count]


def events_of(grain: MessageGrain[Any, Any], batch: list[Input], protocol: int) -> Drained:
    made = drained(
        grain.program,
        [payload for _port, _offset, payload in batch],
        offsets=[offset for _port, offset, _payload in batch] if protocol == TCP else (),
    )
    flow = made.events["flow"]
    flow["proto"] = protocol
    flow["s_port"] = [port for port, _offset, _payload in batch]
    flow["pid"], flow["cgroup_id"] = 4711, 77
    return made


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def spent(work: Callable[[], object]) -> float:
    """Processor time, in seconds: neither what else the machine does is in it, nor collecting others' garbage."""
    gc.disable()
    begun = time.thread_time()
    try:
        work()
        return time.thread_time() - begun
    finally:
        gc.enable()


def check_each(kind: type[MessageGrain[Any, Any]], batch: list[Input], protocol: int) -> None:
    """Of a drain that took long: no input of it does, not even at the best of five tries."""
    for one in batch:
        events = events_of(kind(), [one], protocol)
        took = min(spent(lambda events=events: list(kind().decode(events))) for _ in range(5))  # type: ignore[misc]
        assert took < LONG_S, f"{took:.3f} s for {one}"


@dataclass(frozen=True)
class Attack:
    kind: type[MessageGrain[Any, Any]]
    corpus: Callable[[Path], list[bytes]]
    protocol: int
    streams: bool
    count: int


@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", [10, pytest.param(1, marks=pytest.mark.faults)], ids=["a tenth", "all"])
@pytest.mark.parametrize(
    "attack",
    [
        Attack(DNS, dns_corpus, UDP, streams=False, count=400_000),
        Attack(DNS, dns_corpus, TCP, streams=True, count=150_000),
        Attack(TLS, tls_corpus, TCP, streams=False, count=250_000),
        Attack(TLS, tls_corpus, TCP, streams=True, count=100_000),
        Attack(TLS, quic_corpus, UDP, streams=False, count=100_000),
    ],
    ids=["DNS", "DNS over TCP", "hellos", "hellos in segments", "QUIC"],
)
def test_damaged_inputs_do_no_harm(attack: Attack, share: int, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    samples = attack.corpus(tmp_path)
    kind, protocol, count = attack.kind, attack.protocol, attack.count // share
    grain = kind()
    sizes: list[int] = []
    told = 0
    for done in range(0, count, DRAIN):
        batch = inputs(chance, samples, DRAIN, prefixed=kind is DNS and protocol == TCP, streams=attack.streams)
        events = events_of(grain, batch, protocol)
        records: list[int] = []
        took = spent(lambda records=records, events=events: records.extend(map(len, grain.decode(events))))  # type: ignore[misc]
        told += sum(records)
        if took > SUSPICIOUS_S:
            check_each(kind, batch, protocol)
        if done % (count // 20 // DRAIN * DRAIN) == 0:
            gc.collect()
            sizes.append(resident())
    assert told > 0, "nothing was told: this damage shows nothing"
    assert grain.malformed + grain.unfinished > 0, "nothing was damaged: this shows nothing"
    assert count + grain.further == told + grain.malformed + grain.cut + grain.parts
    settled = sizes[len(sizes) // 3 :]
    assert max(settled) - settled[0] < GROWTH_BYTES, [size >> 20 for size in sizes]

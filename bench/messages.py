"""Packets with DNS messages (written by dnspython) and TLS hellos (sent by OpenSSL), as the programs see them.

Every run makes the same mix: names that are asked for again and again, as few are much and many hardly; every message
with an id of its own, every hello with random bytes, a session id and keys of its own. And what no cache helps with:
answers of which none repeats, and hellos whose extensions are in another order each time, as browsers send them.
"""

from __future__ import annotations

import random
import ssl
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from load import Kind

NAMES, MESSAGES = 2000, 20_000
DISTINCT = 16_000
HOSTS, HANDSHAKES = 200, 1000
_EGRESS, _INGRESS = 0, 1
_MSS = 1448
_ETHERNET = bytes(12) + b"\x08\x00"
_ANSWERS = (
    (0.55, "A", ("192.0.2.{0}",)),
    (0.75, "AAAA", ("2001:db8::{0:x}", "2001:db8:1::{0:x}")),
    (0.85, "HTTPS", ("1 . alpn=h2,h3 ipv4hint=192.0.2.{0}",)),
    (0.90, "TXT", ('"v=spf1 ip4:192.0.2.{0} -all"',)),
    (0.95, "MX", ("10 mx{0}.example.net.",)),
    (1.00, "A", ()),  # no such name
)


def dns_kind(messages: int = MESSAGES) -> Kind:
    """Queries on their way out, answers on their way in, half of each."""
    chance = random.Random(1)
    return _dns_kind(
        [frame for _ in range(messages // 2) for frame in _exchange(chance, int(NAMES ** chance.random()))]
    )


def distinct_kind(answers: int = DISTINCT) -> Kind:
    """Answers of which no two are about the same name."""
    chance = random.Random(2)
    return _dns_kind([_exchange(chance, NAMES + number)[1] for number in range(answers)])


def _dns_kind(frames: Sequence[tuple[int, bytes]]) -> Kind:
    allow = ("process", "q_name", "q_type", "rcode", "answers")
    return Kind("DNS", allow, ("q_name", r"^host-1\d*\.", "many"), ("dns_egress", "dns_ingress"), tuple(frames))


def _exchange(chance: random.Random, number: int) -> list[tuple[int, bytes]]:
    """A query for the host of this number, and its answer."""
    draw = chance.random()
    kind, data = next((kind, data) for share, kind, data in _ANSWERS if draw <= share)
    query = dns.message.make_query(f"host-{number}.zone{number % 50}.example.com.", kind, use_edns=0, payload=1232)
    query.id = chance.randrange(1 << 16)
    return [(_EGRESS, _udp(query.to_wire(), 53)), (_INGRESS, _udp(_answer(query, kind, data, number), 40000))]


def _answer(query: dns.message.QueryMessage, kind: str, data: tuple[str, ...], number: int) -> bytes:
    answer = dns.message.make_response(query, recursion_available=True)
    if data:
        name = query.question[0].name
        alias = dns.name.from_text(f"edge{number}.cdn.example.net.")
        answer.answer.append(dns.rrset.from_text(name, 300, "IN", "CNAME", alias.to_text()))
        texts = [text.format(number % 254 + 1) for text in data]
        answer.answer.append(dns.rrset.from_text(alias, 60, "IN", kind, *texts))
    else:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    return answer.to_wire()


def tls_kind(folder: Path, handshakes: int = HANDSHAKES) -> Kind:
    """The first segments of both sides of handshakes, a third of them of TLS 1.2."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(_certificate(folder))
    server.set_alpn_protocols(["h2", "http/1.1"])
    frames = []
    for number in range(handshakes):
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        client.set_alpn_protocols(["h2", "http/1.1"])
        if number % 3 == 0:
            client.maximum_version = ssl.TLSVersion.TLSv1_2
        hello, reply = _flights(client, server, f"host-{number % HOSTS}.example.com")
        frames += [(_EGRESS, _tcp(hello, 443)), (_INGRESS, _tcp(reply[:_MSS], 40000))]
    return _tls_kind(frames)


def shuffled_kind(hellos: Kind) -> Kind:
    """These ClientHellos as a browser sends them: with GREASE (RFC 8701), and extensions in any order; four of each."""
    chance = random.Random(3)
    sent = [frame[len(_ETHERNET) + 40 :] for program, frame in hellos.frames if program == _EGRESS]
    return _tls_kind([(_EGRESS, _tcp(_as_a_browser(hello, chance), 443)) for hello in sent for _ in range(4)])


def _tls_kind(frames: Sequence[tuple[int, bytes]]) -> Kind:
    allow = ("process", "sni", "alpn", "client_version", "ciphersuites", "tls_version", "ciphersuite")
    return Kind("TLS", allow, ("sni", r"^host-1\d*\.", "many"), ("tls_egress", "tls_ingress"), tuple(frames))


def _as_a_browser(hello: bytes, chance: random.Random) -> bytes:
    """The hello of one record with GREASE among its cipher suites and extensions, and those shuffled."""
    suites_at = 9 + 34 + 1 + hello[9 + 34]
    suites_end = suites_at + 2 + int.from_bytes(hello[suites_at : suites_at + 2])
    at = suites_end + 1 + hello[suites_end] + 2
    suites = _grease(chance) + hello[suites_at + 2 : suites_end]
    extensions = []
    while at < len(hello):
        end = at + 4 + int.from_bytes(hello[at + 2 : at + 4])
        extensions.append(hello[at:end])
        at = end
    chance.shuffle(extensions)
    extensions = [_grease(chance) + b"\0\0", *extensions, _grease(chance) + b"\0\1\0"]
    body = chance.randbytes(32).join((hello[9:11], hello[43:suites_at])) + _sized(suites) + b"\1\0"
    body += _sized(b"".join(extensions))
    return hello[:3] + _sized(b"\1\0" + _sized(body))


def _grease(chance: random.Random) -> bytes:
    return bytes([chance.randrange(16) << 4 | 0x0A]) * 2


def _sized(raw: bytes) -> bytes:
    return len(raw).to_bytes(2) + raw


def _certificate(folder: Path) -> Path:
    key, file = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=example.com", "-days", "1", "-keyout", str(key), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + key.read_bytes())
    return file


def _flights(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> tuple[bytes, bytes]:
    """The first that each side sends."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    sent = []
    for side, out, onward in ((near, to_server, to_server), (far, to_client, None)):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            sent.append(out.read())
        if onward is not None:
            onward.write(sent[-1])
    return sent[0], sent[1]


def _udp(payload: bytes, to: int) -> bytes:
    return _ip(17, struct.pack("!HHHH", 40053 - to, to, 8 + len(payload), 0) + payload)


def _tcp(payload: bytes, to: int) -> bytes:
    return _ip(6, struct.pack("!HHIIBBHHH", 40443 - to, to, 1, 1, 5 << 4, 0x18, 65535, 0, 0) + payload)


def _ip(protocol: int, transport: bytes) -> bytes:
    size = 20 + len(transport)
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    return _ETHERNET + struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, protocol, 0) + addresses + transport

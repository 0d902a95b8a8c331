"""What stands in packets: text, DNS messages, TLS hellos, and streams of segments."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable, Iterable
from typing import TypeVar

from dns_messages import answer, message, query
from hellos import (
    CLIENT_HELLO,
    SERVER_HELLO,
    alpn,
    client_body,
    client_hello,
    extension,
    key_share,
    numbers,
    records,
    server_body,
    server_hello,
    server_name,
    supported_versions,
)
from hellos import message as handshake

from fuzz.promises import check_ascii, check_text, is_harmless
from fuzz.target import Chosen, Target, piece
from ingrain.text import bytes_of, harmless, safe
from ingrain.wire import client_hello as wire_client_hello
from ingrain.wire import dns_message, encrypted_dns, hello_fields, tls_hello
from ingrain.wire.client_hello import ClientHello
from ingrain.wire.dns_message import Message
from ingrain.wire.malformed import Cut, Malformed
from ingrain.wire.stream import PIECES, STREAM_BYTES, Streams
from ingrain.wire.tls_hello import Hello

Decoded = TypeVar("Decoded")


def text(data: bytes) -> bool:
    """Any bytes become harmless text, of which they can be had back."""
    made = safe(data)
    assert is_harmless(made), made
    assert bytes_of(made) == data
    assert harmless(made) == made
    return True


def _or_none(decode: Callable[[bytes], Decoded], data: bytes, *refusals: type[Malformed | Cut]) -> Decoded | None:
    try:
        return decode(data)
    except refusals:
        return None


def dns(data: bytes) -> bool:
    """A message is printable, remembered or not; its beginning tells the same as far as it goes."""
    whole = _or_none(dns_message.decode, data, Malformed)
    assert whole == _or_none(lambda one: dns_message._decode(b"\0\0" + one[2:], whole=True), data, Malformed)
    begun = _or_none(dns_message.decode_cut, data, Malformed, Cut)
    if begun is not None:
        _check_message(begun)
    if whole is None:
        return False
    _check_message(whole)
    assert begun is not None
    assert whole.malformed >= begun.malformed  # what ends too early is malformed, unless it was cut
    assert begun == whole._replace(malformed=begun.malformed)
    # Its number tells where it is cut: nothing else depends on that.
    cut = _or_none(dns_message.decode_cut, data[: int.from_bytes(data[:2]) % len(data)], Cut)
    if cut is not None:
        assert (cut.is_answer, cut.truncated) == (whole.is_answer, whole.truncated)
        assert cut.questions == whole.questions[: len(cut.questions)]
        assert cut.answers == whole.answers[: len(cut.answers)]
        assert cut.addresses == whole.addresses[: len(cut.addresses)]
    return True


def _check_message(told: Message) -> None:
    check_ascii(told.rcode, *(part for question in told.questions for part in question))
    assert 2 * len(told.addresses) <= sum(len(data) for _name, _kind, data, _ttl in told.answers)  # each is told: `::`
    assert all(len(address) == 16 for address in told.addresses)
    for name, kind, data, ttl in told.answers:
        check_ascii(name, kind, data)
        assert 0 <= ttl < 1 << 32


def tls(data: bytes) -> bool:
    """A stream that begins with a hello tells it; of its beginning, how much more there must be."""
    try:
        hello = tls_hello.decode(data)
    except Malformed:
        return False
    except Cut as cut:
        assert cut.needed > len(data)
        return False
    _check_hello(hello)
    begun = data[: int.from_bytes(data[11:13]) % len(data)]  # random bytes of the hello, mostly
    try:
        assert tls_hello.decode(begun) == hello
    except Cut as cut:
        assert len(begun) < cut.needed <= len(data)
    return True


def hello(data: bytes) -> bool:
    """A handshake message tells the same whatever was read, and remembered, before it."""
    chosen = Chosen(data)
    kind, transport = chosen.number(), "tq"[chosen.number() & 1]
    body = chosen.rest()
    anew = _or_none(lambda one: _anew(kind, one, transport), body, Malformed)
    for _ in range(3):
        told = _or_none(lambda one: tls_hello.message(kind, one, transport), body, Malformed)
        assert told == anew
    if told is None:
        return False
    _check_hello(told)
    return True


def _anew(kind: int, body: bytes, transport: str) -> Hello:
    if kind == CLIENT_HELLO:
        return wire_client_hello._hello(hello_fields.offer(body)[0], transport, wire_client_hello._client)
    if kind == SERVER_HELLO:
        return tls_hello._choice(hello_fields.choice(body))
    raise Malformed("no hello")


def _check_hello(told: Hello) -> None:
    if isinstance(told, ClientHello):
        check_text(told.sni, *(told.alpn or ()))
        check_ascii(told.version, told.ja3, told.ja4, *told.ciphersuites, *(told.groups or ()))
        assert len(told.ja3) == 32
        assert len(told.ja4) == 36
        assert encrypted_dns.kind(told.sni, told.alpn) in {None, "dot", "doq", "doh"}
    else:
        check_ascii(told.version, told.ciphersuite, told.ja3s)


def streams(data: bytes) -> bool:
    """What follows from a stream's beginning was sent there, is all of it, and stays as it is; what is held adds up."""
    chosen = Chosen(data)
    every: Streams[None] = Streams()
    sent: list[tuple[int, bytes]] = []
    before = b""
    while chosen.left:
        offset = chosen.number(2)
        sent.append((offset, chosen.piece()))
        stream = every.add("key", *sent[-1], len(sent), None)
        assert every.held == stream.held
        if stream.full:
            assert sum(len(one) for _at, one in sent) > STREAM_BYTES or len(sent) > PIECES
            stream.end()
            assert every.held == every.pieces == 0
            return True
        now = bytes(stream.data)
        assert now.startswith(before)
        assert len(now) == _behind(sent)
        for at in range(len(before), len(now)):
            assert any(begin <= at < begin + len(one) and one[at - begin] == now[at] for begin, one in sent)
        before = now
    return bool(before)


def _behind(sent: list[tuple[int, bytes]]) -> int:
    end = 0
    for begin, one in sorted(sent):
        if begin > end:
            break
        end = max(end, begin + len(one))
    return end


def _messages() -> Iterable[bytes]:
    yield query("example.com")
    yield query("_dns.resolver.arpa", "SVCB")
    yield answer("example.com", "A", "192.0.2.1", "192.0.2.2")
    yield answer("example.com", "AAAA", "2001:db8::1")
    yield answer("www.example.com", "CNAME", "example.com.")
    yield answer("example.com", "MX", "10 mail.example.com.")
    yield answer("example.com", "TXT", '"v=spf1 -all" "more"')
    yield answer("example.com", "SOA", "ns1.example.com. root.example.com. 1 2 3 4 5")
    yield answer("_sip._tcp.example.com", "SRV", "1 2 5060 sip.example.com.")
    yield answer(
        "example.com", "HTTPS", "1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1", "0 a.example."
    )
    yield answer("none.example.com", "A", rcode=3)
    yield message([("a.local", "ANY"), ("b.local", "PTR")], [("b.local", "PTR", "c.local.")], flags=0x8400)


def first_flight() -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="example.com").do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError


def bodies() -> list[tuple[int, bytes]]:
    """Hellos: type and body."""
    offer = (
        server_name(b"example.com"), alpn(b"h2", b"http/1.1"), supported_versions(0x0A0A, 0x0304, 0x0303),
        numbers(10, 0x1A1A, 29, 23), numbers(13, 0x0403, 0x0804), key_share(bytes(32)),
    )  # fmt: skip
    return [
        (CLIENT_HELLO, first_flight()[9:]),
        (CLIENT_HELLO, client_body(*offer, suites=(0x2A2A, 0x1301, 0x1302, 0xC02B))),
        (CLIENT_HELLO, client_body(server_name(b"\xff\x1b[2J"), extension(0xFE0D, b"\0" + bytes(40)))),
        (CLIENT_HELLO, client_body(session_id=bytes(32), legacy=0x0301)),
        (SERVER_HELLO, server_body(extension(43, b"\x03\x04"), key_share(bytes(32)), session_id=bytes(32))),
        (SERVER_HELLO, server_body(cipher=0xC02F)),
    ]


def _flights() -> Iterable[bytes]:
    yield first_flight()
    for kind, body in bodies():
        yield client_hello(body) if kind == CLIENT_HELLO else server_hello(body)
    whole = handshake(*bodies()[1])
    yield records(whole[:3], whole[3:50], whole[50:])
    yield b"\x14\x03\x03\0\x01\x01" + records(whole)


def _segments() -> Iterable[bytes]:
    parts = [b"first", b"second", b"third"]
    placed = [struct.pack("<H", at) + piece(one) for at, one in zip((0, 5, 11), parts, strict=True)]
    yield b"".join(placed)
    yield b"".join(reversed(placed))
    yield placed[2] + struct.pack("<H", 3) + piece(b"overlapping") + placed[0]


TARGETS = (
    Target("text", text, lambda: [b"plain", "ä\u202e\x9b".encode(), b"\\x1b\x1b\xff"], 50, longest=256),
    Target("dns", dns, _messages, 145, longest=1024),
    Target("tls", tls, _flights, 200, longest=2048),
    Target("hello", hello, lambda: [bytes([kind, 0]) + body for kind, body in bodies()], 150, longest=2048),
    Target("streams", streams, _segments, 60, longest=512),
)

"""Encrypted DNS by what a ClientHello offers: DoT and DoQ by their protocol names, DoH by its resolver's."""

from __future__ import annotations

import pytest
from hellos import alpn, client_body, client_hello, server_name
from packets import drained, rows

from ingrain.grains.tls import TLS


def told(host: bytes | None, *protocols: bytes) -> str | None:
    parts = ([] if host is None else [server_name(host)]) + ([alpn(*protocols)] if protocols else [])
    (row,) = rows(*TLS().decode(drained("tls", [client_hello(client_body(*parts))])))
    found: str | None = row["encrypted_dns"]
    return found


@pytest.mark.parametrize(
    ("host", "protocols", "kind"),
    [
        pytest.param(b"resolver.example", (b"dot",), "dot", id="DoT by its protocol, whatever the resolver"),
        pytest.param(None, (b"dot",), "dot", id="DoT to an address"),
        pytest.param(None, (b"doq",), "doq", id="DoQ by its protocol: RFC 9250 4.1.1"),
        pytest.param(b"dns.google", (b"doq", b"h3"), "doq", id="DoQ before what else is offered"),
        pytest.param(b"dns.google", (b"h2", b"http/1.1"), "doh", id="DoH of a public resolver"),
        pytest.param(b"DNS.Google.", (b"h2",), "doh", id="DoH, in another case"),
        pytest.param(b"mozilla.cloudflare-dns.com", (b"h3",), "doh", id="DoH over HTTP/3"),
        pytest.param(b"abc123.dns.nextdns.io", (b"h2",), "doh", id="a resolver that has a name for each user"),
        pytest.param(b"dns.quad9.net", (), "dot", id="a resolver, and no protocol: most DoT clients"),
    ],
)
def test_encrypted_dns_is_told(host: bytes | None, protocols: tuple[bytes, ...], kind: str) -> None:
    assert told(host, *protocols) == kind


@pytest.mark.parametrize(
    ("host", "protocols"),
    [
        pytest.param(b"www.a.test", (b"h2",), id="another host over HTTPS"),
        pytest.param(b"www.a.test", (), id="another host, and no protocol"),
        pytest.param(None, (b"h2",), id="no host"),
        pytest.param(b"dns.google.evil.test", (b"h2",), id="a resolver's name before another"),
        pytest.param(b"notdns.google", (b"h2",), id="a resolver's name behind other letters"),
        pytest.param(b"dns.nextdns.io.a.test", (b"h2",), id="a users' domain before another"),
        pytest.param(b"dns.google", (b"imap",), id="a resolver over something else"),
    ],
)
def test_anything_else_is_not(host: bytes | None, protocols: tuple[bytes, ...]) -> None:
    assert told(host, *protocols) is None

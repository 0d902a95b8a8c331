"""Look-ups that nobody can read, seen for what they are: DNS over TLS, over QUIC and over HTTPS, by a client's hello.

In: what a ClientHello offers. Out: the kind of encrypted DNS that it begins, if any. TLS and QUIC have protocol names
of their own for it (RFC 7858, RFC 9250: `dot`, `doq`); HTTPS has none: it is told by the names of public resolvers.
"""

from __future__ import annotations

_OWN = frozenset({"dot", "doq"})
_HTTP = frozenset({"h2", "h3", "http/1.1"})
_RESOLVERS = frozenset(
    {
        "adguard-dns.com", "blahdns.com", "ch.mullvad.net", "chrome.cloudflare-dns.com", "cloudflare-dns.com",
        "dns-unfiltered.adguard.com", "dns.adguard-dns.com", "dns.adguard.com", "dns.alidns.com", "dns.apple.com",
        "dns.controld.com", "dns.digitale-gesellschaft.ch", "dns.google", "dns.google.com", "dns.mullvad.net",
        "dns.nextdns.io", "dns.opendns.com", "dns.pub", "dns.quad9.net", "dns.rubyfish.cn", "dns.sb", "dns.switch.ch",
        "dns.twnic.tw", "dns0.eu", "dns10.quad9.net", "dns11.quad9.net", "dns12.quad9.net", "dns9.quad9.net",
        "doh.apple.com", "doh.cleanbrowsing.org", "doh.dns.apple.com", "doh.dns.sb", "doh.familyshield.opendns.com",
        "doh.libredns.gr", "doh.mullvad.net", "doh.opendns.com", "doh.pub", "doh.sandbox.opendns.com",
        "doh.tiar.app", "doh.umbrella.com", "doh.xfinity.com", "doh360.cn", "dot.pub", "dot1.applied-privacy.net",
        "family.adguard-dns.com", "family.cloudflare-dns.com", "freedns.controld.com", "ibksturm.synology.me",
        "jp.tiar.app", "mozilla.cloudflare-dns.com", "odvr.nic.cz", "one.one.one.one", "ordns.he.net",
        "private.canadianshield.cira.ca", "protected.canadianshield.cira.ca", "family.canadianshield.cira.ca",
        "public.dns.iij.jp", "resolver-eu.lelux.fi", "resolver1.dns.watch", "resolver2.dns.watch",
        "security.cloudflare-dns.com", "sky.rethinkdns.com", "unfiltered.adguard-dns.com", "wikimedia-dns.org",
    }
)  # fmt: skip
"""Names of public resolvers, as their operators publish them."""
_OF_CUSTOMERS = (".dns.nextdns.io", ".dns.controld.com", ".d.adguard-dns.com", ".cloudflare-gateway.com")
"""Resolvers that have a name for each of their users."""


def kind(name: str | None, protocols: tuple[str, ...] | None) -> str | None:
    """`dot`, `doq`, `doh`, or None. name: the host that the client wants; protocols: what it offers by ALPN.

    A resolver that is wanted with no protocol of HTTP is asked over TLS: most such clients offer none at all.
    """
    if protocols and not _OWN.isdisjoint(protocols):
        return next(protocol for protocol in protocols if protocol in _OWN)
    if name is None:
        return None
    host = name.lower().removesuffix(".")
    if host not in _RESOLVERS and not host.endswith(_OF_CUSTOMERS):
        return None
    if protocols is None:
        return "dot"
    return "doh" if not _HTTP.isdisjoint(protocols) else None

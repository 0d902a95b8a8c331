"""Who exchanged data with an address, a network, or the addresses that a name had."""

import ipaddress
import re
from datetime import timedelta
from typing import Any

from ingrain.query.errors import UsageError
from ingrain.query.question import Question, Said, like, matches, name_like

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_KNOWN = timedelta(days=1)  # a name that was looked up before the asked time may be in use in it

_FULL = "replace(peer, '::', ':' || repeat('0:', 8 - (length(peer) - length(replace(peer, ':', '')))))"
"""An IPv6 address with all of its groups: RFC 5952 has one run of zeros as `::`."""

_ORDERED = f"""CASE $family
        WHEN 4 THEN CASE WHEN peer LIKE '%.%' THEN {
    " || ".join(f"lpad(split_part(peer, '.', {at}), 3, '0')" for at in range(1, 5))
} END
        WHEN 6 THEN CASE WHEN peer LIKE '%:%' THEN {
    " || ".join(f"lpad(split_part({_FULL}, ':', {at}), 4, '0')" for at in range(1, 9))
} END
    END"""
"""An address of a family as text that is sorted as addresses are; null of the other family."""


_ADDRESS = re.compile(r"[0-9.]+(/\d*)?|[0-9a-f:.]*:[0-9a-f:.]*(%\w*)?(/\d*)?", re.IGNORECASE)
"""What is meant as an address or a network, whether it is one or not: no host has such a name."""

_MAPPED = 96  # bits of an IPv6 address before the IPv4 address that is mapped into it (RFC 4291, 2.5.5.2)


def _parameters(said: Said) -> dict[str, Any]:
    try:
        network = _unmapped(ipaddress.ip_network(said.what, strict=False))
    except ValueError as error:
        if _ADDRESS.fullmatch(said.what):
            raise UsageError(f"{said.what} is no address and no network: {error}") from error
        return name_like("name", said.what) | like("peer", said.what.lower()) | _between(0, "", "")
    text = str(network if "/" in said.what else network.network_address)
    first, last = map(_ordered, (network.network_address, network.broadcast_address))
    return name_like("name", said.what) | like("peer", text) | _between(network.version, first, last)


def _unmapped(network: _Network) -> _Network:
    """Archives have IPv4 addresses as such, also those that IPv6 sockets see as ::ffff:192.0.2.7."""
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None  # noqa: PLR2004 - IPv6
    if mapped is None or network.prefixlen < _MAPPED:
        return network
    return ipaddress.ip_network(f"{mapped}/{network.prefixlen - _MAPPED}")


def _between(family: int, first: str, last: str) -> dict[str, Any]:
    return {"family": family, "first": first, "last": last}


def _ordered(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As `_ORDERED` makes it."""
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return "".join(f"{byte:03}" for byte in address.packed)
    return address.packed.hex()


TALKED_TO = Question(
    name="talked-to",
    what="HOST|IP|NETWORK|NAME",
    about="which processes had connections with an address, a network, or the addresses that a name had, and how much "
    "went over them",
    examples=("talked-to 203.0.113.7", "talked-to 203.0.113.0/24", "talked-to '*.example.com' --since 6h"),
    sql=f"""
WITH addresses AS (
    SELECT DISTINCT answer.data AS peer
    FROM (SELECT unnest(answers) AS answer FROM dns_answer WHERE {matches("lower(q_name)", "name")}) AS answers
    WHERE answer.type IN ('A', 'AAAA')
    UNION
    SELECT d_ip AS peer FROM tls_handshake_clienthello WHERE {matches("lower(sni)", "name")}
), talks AS (
    SELECT timestamp, host, process, container, d_ip AS peer, proto, value AS opened, 0 AS accepted, 0 AS sent, 0 AS got
    FROM connection_out
    UNION ALL
    SELECT timestamp, host, process, container, s_ip, proto, 0, value, 0, 0 FROM connection_in
    UNION ALL
    SELECT timestamp, host, process, container, d_ip, proto, 0, 0, value, 0 FROM volume_out
    UNION ALL
    SELECT timestamp, host, process, container, s_ip, proto, 0, 0, 0, value FROM volume_in
)
SELECT
    host, process, container, peer, proto,
    CAST(sum(opened) AS BIGINT) AS connections_out, CAST(sum(accepted) AS BIGINT) AS connections_in,
    CAST(sum(sent) AS BIGINT) AS bytes_out, CAST(sum(got) AS BIGINT) AS bytes_in,
    min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM talks
WHERE {matches("peer", "peer")} OR peer IN (SELECT peer FROM addresses)
    OR {_ORDERED} BETWEEN $first AND $last
GROUP BY host, process, container, peer, proto
ORDER BY bytes_out + bytes_in DESC, first_seen, host, process, container, peer, proto""",  # noqa: S608 - of constants
    parameters=_parameters,
    windows=lambda said: dict.fromkeys(("dns.answer", "tls.handshake.clienthello"), said.before(_KNOWN)),
)

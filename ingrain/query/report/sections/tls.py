"""TLS: which versions, names and fingerprints."""

from ingrain.query.report.figures import WHO, Section, several
from ingrain.query.report.stacks import over_time
from ingrain.query.report.table import top

TLS = Section(
    "tls",
    "TLS",
    "Handshakes over TCP and QUIC. A JA4 fingerprint identifies the client's TLS library by its hello.",
    (
        over_time(
            "over_time",
            "Handshakes over time, by negotiated version",
            """
        SELECT timestamp, coalesce(tls_version, 'unknown') AS series, value FROM tls_handshake_serverhello
        WHERE retry IS NOT TRUE""",
        ),
        top(
            "versions",
            "Negotiated versions and cipher suites",
            """
    SELECT tls_version, ciphersuite, CAST(sum(value) AS BIGINT) AS handshakes,
        count(DISTINCT ja3s) AS server_fingerprints
    FROM tls_handshake_serverhello
    WHERE retry IS NOT TRUE
    GROUP BY tls_version, ciphersuite""",
            order="handshakes DESC, tls_version, ciphersuite",
            bar="handshakes",
        ),
        top(
            "fingerprints",
            "Client fingerprints",
            f"""
    SELECT ja4, CAST(sum(times) AS BIGINT) AS hellos, max(highest) AS highest_version, {several("who", "sent_by")},
        len(list_distinct(flatten(list(names)))) AS server_names, min(first) AS first
    FROM (
        SELECT ja4, {WHO} AS who, sum(value) AS times, max(client_version) AS highest,
            list(DISTINCT lower(sni)) AS names, min(timestamp) AS first
        FROM tls_handshake_clienthello
        WHERE ja4 IS NOT NULL
        GROUP BY ALL
    )
    GROUP BY ja4""",  # noqa: S608 - constants
            order="hellos DESC, ja4",
            bar="hellos",
        ),
        top(
            "names",
            "Requested server names (SNI)",
            f"""
    SELECT name, CAST(sum(times) AS BIGINT) AS hellos, {several("who", "sent_by")},
        len(list_distinct(flatten(list(peers)))) AS addresses,
        CAST(sum(not_looked_up) AS BIGINT) AS not_looked_up, min(first) AS first
    FROM (
        SELECT lower(sni) AS name, {WHO} AS who, sum(value) AS times, list(DISTINCT d_ip) AS peers,
            coalesce(sum(value) FILTER (sni_matches_dns IS FALSE), 0) AS not_looked_up, min(timestamp) AS first
        FROM tls_handshake_clienthello
        WHERE sni IS NOT NULL
        GROUP BY ALL
    )
    GROUP BY name""",  # noqa: S608 - constants
            order="hellos DESC, name",
            bar="hellos",
        ),
    ),
    ("TLS",),
)

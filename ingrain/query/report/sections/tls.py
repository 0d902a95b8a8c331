"""TLS: which versions, names and fingerprints."""

from ingrain.query.report.figures import Section
from ingrain.query.report.stacks import over_time
from ingrain.query.report.table import top

TLS = Section(
    "tls",
    "TLS",
    "Handshakes over TCP and QUIC. A fingerprint tells the program, or its library, by how it says hello (JA4).",
    (
        over_time(
            "over_time",
            "Handshakes over time, by the version that the server chose",
            """
        SELECT timestamp, coalesce(tls_version, 'unknown') AS series, 1 AS value FROM tls_handshake_serverhello
        WHERE retry IS NOT TRUE""",
        ),
        top(
            "versions",
            "Versions and ciphers that servers chose",
            """
    SELECT tls_version, ciphersuite, count(*) AS handshakes, count(DISTINCT ja3s) AS server_fingerprints
    FROM tls_handshake_serverhello
    WHERE retry IS NOT TRUE
    GROUP BY tls_version, ciphersuite""",
            order="handshakes DESC, tls_version, ciphersuite",
            bar="handshakes",
        ),
        top(
            "fingerprints",
            "Fingerprints of clients",
            """
    SELECT ja4, count(*) AS hellos, max(client_version) AS highest_version, count(DISTINCT process) AS processes,
        min(process) AS a_process, count(DISTINCT lower(sni)) AS names, min(timestamp) AS first
    FROM tls_handshake_clienthello
    WHERE ja4 IS NOT NULL
    GROUP BY ja4""",
            order="hellos DESC, ja4",
            bar="hellos",
        ),
        top(
            "names",
            "Names that were asked for",
            """
    SELECT lower(sni) AS name, count(*) AS hellos, count(DISTINCT d_ip) AS addresses,
        count(DISTINCT process) AS processes, min(process) AS a_process,
        count(*) FILTER (sni_matches_dns IS FALSE) AS not_by_dns, min(timestamp) AS first
    FROM tls_handshake_clienthello
    WHERE sni IS NOT NULL
    GROUP BY lower(sni)""",
            order="hellos DESC, name",
            bar="hellos",
        ),
    ),
)

"""What was never seen in the time before: names, SNIs, fingerprints of clients and servers, destinations."""

from ingrain.query.archive import Window
from ingrain.query.question import Question, Said

_MEASUREMENTS = (
    "dns.query",
    "dns.answer",
    "tls.handshake.clienthello",
    "tls.handshake.serverhello",
    "connection.out",
)


def _windows(said: Said) -> dict[str, Window]:
    return dict.fromkeys(_MEASUREMENTS, said.before(said.baseline))


NEW_NAMES = Question(
    name="new-names",
    about="names, SNIs, TLS fingerprints and destinations that were not seen in the baseline before, and who was first",
    examples=("new-names --since 1d --baseline 7d",),
    sql="""
SELECT kind, value, first_seen, times, who.process, who.container, who.host
FROM (
    SELECT kind, value, min(timestamp) AS first_seen, CAST(sum(events) AS BIGINT) AS times,
        min_by(struct_pack(process, container, host), timestamp) AS who
    FROM (
        SELECT 'name' AS kind, lower(q_name) AS value, value AS events, timestamp, process, container, host
        FROM dns_query
        UNION ALL
        SELECT 'name', lower(q_name), value, timestamp, process, container, host FROM dns_answer
        UNION ALL
        SELECT 'sni', lower(sni), value, timestamp, process, container, host FROM tls_handshake_clienthello
        UNION ALL
        SELECT 'ja4', ja4, value, timestamp, process, container, host FROM tls_handshake_clienthello
        UNION ALL
        SELECT 'ja3s', ja3s, value, timestamp, process, container, host FROM tls_handshake_serverhello
        UNION ALL
        SELECT 'destination', d_ip, value, timestamp, process, container, host FROM connection_out
    )
    WHERE value IS NOT NULL
    GROUP BY kind, value
)
WHERE first_seen >= $since
ORDER BY kind, first_seen, value""",
    parameters=lambda said: {"since": said.since},
    windows=_windows,
)

"""Who talks to whom: processes, their peers, and the names by which these processes themselves asked for them."""

from ingrain.query.report import ribbons
from ingrain.query.report.figures import IN_ALL, Figure, Section, several
from ingrain.query.report.table import table

_PAIRS = 20  # ribbons that can be told apart

# An address of a CDN has thousands of names. So one that another process used says nothing about this one.
_SQL = f"""
WITH talks AS (
    SELECT host, container, process, d_ip AS peer, value AS opened, 0 AS accepted, 0 AS sent, 0 AS got
    FROM connection_out
    UNION ALL
    SELECT host, container, process, s_ip, 0, value, 0, 0 FROM connection_in
    UNION ALL
    SELECT host, container, process, d_ip, 0, 0, value, 0 FROM volume_out
    UNION ALL
    SELECT host, container, process, s_ip, 0, 0, 0, value FROM volume_in
), pairs AS (
    SELECT host, container, process, peer, CAST(sum(opened) AS BIGINT) AS opened,
        CAST(sum(accepted) AS BIGINT) AS accepted, CAST(sum(sent) AS BIGINT) AS bytes_out,
        CAST(sum(got) AS BIGINT) AS bytes_in, bytes_out + bytes_in AS bytes, count(*) OVER () AS {IN_ALL}
    FROM talks
    GROUP BY host, container, process, peer
    ORDER BY bytes DESC, sum(opened) + sum(accepted) DESC, host, container, process, peer
    LIMIT $limit
), asked AS (
    SELECT host, container, process, d_ip AS peer, lower(sni) AS name, true AS by_tls, value
    FROM tls_handshake_clienthello
    WHERE sni IS NOT NULL AND direction IS DISTINCT FROM 'in' AND d_ip IN (SELECT peer FROM pairs)
    UNION ALL
    SELECT host, container, process, answer.data, name, false, value
    FROM (SELECT host, container, process, lower(q_name) AS name, unnest(answers) AS answer, value FROM dns_answer)
    WHERE answer.type IN ('A', 'AAAA') AND answer.data IN (SELECT peer FROM pairs)
), named AS (
    SELECT host, container, process, peer, {several("name", "names", "by_tls DESC, times DESC")}
    FROM (
        SELECT host, container, process, peer, name, bool_or(by_tls) AS by_tls, sum(value) AS times
        FROM asked
        GROUP BY host, container, process, peer, name
    )
    GROUP BY host, container, process, peer
)
SELECT pairs.host, pairs.container, pairs.process, pairs.peer, names, names_{IN_ALL}, opened, accepted, bytes_out,
    bytes_in, bytes, {IN_ALL}
FROM pairs LEFT JOIN named ON pairs.host IS NOT DISTINCT FROM named.host
    AND pairs.container IS NOT DISTINCT FROM named.container
    AND pairs.process IS NOT DISTINCT FROM named.process AND pairs.peer IS NOT DISTINCT FROM named.peer
ORDER BY bytes DESC, opened + accepted DESC, pairs.host, pairs.container, pairs.process, pairs.peer"""  # noqa: S608 - constants

TALKS = Section(
    "talks",
    "Who talks to whom",
    "The processes and peers that exchanged the most bytes. A peer has the names by which this very process asked for "
    "it: in TLS hellos (SNI) and, after these, in the DNS.",
    (
        Figure(
            "pairs",
            f"Top {_PAIRS} pairs by bytes",
            _SQL,
            lambda span, rows: ribbons.draw(rows) + table(span, rows, "bytes"),
            lambda _span: {"limit": _PAIRS},
        ),
    ),
    ("Network",),
)

"""Who talks to whom: processes and containers, and the peers that they had, by the names these were asked for by."""

from ingrain.query.report import ribbons
from ingrain.query.report.figures import IN_ALL, Figure, Section
from ingrain.query.report.table import table

_PAIRS = 20  # ribbons that can be told apart

_SQL = f"""
WITH talks AS (
    SELECT container, process, d_ip AS peer, 1 AS opened, 0 AS accepted, 0 AS sent, 0 AS got FROM connection_out
    UNION ALL
    SELECT container, process, s_ip, 0, 1, 0, 0 FROM connection_in
    UNION ALL
    SELECT container, process, d_ip, 0, 0, value, 0 FROM volume_out
    UNION ALL
    SELECT container, process, s_ip, 0, 0, 0, value FROM volume_in
), pairs AS (
    SELECT container, process, peer, CAST(sum(opened) + sum(accepted) AS BIGINT) AS connections,
        CAST(sum(sent) AS BIGINT) AS bytes_out, CAST(sum(got) AS BIGINT) AS bytes_in, bytes_out + bytes_in AS bytes,
        count(*) OVER () AS {IN_ALL}
    FROM talks
    GROUP BY container, process, peer
    ORDER BY bytes DESC, connections DESC, container, process, peer
    LIMIT $limit
), asked AS (
    SELECT d_ip AS peer, min(lower(sni)) AS name FROM tls_handshake_clienthello
    WHERE d_ip IN (SELECT peer FROM pairs)
    GROUP BY d_ip
), looked_up AS (
    SELECT answer.data AS peer, min(name) AS name
    FROM (SELECT lower(q_name) AS name, unnest(answers) AS answer FROM dns_answer)
    WHERE answer.type IN ('A', 'AAAA') AND answer.data IN (SELECT peer FROM pairs)
    GROUP BY answer.data
)
SELECT container, process, pairs.peer, coalesce(asked.name, looked_up.name) AS name, connections, bytes_out, bytes_in,
    bytes, {IN_ALL}
FROM pairs LEFT JOIN asked ON pairs.peer = asked.peer LEFT JOIN looked_up ON pairs.peer = looked_up.peer
ORDER BY bytes DESC, connections DESC, container, process, pairs.peer"""  # noqa: S608 - constants

TALKS = Section(
    "talks",
    "Who talks to whom",
    "The pairs with most bytes between them, of all hosts together. An address has the name by which TLS asked for "
    "it, or else one that was looked up and led to it.",
    (
        Figure(
            "pairs",
            "",
            _SQL,
            lambda _span, rows: ribbons.draw(rows) + table(rows, "bytes"),
            lambda _span: {"limit": _PAIRS},
        ),
    ),
)

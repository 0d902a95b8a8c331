"""Who exchanged data with an address, or with the addresses that a name had."""

from datetime import timedelta

from ingrain.query.question import Question, name_like, peer_like

_KNOWN = timedelta(days=1)  # a name that was looked up before the asked time may be in use in it

TALKED_TO = Question(
    name="talked-to",
    what="HOST|IP|NAME",
    about="which processes had connections with an address, or with those that a name had, and how much went over them",
    examples=("talked-to 203.0.113.7", "talked-to '*.example.com' --since 6h"),
    sql="""
WITH addresses AS (
    SELECT DISTINCT answer.data AS peer
    FROM (SELECT unnest(answers) AS answer FROM dns_answer WHERE lower(q_name) LIKE $name ESCAPE '!') AS answers
    WHERE answer.type IN ('A', 'AAAA')
    UNION
    SELECT d_ip AS peer FROM tls_handshake_clienthello WHERE lower(sni) LIKE $name ESCAPE '!'
), talks AS (
    SELECT timestamp, host, process, container, d_ip AS peer, proto, 1 AS opened, 0 AS accepted, 0 AS sent, 0 AS got
    FROM connection_out
    UNION ALL
    SELECT timestamp, host, process, container, s_ip, proto, 0, 1, 0, 0 FROM connection_in
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
WHERE peer LIKE $peer ESCAPE '!' OR peer IN (SELECT peer FROM addresses)
GROUP BY host, process, container, peer, proto
ORDER BY bytes_out + bytes_in DESC, first_seen, host, process, container, peer, proto""",
    parameters=lambda said: {"name": name_like(said.what), "peer": peer_like(said.what)},
    windows=lambda said: dict.fromkeys(("dns.answer", "tls.handshake.clienthello"), said.before(_KNOWN)),
)

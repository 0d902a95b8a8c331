"""Who sends and receives the most."""

from ingrain.query.question import Question

TOP_TALKERS = Question(
    name="top-talkers",
    about="the processes and containers that sent and received the most bytes",
    examples=("top-talkers --since today", "top-talkers --since 1h --limit 5"),
    sql="""
SELECT
    host, container, process, CAST(sum(sent) AS BIGINT) AS bytes_out, CAST(sum(got) AS BIGINT) AS bytes_in,
    CAST(sum(packets) AS BIGINT) AS packets
FROM (
    SELECT host, container, process, value AS sent, 0 AS got, packets FROM volume_out
    UNION ALL
    SELECT host, container, process, 0, value, packets FROM volume_in
)
GROUP BY host, container, process
ORDER BY bytes_out + bytes_in DESC, host, container, process
LIMIT $limit""",
    parameters=lambda said: {"limit": said.limit},
)

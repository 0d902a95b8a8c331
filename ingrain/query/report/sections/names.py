"""DNS: which names were looked up, how that went, and by whom."""

from ingrain.query.report.figures import WHO, Section, several
from ingrain.query.report.stacks import over_time
from ingrain.query.report.table import top

NAMES = Section(
    "names",
    "DNS",
    "Look-ups over UDP and TCP that were not encrypted. Names are compared without regard to case.",
    (
        over_time(
            "over_time",
            "Answers over time, by response code",
            "\n        SELECT timestamp, coalesce(rcode, 'unknown') AS series, value FROM dns_answer",
        ),
        top(
            "names",
            "Most queried names",
            f"""
    SELECT name, CAST(sum(queries) AS BIGINT) AS queries, CAST(sum(answers) AS BIGINT) AS answers,
        CAST(sum(failed) AS BIGINT) AS failed, {several("who", "queried_by")}, min(first) AS first, max(last) AS last
    FROM (
        SELECT lower(q_name) AS name, {WHO} AS who, sum(asked) AS queries, sum(told) AS answers, sum(bad) AS failed,
            sum(asked + told) AS times, min(timestamp) AS first, max(timestamp) AS last
        FROM (
            SELECT timestamp, q_name, process, container, value AS asked, 0 AS told, 0 AS bad FROM dns_query
            UNION ALL
            SELECT timestamp, q_name, process, container, 0, value, CASE WHEN rcode <> 'NOERROR' THEN value ELSE 0 END
            FROM dns_answer
        )
        WHERE q_name IS NOT NULL
        GROUP BY ALL
    )
    GROUP BY name""",  # noqa: S608 - constants
            order="queries DESC, answers DESC, name",
            bar="queries",
        ),
    ),
    ("DNS",),
)

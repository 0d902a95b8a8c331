"""Which names were looked up, how that went, and by whom."""

from ingrain.query.report.figures import Section
from ingrain.query.report.stacks import over_time
from ingrain.query.report.table import top

NAMES = Section(
    "names",
    "Names",
    "Names that were asked for in the DNS, over UDP and TCP, in the clear. A name's case does not matter.",
    (
        over_time(
            "over_time",
            "Answers over time, by their code",
            "\n        SELECT timestamp, coalesce(rcode, 'unknown') AS series, 1 AS value FROM dns_answer",
        ),
        top(
            "names",
            "Most asked for",
            """
    SELECT lower(q_name) AS name, count(*) FILTER (asked) AS queries, count(*) FILTER (NOT asked) AS answers,
        count(*) FILTER (rcode <> 'NOERROR') AS failed, count(DISTINCT process) AS processes,
        min(process) AS a_process, min(timestamp) AS first, max(timestamp) AS last
    FROM (
        SELECT timestamp, q_name, process, true AS asked, NULL AS rcode FROM dns_query
        UNION ALL
        SELECT timestamp, q_name, process, false, rcode FROM dns_answer
    )
    WHERE q_name IS NOT NULL
    GROUP BY lower(q_name)""",
            order="queries DESC, answers DESC, name",
            bar="queries",
        ),
    ),
)

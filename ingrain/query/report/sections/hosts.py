"""The hosts of the period and of the baseline before it: those that have stopped, and what the others lost.

A host that was there in the baseline and has no record in the period is silent: it, its agent or the way to the archive
is down.
"""

from collections.abc import Sequence

from ingrain.query.report.figures import IN_ALL, Figure, Row
from ingrain.query.report.sections.losses import ACCOUNT, LOSSES, UNREADABLE
from ingrain.query.report.span import Span, microseconds
from ingrain.query.report.table import ROWS, table

NOT_RECORDED = "not recorded"
HOW_TO_RECORD_LOSSES = (
    'Route a probe of type = "Agent" to the pipeline that writes this archive, and the agents record their losses.'
)


def hosts(all_of_it: str, measurements: Sequence[str]) -> Figure:
    """A row for each host, the silent ones first. all_of_it: SQL of `measurement`, `host` and `timestamp`.

    `lost` is null where the host's agent does not write its account to the archive; `lost_in_all`, `heard_hosts`,
    `silent_hosts`, `unaccounted_hosts` and `baseline_records` are of all hosts, also of those beyond the limit.
    """
    sql = f"""
WITH seen AS (
    SELECT host, max(timestamp) AS last_seen, count(*) FILTER (timestamp >= $since) AS records,
        count(*) AS records_ever, bool_or(timestamp >= $since AND starts_with(measurement, '{ACCOUNT}')) AS accounted
    FROM ({all_of_it})
    GROUP BY host
), losses AS (
    SELECT host, sum(value) FILTER (what <> '{UNREADABLE}') AS lost FROM ({LOSSES})
    WHERE value > 0 AND timestamp >= $since
    GROUP BY host
)
SELECT seen.host, last_seen, CASE WHEN records = 0 THEN ($until_us - epoch_us(last_seen)) // 1000000 END AS silent_s,
    records, CASE WHEN accounted THEN CAST(coalesce(lost, 0) AS BIGINT) END AS lost, count(*) OVER () AS {IN_ALL},
    count(*) FILTER (records > 0) OVER () AS heard_hosts, count(*) FILTER (records = 0) OVER () AS silent_hosts,
    count(*) FILTER (records > 0 AND NOT accounted) OVER () AS unaccounted_hosts,
    CAST(coalesce(sum(lost) OVER (), 0) AS BIGINT) AS lost_in_all,
    CAST(sum(records_ever - records) OVER () AS BIGINT) AS baseline_records
FROM seen LEFT JOIN losses ON seen.host = losses.host
ORDER BY records > 0, silent_s, lost DESC NULLS LAST, seen.host
LIMIT $limit"""  # noqa: S608 - quoted, and constants
    return Figure(
        "hosts",
        "Hosts",
        sql,
        _draw,
        lambda span: {"since": span.since, "until_us": microseconds(span.until), "limit": ROWS},
        lambda span: dict.fromkeys(measurements, span.with_baseline),
    )


def _draw(span: Span, rows: Sequence[Row]) -> str:
    told = [
        {
            "host": row["host"],
            "last_record": row["last_seen"],
            "silent_for_s": row["silent_s"],
            "records": row["records"],
            "losses": None if row["silent_s"] is not None else NOT_RECORDED if row["lost"] is None else row["lost"],
        }
        for row in rows
    ]
    text = table(span, told, "records", alarming="silent_for_s")
    if rows[0]["unaccounted_hosts"]:
        text += f'<p class="note warn">{HOW_TO_RECORD_LOSSES}</p>'
    return text

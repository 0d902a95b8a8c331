"""The record itself: of which hosts there is one, when there is none, and what the agents say they lost."""

from collections.abc import Mapping, Sequence
from typing import Any

from ingrain.query.report import strips
from ingrain.query.report.figures import Figure, Section, ranked, union
from ingrain.query.report.sections.hosts import HOW_TO_RECORD_LOSSES, hosts
from ingrain.query.report.sections.losses import ACCOUNT, LOSSES
from ingrain.query.report.span import Span, microseconds
from ingrain.query.report.stacks import over_time
from ingrain.query.report.table import ROWS, table, top
from ingrain.query.schema import literal, quoted

HOSTS = 20
"""Of how many there is a strip: those with most gaps."""


def record(measurements: Sequence[str]) -> Section:
    """Of an archive that has these measurements."""
    # What an empty archive has, too; DuckDB has to be told of a table at least.
    named = measurements or ["ingrain.events.lost"]
    all_of_it = union([_rows(name) for name in named])
    accounts = any(name.startswith(ACCOUNT) for name in measurements)
    return Section(
        "record",
        "Completeness of the record",
        "Which hosts have records, and when. A silent host has records in the baseline and none in this period. A gap "
        "is a time without any record of a host, which was down, or quiet. With a probe of type Agent in the pipeline "
        "that writes the archive no host is ever quiet, and what it lost is known.",
        (
            hosts(all_of_it, named),
            Figure("strips", f"Gaps by host: the {HOSTS} with the most", _strips(all_of_it), strips.draw, _in_strips),
            Figure(
                "gaps",
                "Longest gaps",
                _gaps(all_of_it),
                lambda span, rows: table(span, rows, "gap_s"),
                _in_gaps,
                empty="No gaps: of each host that has records in this period there is one in every part of it.",
            ),
            top(
                "losses",
                "Losses, as the agents report them",
                f"""
    SELECT host, what, place, CAST(sum(value) AS BIGINT) AS lost, min(timestamp) AS first, max(timestamp) AS last
    FROM ({LOSSES}
    )
    WHERE value > 0
    GROUP BY host, what, place""",  # noqa: S608 - constants
                order="lost DESC, host, what, place",
                bar="lost",
                empty="None reported." if accounts else f"Not recorded. {HOW_TO_RECORD_LOSSES}",
            ),
            over_time(
                "over_time",
                "Records over time, by kind",
                f"\n        SELECT timestamp, split_part(measurement, '.', 1) AS series, 1 AS value FROM ({all_of_it})",  # noqa: S608 - quoted
            ),
            Figure(
                "measurements",
                "Records by measurement",
                _measurements(all_of_it),
                lambda span, rows: table(span, rows, "records"),
                lambda _span: {"limit": 2 * ROWS},
            ),
        ),
    )


def _rows(measurement: str) -> str:
    return f"SELECT {literal(measurement)} AS measurement, host, timestamp FROM {quoted(measurement)}"  # noqa: S608 - quoted


def _strips(all_of_it: str) -> str:
    """Of each host and place of a strip: in how many of the fine ones there is a record, and how much was lost."""
    return f"""
WITH heard AS (
    SELECT host, (epoch_us(timestamp) - $first_us) // $fine_us AS fine, 0 AS lost FROM ({all_of_it})
    GROUP BY ALL
    UNION ALL
    SELECT host, (epoch_us(timestamp) - $first_us) // $fine_us, sum(value) FROM ({LOSSES})
    WHERE value > 0
    GROUP BY ALL
), hosts AS (
    SELECT host, count(DISTINCT fine) AS heard, sum(lost) AS lost FROM heard
    GROUP BY host
    ORDER BY heard, lost DESC, host
    LIMIT $limit
)
SELECT heard.host, fine // $fines AS place, count(DISTINCT fine) AS heard, CAST(sum(heard.lost) AS BIGINT) AS lost
FROM heard JOIN hosts ON heard.host = hosts.host
GROUP BY heard.host, place
ORDER BY min(hosts.heard), heard.host, place"""  # noqa: S608 - quoted


def _gaps(all_of_it: str) -> str:
    """Times without a record, from the fine bucket after one to that of the next; at both ends, too."""
    gaps = f"""
    WITH heard AS (
        SELECT host, (epoch_us(timestamp) - $first_us) // $fine_us AS fine FROM ({all_of_it})
        GROUP BY ALL
    )
    SELECT host, make_timestamptz(greatest($since_us, $first_us + (fine + 1) * $fine_us)) AS since,
        make_timestamptz(least($until_us, $first_us + next * $fine_us)) AS until, next < $fine_count AS ended,
        (epoch_us(until) - epoch_us(since)) // 1000000 AS gap_s
    FROM (
        SELECT host, fine, lead(fine, 1, $fine_count) OVER (PARTITION BY host ORDER BY fine) AS next
        FROM (SELECT host, fine FROM heard UNION SELECT host, -1 FROM heard)
    )
    WHERE next > fine + 1 AND epoch_us(until) - epoch_us(since) >= $fine_us"""  # noqa: S608 - quoted
    return ranked(gaps, "gap_s DESC, host, since")


def _measurements(all_of_it: str) -> str:
    return ranked(
        f"""
    SELECT measurement, count(*) AS records, count(DISTINCT host) AS hosts, min(timestamp) AS first,
        max(timestamp) AS last
    FROM ({all_of_it})
    GROUP BY measurement""",  # noqa: S608 - quoted
        "records DESC, measurement",
    )


def _fine(span: Span) -> dict[str, int]:
    return {"first_us": microseconds(span.first), "fine_us": round(span.fine.total_seconds() * 1e6)}


def _in_strips(span: Span) -> Mapping[str, Any]:
    return _fine(span) | {"fines": span.strip // span.fine, "limit": HOSTS}


def _in_gaps(span: Span) -> Mapping[str, Any]:
    ends = {"since_us": microseconds(span.since), "until_us": microseconds(span.until)}
    return _fine(span) | ends | {"fine_count": span.fine_count, "limit": ROWS}
